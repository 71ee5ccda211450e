package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/transparent/netnstest"
)

// An interceptor is the binary on the host in the middle, between a client and
// a server.
type interceptor struct {
	*netnstest.Net
	t    *testing.T
	home *home
	cmd  *exec.Cmd
	log  *transcript
}

// intercept makes the hosts and runs the gateway with a Caddyfile.
func intercept(t *testing.T, caddyfile string) *interceptor {
	t.Helper()
	return interceptBy(t, caddyfile, func(i *interceptor) *exec.Cmd { return i.inside("run", "--config", "gateway.caddyfile") })
}

// interceptBy is intercept with a command of one's own.
func interceptBy(t *testing.T, caddyfile string, command func(*interceptor) *exec.Cmd) *interceptor {
	t.Helper()
	i := &interceptor{Net: netnstest.New(t), t: t, home: newHome(t, caddyfile), log: new(transcript)}
	i.cmd = command(i)
	i.cmd.Stdout, i.cmd.Stderr = i.log, i.log
	if err := i.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = i.cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		_ = i.cmd.Process.Signal(syscall.SIGTERM)
		<-exited
		if log := i.log.String(); t.Failed() || strings.Contains(log, "DATA RACE") {
			t.Errorf("the log of the gateway:\n%s", log)
		}
	})
	for deadline := time.Now().Add(patience); !strings.Contains(i.log.String(), `"serving initial configuration"`); time.Sleep(20 * time.Millisecond) {
		select {
		case <-exited:
			t.Fatalf("the gateway did not start\n%s", i.log)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("the gateway is not ready\n%s", i.log)
		}
	}
	return i
}

// inside prepares a run of the binary on the gateway.
func (i *interceptor) inside(args ...string) *exec.Cmd {
	i.t.Helper()
	outside := i.home.command(args...)
	cmd := i.Gateway.Command(outside.Path, args...)
	cmd.Dir, cmd.Env = outside.Dir, outside.Env
	return cmd
}

// clientOn is a client on a host that does not mind certificates.
func clientOn(t *testing.T, h *netnstest.Host, http2 bool) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2)
	transport := &http.Transport{
		Protocols:       protocols,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(_ context.Context, network, address string) (c net.Conn, err error) {
			h.Do(func() { c, err = net.DialTimeout(network, address, patience) })
			return c, err
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// write sends an entity to the Admin API.
func (i *interceptor) write(path string, entity map[string]any) {
	i.t.Helper()
	body, _ := json.Marshal(entity)
	url := fmt.Sprintf("http://%s/%s", i.home.addr("ADMIN"), path)
	resp, err := clientOn(i.t, i.Gateway, false).Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		i.t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusCreated {
		i.t.Fatalf("POST /%s: %s: %s", path, resp.Status, answer)
	}
}

// serveOn runs an HTTP server on a host that answers its name.
func serveOn(t *testing.T, h *netnstest.Host, at netip.AddrPort, name string) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, name)
	}))
	s.Listener.Close()
	h.Do(func() {
		var err error
		if s.Listener, err = net.Listen("tcp", at.String()); err != nil {
			t.Error(err)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	s.Start()
	t.Cleanup(s.Close)
}

const interceptorFile = `{
	gateway {
		store memory
	}
	proxy_listen 0.0.0.0:8000 transparent, [::]:8000 transparent, 0.0.0.0:8443 ssl http2 transparent, [::]:8443 ssl http2 transparent {
		log
	}
	admin_listen 127.0.0.1:{$ADMIN}
	status_listen off
}
`

const interceptorRules = `
table inet gw {
	chain pre {
		type filter hook prerouting priority mangle; policy accept;
		fib daddr type local return
		iifname "g0" tcp dport { 80, 8000 } tproxy to :8000 meta mark set 1 accept
		iifname "g0" tcp dport 443 tproxy to :8443 meta mark set 1 accept
		iifname "g0" tcp dport { 80, 443, 8000 } drop
	}
}
table ip gwnat {
	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		iifname "g0" tcp dport 81 redirect to :8000
		iifname "g0" tcp dport 444 redirect to :8443
		iifname "g0" tcp dport 82 dnat to 10.77.1.1:8000
	}
}
table ip6 gwnat6 {
	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		iifname "g0" tcp dport 81 redirect to :8000
		iifname "g0" tcp dport 444 redirect to :8443
		iifname "g0" tcp dport 82 dnat to [fd77:1::1]:8000
	}
}
`

// Requests are routed by where their connection wanted to go, however it came
// here, and the log tells.
func TestTransparent_routesByDestination(t *testing.T) {
	i := intercept(t, strings.Replace(interceptorFile, "store memory", "store bolt {$HOME}/gateway.db", 1))
	i.Gateway.RouteMarked("1", "100")
	i.Gateway.Nft(interceptorRules)
	i.write("services", map[string]any{"name": "upstream", "url": "http://10.77.2.2:9000"})
	serveOn(t, i.Server, netip.MustParseAddrPort("10.77.2.2:9000"), "upstream")
	for _, port := range []int{80, 81, 82, 443, 444, 8000} {
		for name, ip := range map[string]string{"v4": "10.77.2.2", "v6": "fd77:2::2"} {
			i.write("services/upstream/routes", map[string]any{
				"name": fmt.Sprintf("%s-%d", name, port), "paths": []string{"/here"},
				"destinations": []any{map[string]any{"ip": ip, "port": port}},
			})
		}
	}
	i.write("services/upstream/routes", map[string]any{
		"name": "direct", "destinations": []any{map[string]any{"ip": "10.77.1.1", "port": 8000}},
	})

	for _, tt := range []struct {
		url, arrived string
		http2        bool
		route        string
	}{
		{"http://10.77.2.2:80/here", "tproxy", false, "v4-80"},
		{"http://[fd77:2::2]:80/here", "tproxy", false, "v6-80"},
		{"http://10.77.2.2:8000/here", "tproxy", false, "v4-8000"},
		{"http://10.77.2.2:81/here", "redirect", false, "v4-81"},
		{"http://[fd77:2::2]:81/here", "redirect", false, "v6-81"},
		{"http://10.77.2.2:82/here", "redirect", false, "v4-82"},
		{"http://[fd77:2::2]:82/here", "redirect", false, "v6-82"},
		{"https://10.77.2.2:443/here", "tproxy", false, "v4-443"},
		{"https://[fd77:2::2]:443/here", "tproxy", true, "v6-443"},
		{"https://10.77.2.2:444/here", "redirect", true, "v4-444"},
		{"http://10.77.1.1:8000/", "direct", false, "direct"},
		{"http://10.77.2.2:80/elsewhere", "tproxy", false, ""}, // the path is asked, too
	} {
		t.Run(fmt.Sprint(tt.url, " http2=", tt.http2), func(t *testing.T) {
			resp, err := clientOn(t, i.Client, tt.http2).Get(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			if tt.route == "" {
				if resp.StatusCode != http.StatusNotFound {
					t.Errorf("got %s %s", resp.Status, body)
				}
				return
			}
			if string(body) != "upstream" {
				t.Fatalf("got %s %s", resp.Status, body)
			}
			line := i.line(t, resp.Header.Get("X-Kong-Request-Id"))
			host := strings.TrimSuffix(strings.SplitN(tt.url, "://", 2)[1], "/here")
			if line.Arrived != tt.arrived || line.Route != tt.route || line.Destination != strings.TrimSuffix(host, "/") {
				t.Errorf("got the log line %+v", line)
			}
		})
	}
}

// Streams are routed by where they wanted to go, too.
func TestTransparent_streams(t *testing.T) {
	i := intercept(t, `{
	gateway {
		store bolt {$HOME}/gateway.db
	}
	proxy_listen off
	stream_listen 0.0.0.0:9000 transparent, [::]:9000 transparent
	admin_listen 127.0.0.1:{$ADMIN}
	status_listen off
}
`)
	i.Gateway.RouteMarked("1", "100")
	i.Gateway.Nft(`
table inet gw {
	chain pre {
		type filter hook prerouting priority mangle; policy accept;
		fib daddr type local return
		iifname "g0" tcp dport 5432 tproxy to :9000 meta mark set 1 accept
		iifname "g0" tcp dport 5432 drop
	}
}
table ip gwnat {
	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		iifname "g0" tcp dport 5433 redirect to :9000
	}
}
`)
	i.write("services", map[string]any{"name": "behind", "protocol": "tcp", "host": "10.77.2.2", "port": 9000})
	echoTCPOn(t, i.Server, "10.77.2.2:9000")
	for _, to := range []string{"10.77.2.2:5432", "[fd77:2::2]:5432", "10.77.2.2:5433"} {
		ap := netip.MustParseAddrPort(to)
		i.write("services/behind/routes", map[string]any{
			"protocols":    []string{"tcp"},
			"destinations": []any{map[string]any{"ip": ap.Addr().String(), "port": ap.Port()}},
		})
		var c net.Conn
		var err error
		i.Client.Do(func() { c, err = net.DialTimeout("tcp", to, patience) })
		if err != nil {
			t.Errorf("%s: %v", to, err)
			continue
		}
		if got := speak(t, c, "hello"); got != "hello" {
			t.Errorf("%s: got %q", to, got)
		}
		c.Close()
	}
}

// Caddy's own sites get such connections by the network type, or by the listener
// wrapper; the placeholder of the local address tells where they wanted to go.
func TestTransparent_sites(t *testing.T) {
	i := intercept(t, `{
	auto_https off
	servers :8081 {
		listener_wrappers {
			transparent
		}
	}
}
http://:8080 {
	bind transparent/[::]
	respond "network {http.request.local}"
}
http://:8081 {
	respond "wrapper {http.request.local}"
}
`)
	i.Gateway.RouteMarked("1", "100")
	i.Gateway.Nft(`
table inet gw {
	chain pre {
		type filter hook prerouting priority mangle; policy accept;
		fib daddr type local return
		iifname "g0" tcp dport 80 tproxy to :8080 meta mark set 1 accept
		iifname "g0" tcp dport 81 tproxy to :8081 meta mark set 1 accept
		iifname "g0" tcp dport { 80, 81 } drop
	}
}
table ip gwnat {
	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		iifname "g0" tcp dport 82 redirect to :8080
		iifname "g0" tcp dport 83 redirect to :8081
	}
}
`)
	for url, want := range map[string]string{
		"http://10.77.2.2:80/":   "network 10.77.2.2:80",
		"http://[fd77:2::2]:80/": "network [fd77:2::2]:80",
		"http://10.77.2.2:82/":   "network 10.77.2.2:82",
		"http://10.77.2.2:81/":   "wrapper 10.77.2.2:81",
		"http://10.77.2.2:83/":   "wrapper 10.77.2.2:83",
	} {
		resp, err := clientOn(t, i.Client, false).Get(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != want {
			t.Errorf("%s: got %q, want %q", url, body, want)
		}
	}
}

type interceptedLine struct {
	RequestID   string `json:"request_id"`
	Arrived     string `json:"arrived"`
	Destination string `json:"destination"`
	Route       string `json:"route"`
}

// line finds a line of the access log; it is written after the answer.
func (i *interceptor) line(t *testing.T, id string) (line interceptedLine) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for text := range strings.SplitSeq(i.log.String(), "\n") {
			if json.Unmarshal([]byte(text), &line) == nil && line.RequestID == id && line.Arrived != "" {
				return line
			}
		}
	}
	t.Fatalf("no line of the access log has the request_id %q", id)
	return line
}

// Without the capability, the gateway does not start, and says what it needs.
func TestTransparent_missingCapability(t *testing.T) {
	if _, err := exec.LookPath("setpriv"); err != nil {
		t.Skip("needs setpriv (Debian: apt-get install util-linux)")
	}
	n := netnstest.New(t)
	h := newHome(t, interceptorFile)
	outside := h.command("run", "--config", "gateway.caddyfile")
	args := []string{"--bounding-set", "-net_raw,-net_admin", "--inh-caps", "-net_raw,-net_admin", outside.Path}
	cmd := n.Gateway.Command("setpriv", append(args, outside.Args[1:]...)...)
	cmd.Dir, cmd.Env = outside.Dir, outside.Env
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatal("the gateway ran")
	}
	for _, want := range []string{"0.0.0.0:8000", `flag \"transparent\"`, "CAP_NET_RAW", "setcap", "AmbientCapabilities"} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("the output does not tell %q:\n%s", want, out)
		}
	}
}
