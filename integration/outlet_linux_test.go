package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/transparent/netnstest"
)

// A way is how connections are intercepted on their way through the gateway.
type way struct {
	name, arrived string
	rules         string // with the ports that the listeners of matrixFile have
}

// The ports 80, 443, 5432 and 8443 of the server lead to the listeners for
// HTTP, HTTPS, TCP and TLS that is passed through.
var ways = []way{
	{"TPROXY", "tproxy", `
table inet gw {
	chain pre {
		type filter hook prerouting priority mangle; policy accept;
		fib daddr type local return
		iifname "g0" tcp dport 80 tproxy to :8000 meta mark set 1 accept
		iifname "g0" tcp dport 443 tproxy to :8443 meta mark set 1 accept
		iifname "g0" tcp dport 5432 tproxy to :9000 meta mark set 1 accept
		iifname "g0" tcp dport 8443 tproxy to :9443 meta mark set 1 accept
		iifname "g0" meta l4proto tcp drop
	}
}`},
	{"REDIRECT", "redirect", `
table inet gw {
	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local return
		iifname "g0" tcp dport 80 redirect to :8000
		iifname "g0" tcp dport 443 redirect to :8443
		iifname "g0" tcp dport 5432 redirect to :9000
		iifname "g0" tcp dport 8443 redirect to :9443
	}
}`},
	{"DNAT", "redirect", `
table inet gw {
	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local return
		iifname "g0" meta nfproto ipv4 meta l4proto tcp dnat ip to 10.77.1.1:tcp dport map { 80 : 8000, 443 : 8443, 5432 : 9000, 8443 : 9443 }
		iifname "g0" meta nfproto ipv6 meta l4proto tcp dnat ip6 to fd77:1::1:tcp dport map { 80 : 8000, 443 : 8443, 5432 : 9000, 8443 : 9443 }
	}
}`},
}

const matrixFile = `{
	gateway {
		store bolt {$HOME}/gateway.db
	}
	proxy_listen 0.0.0.0:8000 transparent, [::]:8000 transparent, 0.0.0.0:8443 ssl http2 transparent, [::]:8443 ssl http2 transparent {
		log
	}
	stream_listen 0.0.0.0:9000 transparent, [::]:9000 transparent, 0.0.0.0:9443 ssl transparent, [::]:9443 ssl transparent {
		log
	}
	admin_listen 127.0.0.1:{$ADMIN}
	status_listen off
}
`

// returnPath gives the answers to connections with somebody else's address to the
// sockets that made them.
const returnPath = `
table inet gwspoof {
	chain pre {
		type filter hook prerouting priority -160; policy accept;
		iifname "g1" meta l4proto { tcp, udp } socket transparent 1 socket wildcard 0 meta mark set 1 accept
	}
}`

// Whatever way a connection is intercepted, and whatever it speaks, it is routed by
// where it wanted to go, reaches that place with its client's own address, and the
// log says so.
func TestOutlet_matrix(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			i := intercept(t, matrixFile)
			i.Gateway.RouteMarked("1", "100")
			i.Gateway.Nft(w.rules)
			i.Gateway.Nft(returnPath)
			i.serveMatrix(t)
			for name, ip := range map[string]netip.Addr{"v4": netnstest.Server4, "v6": netnstest.Server6} {
				client := netnstest.Client4
				if ip.Is6() {
					client = netnstest.Client6
				}
				for protocol, p := range matrixPorts {
					if protocol == "h2" {
						continue // the same as https
					}
					i.write("services", map[string]any{
						"name": name + "-" + p.protocol, "protocol": p.protocol, "host": "original_destination", "port": 0,
						"source_addresses": []string{"client"},
					})
					route := map[string]any{
						"name": name + "-" + p.protocol, "protocols": []string{p.route},
						"destinations": []any{map[string]any{"ip": ip.String(), "port": p.port}},
					}
					if p.route == "tls_passthrough" {
						route["snis"] = []string{"server.test"}
					} else if p.route != "tcp" {
						route["paths"] = []string{"/"}
					}
					i.write("services/"+name+"-"+p.protocol+"/routes", route)
				}
				for _, protocol := range []string{"http", "https", "h2", "tcp", "tls_passthrough"} {
					t.Run(name+" "+protocol, func(t *testing.T) {
						before := len(i.log.String())
						seen := i.ask(t, protocol, ip)
						if seen != client.String() {
							t.Errorf("the server saw %q, want the client's address %s", seen, client)
						}
						route := name + "-" + strings.Replace(protocol, "h2", "https", 1)
						line := i.lineAfter(t, before, route)
						want := netip.AddrPortFrom(ip, matrixPorts[protocol].port).String()
						if line.Arrived != w.arrived || line.Destination != want || line.Target != want {
							t.Errorf("got the log line %+v, want arrived %s, destination and target %s", line, w.arrived, want)
						}
					})
				}
			}
		})
	}
}

type matrixPort struct {
	port            uint16
	protocol, route string // of the service; of the route
}

var matrixPorts = map[string]matrixPort{
	"http":            {80, "http", "http"},
	"https":           {443, "https", "https"},
	"tcp":             {5432, "tcp", "tcp"},
	"tls_passthrough": {8443, "tls_passthrough", "tls_passthrough"},
}

func init() { matrixPorts["h2"] = matrixPorts["https"] }

// serveMatrix runs servers on the server's own ports that answer the address they
// see.
func (i *interceptor) serveMatrix(t *testing.T) {
	t.Helper()
	for _, ip := range []netip.Addr{netnstest.Server4, netnstest.Server6} {
		serveSeen(t, i.Server, netip.AddrPortFrom(ip, 80), false)
		serveSeen(t, i.Server, netip.AddrPortFrom(ip, 443), true)
		serveSeen(t, i.Server, netip.AddrPortFrom(ip, 8443), true)
		ln := listenOn(t, i.Server, netip.AddrPortFrom(ip, 5432))
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				fmt.Fprintln(c, c.RemoteAddr())
				c.Close()
			}
		}()
	}
}

// listenOn listens on a host.
func listenOn(t testing.TB, h *netnstest.Host, at netip.AddrPort) (ln net.Listener) {
	t.Helper()
	h.Do(func() {
		var err error
		if ln, err = net.Listen("tcp", at.String()); err != nil {
			t.Error(err)
		}
	})
	if ln == nil {
		t.FailNow()
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// serveSeen runs an HTTP server that answers the address it sees.
func serveSeen(t testing.TB, h *netnstest.Host, at netip.AddrPort, secure bool) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.RemoteAddr)
	}))
	s.Listener.Close()
	s.Listener = listenOn(t, h, at)
	if secure {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
}

// ask connects from the client to the server's port for a protocol and answers
// which address the server saw.
func (i *interceptor) ask(t *testing.T, protocol string, ip netip.Addr) string {
	t.Helper()
	to := netip.AddrPortFrom(ip, matrixPorts[protocol].port)
	var text string
	switch protocol {
	case "http", "https", "h2", "tls_passthrough":
		scheme := "https"
		if protocol == "http" {
			scheme = "http"
		}
		client := clientOn(t, i.Client, protocol == "h2")
		if protocol == "tls_passthrough" {
			client.Transport.(*http.Transport).TLSClientConfig.ServerName = "server.test"
		}
		resp, err := client.Get(scheme + "://" + to.String() + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		client.CloseIdleConnections() // streams are logged when they have ended
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s %s", resp.Status, body)
		}
		if protocol == "h2" && resp.ProtoMajor != 2 {
			t.Errorf("the client spoke %s", resp.Proto)
		}
		// Who spoke TLS with the client: the gateway, or the server.
		if certificate := resp.TLS; certificate != nil {
			servers := len(certificate.PeerCertificates[0].Subject.Organization) > 0 && certificate.PeerCertificates[0].Subject.Organization[0] == "Acme Co"
			if servers != (protocol == "tls_passthrough") {
				t.Errorf("the client saw a certificate of %v", certificate.PeerCertificates[0].Subject)
			}
		}
		text = string(body)
	default:
		var c net.Conn
		var err error
		i.Client.Do(func() { c, err = net.DialTimeout("tcp", to.String(), patience) })
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		text = strings.TrimSpace(line)
	}
	seen, err := netip.ParseAddrPort(text)
	if err != nil {
		t.Fatalf("the server answered %q", text)
	}
	return seen.Addr().String()
}

type outletLine struct {
	Arrived     string `json:"arrived"`
	Destination string `json:"destination"`
	Route       string `json:"route"`
	Target      string `json:"target"`
}

// lineAfter finds a line of the access log about a route, or about any, that was
// written after some part of the log.
func (i *interceptor) lineAfter(t *testing.T, before int, route string) outletLine {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for text := range strings.SplitSeq(i.log.String()[before:], "\n") {
			var line outletLine
			if json.Unmarshal([]byte(text), &line) == nil && (route == "" || line.Route == route) && line.Arrived != "" {
				return line
			}
		}
	}
	t.Fatalf("the log says nothing of the route %s", route)
	return outletLine{}
}

// get asks from a host on a connection of its own.
func (i *interceptor) get(t *testing.T, from *netnstest.Host, url string) (int, string) {
	t.Helper()
	client := clientOn(t, from, false)
	defer client.CloseIdleConnections()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

// Connections that are kept belong to one client each, and a client is passed on to
// what it may reach only.
func TestOutlet_poolsAndGuards(t *testing.T) {
	i := intercept(t, matrixFile)
	i.Gateway.RouteMarked("1", "100")
	i.Gateway.Nft(ways[0].rules)
	i.Gateway.Nft(returnPath)
	i.serveMatrix(t)
	i.write("services", map[string]any{"name": "anywhere", "url": "http://original_destination", "source_addresses": []string{"client"}})
	i.write("services/anywhere/routes", map[string]any{"name": "anywhere", "paths": []string{"/"}})
	i.write("services", map[string]any{"name": "fixed", "url": "http://10.77.2.2:80", "source_addresses": []string{"10.77.2.16/30", "fd77:2::1"}})
	i.write("services/fixed/routes", map[string]any{"name": "fixed", "paths": []string{"/fixed"}})
	i.write("services", map[string]any{"name": "not-ours", "url": "http://10.77.2.2:80", "source_addresses": []string{"10.77.9.9"}})
	i.write("services/not-ours/routes", map[string]any{"name": "not-ours", "paths": []string{"/not-ours"}})
	i.write("services", map[string]any{"name": "six", "url": "http://10.77.2.2:80", "source_addresses": []string{"fd77:2::1"}})
	i.write("services/six/routes", map[string]any{"name": "six", "paths": []string{"/six"}})

	t.Run("two clients", func(t *testing.T) {
		i.Client.Exec("ip", "addr", "add", "10.77.1.3/24", "dev", "c0")
		for range 3 { // one after the other, so that connections are idle in between
			for _, ip := range []string{"10.77.1.2", "10.77.1.3"} {
				seen := strings.TrimSpace(i.Client.Exec("curl", "-sS", "--interface", ip, "http://10.77.2.2/"))
				if !strings.HasPrefix(seen, ip+":") {
					t.Errorf("the server saw %s, want %s", seen, ip)
				}
			}
		}
	})
	t.Run("a range of the host's own", func(t *testing.T) {
		for last := 16; last < 20; last++ {
			i.Gateway.Exec("ip", "addr", "add", fmt.Sprintf("10.77.2.%d/32", last), "dev", "g1")
		}
		for range 2 {
			status, seen := i.get(t, i.Client, "http://10.77.2.2/fixed")
			ap, err := netip.ParseAddrPort(seen)
			if status != http.StatusOK || err != nil || !netip.MustParsePrefix("10.77.2.16/30").Contains(ap.Addr()) {
				t.Errorf("got %d, the server saw %s", status, seen)
			}
		}
	})
	for path, want := range map[string]string{
		"not-ours": "it is not an address of this host",
		"six":      "source_addresses has none of IPv4",
	} {
		t.Run(path, func(t *testing.T) {
			before := len(i.log.String())
			if status, body := i.get(t, i.Client, "http://10.77.2.2/"+path); status != http.StatusBadGateway {
				t.Errorf("got %d %s", status, body)
			}
			i.says(t, before, want)
		})
	}
	t.Run("used up ports", func(t *testing.T) {
		i.Gateway.Exec("sysctl", "-qw", "net.ipv4.ip_local_port_range=50000 50001")
		defer i.Gateway.Exec("sysctl", "-qw", "net.ipv4.ip_local_port_range=32768 60999")
		i.Gateway.Exec("ip", "addr", "add", "10.77.2.40/32", "dev", "g1")
		slow := listenOn(t, i.Server, netip.MustParseAddrPort("10.77.2.2:81"))
		i.write("services", map[string]any{"name": "full", "url": "http://10.77.2.2:81", "retries": 0, "source_addresses": []string{"10.77.2.40"}})
		i.write("services/full/routes", map[string]any{"name": "full", "paths": []string{"/full"}})
		// Two connections that the server does not answer take both ports.
		for range 2 {
			go func() {
				var c net.Conn
				i.Client.Do(func() { c, _ = net.Dial("tcp", "10.77.2.2:80") })
				if c != nil {
					defer c.Close()
					fmt.Fprint(c, "GET /full HTTP/1.1\r\nHost: a\r\n\r\n")
					_, _ = io.ReadAll(c)
				}
			}()
			c, err := slow.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
		before := len(i.log.String())
		if status, body := i.get(t, i.Client, "http://10.77.2.2/full"); status != http.StatusBadGateway {
			t.Errorf("got %d %s", status, body)
		}
		i.says(t, before, "from 10.77.2.40: all ports of this source address are in use")
	})
	for name, url := range map[string]string{
		"direct":                                "http://10.77.1.1:8000/",
		"the gateway's own address, redirected": "http://10.77.2.1:82/",
	} {
		t.Run(name, func(t *testing.T) {
			i.Gateway.Nft(`
table ip own {
	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		iifname "g0" tcp dport 82 redirect to :8000
	}
}`)
			defer i.Gateway.Nft("delete table ip own")
			i.Gateway.Exec("nft", "insert", "rule", "inet", "gw", "pre", "tcp", "dport", "82", "accept")
			before := len(i.log.String())
			if status, body := i.get(t, i.Client, url); status != http.StatusBadGateway {
				t.Errorf("got %d %s", status, body)
			}
			i.says(t, before, "original destination is not passed on")
		})
	}
}

// says waits until the log says something, after some part of it.
func (i *interceptor) says(t *testing.T, before int, want string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if strings.Contains(i.log.String()[before:], want) {
			return
		}
	}
	t.Errorf("the log does not say %q: %s", want, i.log.String()[before:])
}

// A reload in the midst of intercepted requests loses none of them.
func TestOutlet_reloadUnderLoad(t *testing.T) {
	i := intercept(t, matrixFile)
	i.Gateway.RouteMarked("1", "100")
	i.Gateway.Nft(ways[0].rules)
	i.Gateway.Nft(returnPath)
	i.serveMatrix(t)
	i.write("services", map[string]any{"name": "anywhere", "url": "http://original_destination", "source_addresses": []string{"client"}})
	i.write("services/anywhere/routes", map[string]any{"name": "anywhere", "paths": []string{"/"}})
	stop := make(chan struct{})
	failures := make(chan error, 4)
	var asked atomic.Int64
	var workers sync.WaitGroup
	for n := range 4 {
		client := clientOn(t, i.Client, false)
		workers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := client.Get("http://10.77.2.2/")
				if err == nil {
					var body []byte
					body, err = io.ReadAll(resp.Body)
					resp.Body.Close()
					if err == nil && !strings.HasPrefix(string(body), "10.77.1.2:") {
						err = fmt.Errorf("%s %s", resp.Status, body)
					}
				}
				if err != nil {
					failures <- err
					return
				}
				if asked.Add(1); n%2 == 0 {
					client.CloseIdleConnections() // a new one for each
				}
			}
		})
	}
	for n := range 10 {
		at := asked.Load()
		i.home.write("gateway.caddyfile", fmt.Sprintf("# %d\n%s", n, matrixFile))
		if out, err := i.inside("reload", "--force", "--config", "gateway.caddyfile", "--address", i.home.addr("CADDY")).CombinedOutput(); err != nil {
			t.Fatalf("reload: %v\n%s", err, out)
		}
		for deadline := time.Now().Add(patience); asked.Load() < at+50 && len(failures) == 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("no requests get through")
			}
		}
	}
	close(stop)
	workers.Wait()
	select {
	case err := <-failures:
		t.Errorf("after %d requests: %v", asked.Load(), err)
	default:
	}
}

// Caddy's own sites and caddy-l4's servers know how connections came, and
// reverse_proxy leaves from the client's address with its guard.
func TestOutlet_sites(t *testing.T) {
	i := intercept(t, `{
	auto_https off
	gateway {
		store bolt {$HOME}/gateway.db
	}
	proxy_listen off
	admin_listen 127.0.0.1:{$ADMIN}
	status_listen off
	layer4 {
		transparent/:9000 {
			@caught arrived intercepted
			route @caught {
				gateway
			}
		}
	}
}
http://:8000 {
	bind transparent/[::]
	arrival
	@direct arrived direct
	respond @direct "direct {http.transparent.destination}"
	respond /how "{http.transparent.arrived} {http.transparent.destination}"
	gateway /gateway
	reverse_proxy {http.request.local} {
		transport gateway_outlet {
			source client
			guard
			deny fd77:2::/64
		}
	}
}
`)
	i.Gateway.RouteMarked("1", "100")
	i.Gateway.Nft(ways[0].rules)
	i.Gateway.Nft(returnPath)
	i.serveMatrix(t)
	i.write("services", map[string]any{"name": "anywhere", "url": "http://original_destination"})
	i.write("services/anywhere/routes", map[string]any{"name": "anywhere", "paths": []string{"/"}})
	i.write("services", map[string]any{"name": "streams", "url": "tcp://original_destination"})
	i.write("services/streams/routes", map[string]any{"name": "streams", "protocols": []string{"tcp"}, "destinations": []any{map[string]any{"port": 5432}}})
	for url, want := range map[string]string{
		"http://10.77.2.2/":        "10.77.1.2:",
		"http://10.77.2.2/how":     "tproxy 10.77.2.2:80",
		"http://[fd77:2::2]/how":   "tproxy [fd77:2::2]:80",
		"http://10.77.1.1:8000/":   "direct 10.77.1.1:8000",
		"http://10.77.2.2/gateway": "10.77.2.1:",
	} {
		if status, body := i.get(t, i.Client, url); status != http.StatusOK || !strings.HasPrefix(body, want) {
			t.Errorf("%s: got %d %q, want %q", url, status, body, want)
		}
	}
	if status, _ := i.get(t, i.Client, "http://[fd77:2::2]/"); status != http.StatusBadGateway {
		t.Errorf("a denied destination: got %d", status)
	}
	if seen := i.ask(t, "tcp", netnstest.Server4); seen != netnstest.GatewayOut4.String() {
		t.Errorf("through caddy-l4, the server saw %s", seen)
	}
}

// Without the capability, a service that asks for the client's address is refused
// when it is written, with a sentence that says what is missing.
func TestOutlet_missingCapability(t *testing.T) {
	if _, err := exec.LookPath("setpriv"); err != nil {
		t.Skip("needs setpriv (Debian: apt-get install util-linux)")
	}
	h := newHome(t, usual)
	config := h.write("client.yml", "_format_version: \"3.0\"\nservices:\n- name: s\n  url: http://10.77.2.2\n  source_addresses: [client]\n")
	outside := h.command("run", "--config", "gateway.caddyfile")
	n := netnstest.New(t)
	drop := []string{"--bounding-set", "-net_raw,-net_admin", "--inh-caps", "-net_raw,-net_admin", outside.Path}
	h.write("gateway.caddyfile", "{\n\tgateway {\n\t\tstore memory "+config+"\n\t}\n\tproxy_listen off\n\tadmin_listen off\n\tstatus_listen off\n}\n:1080 {\n\tgateway\n}\n")
	cmd := n.Gateway.Command("setpriv", append(drop, outside.Args[1:]...)...)
	cmd.Dir, cmd.Env = outside.Dir, outside.Env
	log := new(transcript)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if text := log.String(); strings.Contains(text, "source_addresses: client") {
			for _, want := range []string{"CAP_NET_RAW", "setcap", "AmbientCapabilities"} {
				if !strings.Contains(text, want) {
					t.Errorf("the log does not tell %q: %s", want, text)
				}
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the gateway says nothing of it: %s", log)
		}
		if strings.Contains(log.String(), "serving initial configuration") {
			openNode(n)
		}
	}
}

// openNode makes the site's handler open the node: it does so for its first request.
func openNode(n *netnstest.Net) {
	n.Gateway.Do(func() {
		c, err := net.DialTimeout("tcp", "127.0.0.1:1080", time.Second)
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		_ = c.SetDeadline(time.Now().Add(time.Second))
		_, _ = io.ReadAll(c)
	})
}

// Datagrams go to the original destination with the client's address, too.
func TestOutlet_datagrams(t *testing.T) {
	i := intercept(t, `{
	gateway {
		store bolt {$HOME}/gateway.db
	}
	proxy_listen off
	stream_listen 0.0.0.0:9053 udp transparent, [::]:9053 udp transparent
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
		iifname "g0" udp dport 53 tproxy to :9053 meta mark set 1 accept
		iifname "g0" udp dport 53 drop
	}
}`)
	i.Gateway.Nft(returnPath)
	i.write("services", map[string]any{"name": "names", "url": "udp://original_destination", "source_addresses": []string{"client"}})
	i.write("services/names/routes", map[string]any{"name": "names", "protocols": []string{"udp"}, "destinations": []any{map[string]any{"port": 53}}})
	for server, client := range map[netip.Addr]netip.Addr{netnstest.Server4: netnstest.Client4, netnstest.Server6: netnstest.Client6} {
		to := netip.AddrPortFrom(server, 53)
		var from net.PacketConn
		var c net.Conn
		var err error
		i.Server.Do(func() { from, err = net.ListenPacket("udp", to.String()) })
		if err != nil {
			t.Fatal(err)
		}
		defer from.Close()
		go func() {
			b := make([]byte, 64)
			for {
				_, seen, err := from.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = from.WriteTo([]byte(seen.String()), seen)
			}
		}()
		i.Client.Do(func() { c, err = net.Dial("udp", to.String()) })
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprint(c, "who am I")
		b := make([]byte, 64)
		n, err := c.Read(b)
		if err != nil {
			t.Errorf("%s: %v", to, err)
			continue
		}
		if seen, err := netip.ParseAddrPort(string(b[:n])); err != nil || seen.Addr() != client {
			t.Errorf("%s saw %q, want %s", to, b[:n], client)
		}
	}
}
