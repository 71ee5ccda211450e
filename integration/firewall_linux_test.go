package integration

import (
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/transparent/netnstest"
)

// setup is a worked set-up of docs/firewall.md, with the interfaces of the
// gateway between client and server.
func setup(t *testing.T, number int) string {
	t.Helper()
	return strings.NewReplacer("eth1", "g0", "eth2", "g1").Replace(blocks(t, "docs/firewall.md", "caddyfile")[number])
}

// follow runs the commands of a set-up.
func (i *interceptor) follow(number int) {
	i.t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		i.t.Skip("needs curl: apt-get install curl")
	}
	i.home.ports["ADMIN"] = 8001
	i.Gateway.Feed(blocks(i.t, "docs/firewall.md", "sh")[number], "sh", "-e")
}

// firewall runs the command on the gateway.
func (i *interceptor) firewall(args ...string) (out string, code int) {
	i.t.Helper()
	cmd := i.inside(append([]string{"gateway", "firewall"}, args...)...)
	text, _ := cmd.CombinedOutput()
	return string(text), cmd.ProcessState.ExitCode()
}

// forward makes a service that leads to where each client wanted to go.
func (i *interceptor) forward() {
	i.t.Helper()
	i.home.ports["ADMIN"] = 8001
	i.serveAnywhere()
}

// seen asks for a page and answers its body, which is the address that the
// server saw, and whether the gateway had it in hand.
func (i *interceptor) seen(from *netnstest.Host, url string, wait time.Duration) (seen string, through bool, err error) {
	client := clientOn(i.t, from, false)
	client.Timeout = wait
	defer client.CloseIdleConnections()
	resp, body, err := fetch(client, url)
	if err != nil {
		return "", false, err
	}
	host, _, _ := strings.Cut(body, "]")
	if at := strings.LastIndexByte(body, ':'); !strings.HasPrefix(host, "[") && at > 0 {
		host = body[:at]
	}
	return strings.TrimPrefix(host, "["), resp.Header.Get("Via") != "", nil
}

func (i *interceptor) expect(from *netnstest.Host, url, seen string, through bool) {
	i.t.Helper()
	got, was, err := i.seen(from, url, patience)
	if err != nil || got != seen || was != through {
		i.t.Errorf("%s: the server saw %q, through the gateway: %v, %v; want %q, %v", url, got, was, err, seen, through)
	}
}

func (i *interceptor) agrees() {
	i.t.Helper()
	if out, code := i.firewall("--check"); code != 0 || !strings.Contains(out, "The kernel has the rules of the listeners.") {
		i.t.Errorf("check: exit status %d\n%s", code, out)
	}
}

func TestFirewall_router(t *testing.T) {
	i := intercept(t, setup(t, 1))
	i.follow(1)
	serveSeen(t, i.Server, netip.AddrPortFrom(netnstest.Server4, 80), false)
	serveSeen(t, i.Server, netip.AddrPortFrom(netnstest.Server4, 443), true)
	serveSeen(t, i.Server, netip.AddrPortFrom(netnstest.Server6, 80), false)
	serveSeen(t, i.Server, netip.AddrPortFrom(netnstest.Server4, 81), false)
	i.expect(i.Client, "http://10.77.2.2/", netnstest.GatewayOut4.String(), true)
	i.expect(i.Client, "http://[fd77:2::2]/", netnstest.GatewayOut6.String(), true)
	i.expect(i.Client, "https://10.77.2.2/", netnstest.GatewayOut4.String(), true)
	i.expect(i.Client, "http://10.77.2.2:81/", netnstest.Client4.String(), false)
	i.agrees()
	if out, code := i.firewall("--selftest"); code != 0 || strings.Count(out, "ok ") != 4 || !strings.Contains(out, "by TPROXY, from 198.51.100.2:") {
		t.Errorf("selftest: exit status %d\n%s", code, out)
	}
	i.agrees()
}

func TestFirewall_localTraffic(t *testing.T) {
	i := intercept(t, setup(t, 2))
	i.forward()
	serveSeen(t, i.Server, netip.AddrPortFrom(netnstest.Server4, 80), false)
	i.expect(i.Gateway, "http://10.77.2.2/", netnstest.GatewayOut4.String(), true)
	i.expect(i.Client, "http://10.77.2.2/", netnstest.Client4.String(), false)
	i.agrees()
	if out, code := i.firewall("--selftest"); code != 0 || !strings.Contains(out, "not tried: this host has no route there") {
		t.Errorf("selftest without a route: exit status %d\n%s", code, out)
	}
	i.Gateway.Exec("ip", "route", "add", "default", "via", netnstest.Server4.String())
	if out, code := i.firewall("--selftest"); code != 0 || !strings.Contains(out, "from this host") || !strings.Contains(out, "by TPROXY") {
		t.Errorf("selftest: exit status %d\n%s", code, out)
	}
}

func TestFirewall_clientAddress(t *testing.T) {
	i := intercept(t, setup(t, 3))
	i.follow(1)
	i.follow(2)
	serveSeen(t, i.Server, netip.AddrPortFrom(netnstest.Server4, 80), false)
	serveSeen(t, i.Server, netip.AddrPortFrom(netnstest.Server6, 80), false)
	i.expect(i.Client, "http://10.77.2.2/", netnstest.Client4.String(), true)
	i.expect(i.Client, "http://[fd77:2::2]/", netnstest.Client6.String(), true)
	i.agrees()
}

const keptFile = `{
	gateway {
		store bolt {$HOME}/gateway.db
	}
	proxy_listen 0.0.0.0:8000 transparent
	admin_listen 127.0.0.1:8001
	status_listen off
	firewall {
		intercept tcp dport 80 iifname g0 daddr 0.0.0.0/0
	}
}
`

// The rules come and go with the listeners, and a configuration that does not
// start leaves those that were there.
func TestFirewall_keptWithTheListeners(t *testing.T) {
	i := intercept(t, keptFile)
	i.forward()
	for _, port := range []uint16{80, 81} {
		serveSeen(t, i.Server, netip.AddrPortFrom(netnstest.Server4, port), false)
	}
	i.expect(i.Client, "http://10.77.2.2/", netnstest.GatewayOut4.String(), true)
	i.expect(i.Client, "http://10.77.2.2:81/", netnstest.Client4.String(), false)

	reload := func(file string) (string, error) {
		i.home.write("gateway.caddyfile", file)
		out, err := i.inside("reload", "--config", "gateway.caddyfile").CombinedOutput()
		return string(out), err
	}
	if out, err := reload(strings.Replace(keptFile, "dport 80", "dport 81", 1)); err != nil {
		t.Fatal(out)
	}
	i.expect(i.Client, "http://10.77.2.2/", netnstest.Client4.String(), false)
	i.expect(i.Client, "http://10.77.2.2:81/", netnstest.GatewayOut4.String(), true)
	i.agrees()

	for _, broken := range []string{
		strings.Replace(keptFile, "8000 transparent", "8000", 1),                             // nobody to divert to
		strings.Replace(keptFile, "8000 transparent", "8000 transparent, 10.99.0.1:8100", 1), // an address that is not there
		strings.Replace(keptFile, "firewall {", "firewall {\n\t\tbackend iptables-no", 1),    // no such backend
	} {
		if out, err := reload(broken); err == nil {
			t.Errorf("it was loaded:\n%s\n%s", broken, out)
		}
		i.expect(i.Client, "http://10.77.2.2:81/", netnstest.GatewayOut4.String(), true)
	}
	before := i.Gateway.Exec("nft", "list", "ruleset")
	if out, err := reload(strings.Replace(keptFile, "dport 80", "dport 81", 1)); err != nil {
		t.Fatal(out)
	}
	if after := i.Gateway.Exec("nft", "list", "ruleset"); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}

	if out, err := reload(keptFile[:strings.Index(keptFile, "\tfirewall")] + "}\n"); err != nil {
		t.Fatal(out)
	}
	i.bare()
	if out, err := reload(keptFile); err != nil {
		t.Fatal(out)
	}
	i.expect(i.Client, "http://10.77.2.2/", netnstest.GatewayOut4.String(), true)
	_ = i.cmd.Process.Signal(syscall.SIGTERM)
	patient.Until(t, "the rules are gone", func() bool {
		return !strings.Contains(i.Gateway.Exec("nft", "list", "ruleset"), "portcullis") &&
			!strings.Contains(i.Gateway.Exec("ip", "rule"), "1610") // they go last
	})
	i.bare()
	i.expect(i.Client, "http://10.77.2.2/", netnstest.Client4.String(), false)
}

// bare makes sure that nothing of the gateway's is in the kernel.
func (i *interceptor) bare() {
	i.t.Helper()
	for _, show := range []string{"nft list ruleset", "ip -4 rule", "ip -6 rule", "ip -4 route show table all", "ip -6 route show table all"} {
		words := strings.Fields(show)
		if out := i.Gateway.Exec(words[0], words[1:]...); strings.Contains(out, "portcullis") || strings.Contains(out, "1610") {
			i.t.Errorf("%s still shows\n%s", show, out)
		}
	}
	// Network namespaces are the machine's: those of processes that still run are
	// of other tests.
	for line := range strings.Lines(i.Gateway.Exec("ip", "netns", "list")) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if id, ok := strings.CutPrefix(name, "portcullis-selftest-"); ok {
			if _, err := os.Stat("/proc/" + id); err == nil {
				continue
			}
			if _, err := os.Stat("/run/netns/" + name); err == nil { // it did not leave in between
				i.t.Errorf("the network namespace %s is left", name)
			}
		}
	}
}

// What a gateway killed leaves behind stops what it would have diverted.
func TestFirewall_failsClosed(t *testing.T) {
	i := intercept(t, keptFile)
	i.forward()
	serveSeen(t, i.Server, netip.AddrPortFrom(netnstest.Server4, 80), false)
	if _, through, err := i.seen(i.Client, "http://10.77.2.2/", patience); err != nil || !through {
		t.Fatalf("through the gateway: %v, %v", through, err)
	}
	if out := i.Gateway.Exec("sysctl", "-n", "net.ipv4.ip_forward"); strings.TrimSpace(out) != "1" {
		t.Fatalf("the gateway does not forward, so this proves nothing: %s", out)
	}
	_ = i.cmd.Process.Kill()
	patient.Until(t, "it does not listen any more", func() bool {
		return !strings.Contains(i.Gateway.Exec("ss", "-ltn"), ":8000")
	})
	if seen, _, err := i.seen(i.Client, "http://10.77.2.2/", 3*time.Second); err == nil {
		t.Errorf("the client got past the gateway: the server saw %s", seen)
	}
	if out, code := i.firewall("--remove"); code != 0 {
		t.Errorf("remove: exit status %d\n%s", code, out)
	}
	i.bare()
	i.expect(i.Client, "http://10.77.2.2/", netnstest.Client4.String(), false)
}

// The command, from a dry run to the removal, with and without a running gateway.
func TestFirewall_command(t *testing.T) {
	i := intercept(t, `{
	gateway {
		store memory
	}
	proxy_listen 0.0.0.0:8000 transparent, [::]:8000 transparent
	stream_listen 0.0.0.0:9000 udp
	admin_listen 127.0.0.1:8001, 10.77.2.1:8002 {
		insecure
	}
}
`)
	flags := []string{"--intercept", "tcp dport {80, 8080} iifname g0", "--trusted", "10.77.2.0/24", "--rate", "1000/second"}
	run := func(want int, args ...string) string {
		t.Helper()
		out, code := i.firewall(append(args, flags...)...)
		if code != want {
			t.Errorf("%q: exit status %d, want %d\n%s", args, code, want, out)
		}
		return out
	}
	text := run(0)
	for _, want := range []string{
		`comment "proxy_listen 0.0.0.0:8000 transparent"`, `comment "stream_listen 0.0.0.0:9000 udp"`, `comment "admin_listen 10.77.2.1:8002"`,
		"tproxy ip6 to :8000", "ip daddr 10.77.2.1 tcp dport 8002 ip saddr 10.77.2.0/24 accept", "ip -6 rule add",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	i.bare() // it was a dry run
	ofFile, err := i.inside(append([]string{"gateway", "firewall", "--config", "gateway.caddyfile"}, flags...)...).Output()
	if err != nil || string(ofFile) != text { // beside it, Caddy writes its log
		t.Errorf("of the file: %v\n%s\nof the gateway:\n%s", err, ofFile, text)
	}
	// What is printed is what is applied.
	for line := range strings.Lines(run(0, "--format", "routes")) {
		words := strings.Fields(line)
		i.Gateway.Exec(words[0], words[1:]...)
	}
	i.Gateway.Nft(text)
	run(0, "--check")
	if out := run(0, "--apply"); !strings.Contains(out, "nothing has changed") {
		t.Errorf("apply says\n%s", out)
	}
	for _, backend := range []string{"iptables-legacy", "iptables-nft"} {
		if _, err := exec.LookPath(backend + "-restore"); err != nil {
			continue
		}
		run(0, "--apply", "--backend", backend)
		run(0, "--check", "--backend", backend)
		run(0, "--selftest", "--backend", backend)
	}
	run(0, "--apply")
	i.Gateway.Exec("nft", "flush", "chain", "inet", "portcullis", "prerouting")
	if out := run(1, "--check"); !strings.Contains(out, "missing: chain prerouting: iifname \"g0\"") {
		t.Errorf("check says\n%s", out)
	}
	if out := run(2, "--selftest"); !strings.Contains(out, "apply them first") {
		t.Errorf("selftest says\n%s", out)
	}
	run(0, "--remove")
	i.bare()

	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--apply", "--check"}, "exclude each other"},
		{[]string{"--format", "ufw"}, `--format: "ufw": expected nft`},
		{[]string{"--intercept", "tcp dport 80 to :9999"}, "there is no listener for it"},
		{[]string{"--trusted", "lan"}, `trusted: "lan": expected an address or a range`},
		{[]string{"--config", "nowhere.caddyfile"}, "--config: "},
		{[]string{"--address", "http://127.0.0.1:9"}, "--config reads a configuration instead"},
		{[]string{"now"}, "usage: caddy gateway firewall"},
	} {
		out, code := i.firewall(tt.args...)
		if code != 2 || !strings.Contains(out, tt.want) {
			t.Errorf("%q: exit status %d, want 2 and %q\n%s", tt.args, code, tt.want, out)
		}
	}
	// Without the capability, a sentence says what is missing.
	if _, err := exec.LookPath("setpriv"); err != nil {
		return
	}
	outside := i.inside("gateway", "firewall", "--apply")
	cmd := i.Gateway.Command("setpriv", append([]string{"--bounding-set", "-net_admin", "--inh-caps", "-net_admin"}, outside.Args[4:]...)...)
	cmd.Dir, cmd.Env = outside.Dir, outside.Env
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "CAP_NET_ADMIN") {
		t.Errorf("without the capability: %v\n%s", err, out)
	}
	i.bare()
}

// Datagrams and HTTP/3 come to their listeners by the rules that are kept with
// them, and stop when the gateway is gone.
func TestFirewall_datagrams(t *testing.T) {
	i := intercept(t, `{
	gateway {
		store bolt {$HOME}/gateway.db
	}
	proxy_listen 0.0.0.0:8443 ssl http2 http3 transparent
	stream_listen 0.0.0.0:9053 udp transparent, [::]:9053 udp transparent
	admin_listen 127.0.0.1:8001
	status_listen off
	firewall {
		rate 1000/second
		intercept udp dport 443 iifname g0 daddr 0.0.0.0/0
		intercept udp dport 53 iifname g0 to :9053
	}
}
`)
	i.forward()
	i.write("services", map[string]any{"name": "behind", "protocol": "udp", "host": "10.77.2.2", "port": 9000})
	i.write("services/behind/routes", map[string]any{"protocols": []string{"udp"}, "destinations": []any{map[string]any{"port": 53}}})
	serveSeen(t, i.Server, netip.AddrPortFrom(netnstest.Server4, 443), false)
	echoOn(t, i.Server, "10.77.2.2:9000")
	echoOn(t, i.Server, "10.77.2.2:53")
	echoOn(t, i.Server, "[fd77:2::2]:53")

	resp, body, err := fetch(quicOn(t, i.Client), "https://10.77.2.2/")
	if err != nil {
		t.Fatal(err)
	}
	if resp.ProtoMajor != 3 || !strings.HasPrefix(body, netnstest.GatewayOut4.String()+":") {
		t.Errorf("got %s %s %s", resp.Proto, resp.Status, body)
	}
	for _, to := range []string{"10.77.2.2:53", "[fd77:2::2]:53"} {
		if got, err := askUDP(t, i.Client, to, "hello", patience); err != nil || got != "10.77.2.2:9000 hello" {
			t.Errorf("%s: got %q, %v", to, got, err)
		}
	}
	i.agrees()
	_ = i.cmd.Process.Kill()
	patient.Until(t, "it does not listen any more", func() bool {
		return !strings.Contains(i.Gateway.Exec("ss", "-lun"), ":9053")
	})
	if got, err := askUDP(t, i.Client, "10.77.2.2:53", "hello", time.Second); err == nil {
		t.Errorf("the client got past the gateway: %q", got)
	}
}

// Without the capability, a configuration with the option does not start, and
// says what it needs.
func TestFirewall_missingCapability(t *testing.T) {
	refusesWithout(t, "-net_admin", keptFile, "firewall: ", "CAP_NET_ADMIN", "AmbientCapabilities")
}
