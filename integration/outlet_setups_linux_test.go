package integration

import (
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/transparent/netnstest"
)

// A workedSetup is one of the worked ones of docs/transparent.md.
type workedSetup struct{ caddyfile, rules, entities string }

func readSetup(t *testing.T, name string) workedSetup {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", "transparent.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "<!-- setup: "+name+" -->")
	if !ok {
		t.Fatalf("the page has no set-up %s", name)
	}
	found := regexp.MustCompile("(?ms)^```(caddyfile|sh)\n(.*?)^```$").FindAllStringSubmatch(rest, 3)
	if len(found) != 3 || found[0][1] != "caddyfile" || found[1][1] != "sh" || found[2][1] != "sh" {
		t.Fatalf("the set-up %s is not a Caddyfile, rules and entities", name)
	}
	return workedSetup{found[0][2], found[1][2], found[2][2]}
}

// run starts the gateway as the page says, with servers on the ports 80 and 8080
// that answer the address they see.
func (s workedSetup) run(t *testing.T) *interceptor {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("needs curl: apt-get install curl")
	}
	i := intercept(t, s.caddyfile)
	i.Gateway.Feed(s.rules, "sh", "-e")
	i.Gateway.Feed(s.entities, "sh", "-e")
	for _, port := range []uint16{80, 8080} {
		serveSeen(t, i.Server, netip.AddrPortFrom(netnstest.Server4, port), false)
	}
	return i
}

func TestTransparentSetups(t *testing.T) {
	const server = "http://10.77.2.2/"
	t.Run("router", func(t *testing.T) {
		i := readSetup(t, "router").run(t)
		for path, target := range map[string]string{"": "10.77.2.2:80", "v1": "10.77.2.2:8080"} {
			before := len(i.log.String())
			seen, line := i.visit(t, i.Client, server+path, before)
			if seen != netnstest.GatewayOut4.String() || line.Target != target || line.Arrived != "tproxy" || line.Destination != "10.77.2.2:80" {
				t.Errorf("/%s: the server saw %s, the log has %+v", path, seen, line)
			}
		}
	})
	t.Run("local", func(t *testing.T) {
		i := readSetup(t, "local").run(t)
		before := len(i.log.String())
		seen, line := i.visit(t, i.Gateway, server, before)
		if seen != netnstest.GatewayOut4.String() || line.Arrived != "tproxy" || line.Target != "10.77.2.2:80" {
			t.Errorf("the server saw %s, the log has %+v", seen, line)
		}
		if n := strings.Count(i.log.String()[before:], "handled request"); n != 1 {
			t.Errorf("the gateway handled %d requests instead of one", n)
		}
	})
	t.Run("client", func(t *testing.T) {
		i := readSetup(t, "client").run(t)
		before := len(i.log.String())
		seen, line := i.visit(t, i.Client, server, before)
		if seen != netnstest.Client4.String() || line.Arrived != "tproxy" {
			t.Errorf("the server saw %s, the log has %+v", seen, line)
		}
	})
}

// visit asks from a host, and answers which address the server saw and what the log
// says of it.
func (i *interceptor) visit(t *testing.T, from *netnstest.Host, url string, before int) (string, interceptedLine) {
	t.Helper()
	status, seen := i.get(t, from, url)
	if status != http.StatusOK {
		t.Fatalf("%s: got %d %s", url, status, seen)
	}
	ap, err := netip.ParseAddrPort(seen)
	if err != nil {
		t.Fatalf("%s: the server answered %q", url, seen)
	}
	return ap.Addr().String(), i.lineAfter(t, before, "")
}
