package integration

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/transparent/netnstest"
)

// Connections that are kept belong to one client each, and a client is passed on to
// what it may reach only.
func TestOutlet_poolsAndGuards(t *testing.T) {
	i := interceptAll(t, matrixFile, ways[0])
	i.serveAnywhere("client")
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

// serveAnywhere makes a service that leads to where each client wanted to go.
func (i *interceptor) serveAnywhere(sources ...string) {
	i.t.Helper()
	i.write("services", map[string]any{"name": "anywhere", "url": "http://original_destination", "source_addresses": sources})
	i.write("services/anywhere/routes", map[string]any{"name": "anywhere", "paths": []string{"/"}})
}

// A reload in the midst of intercepted requests loses none of them.
func TestOutlet_reloadUnderLoad(t *testing.T) {
	i := interceptAll(t, matrixFile, ways[0])
	i.serveAnywhere("client")
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
				resp, body, err := fetch(client, "http://10.77.2.2/")
				if err == nil && !strings.HasPrefix(body, "10.77.1.2:") {
					err = fmt.Errorf("%s %s", resp.Status, body)
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
		i.reload(fmt.Sprintf("# %d\n%s", n, matrixFile))
		patient.Until(t, "requests get through", func() bool { return asked.Load() >= at+50 || len(failures) > 0 })
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
	i := interceptAll(t, `{
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
`, ways[0])
	i.serveAnywhere()
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
	needsSetpriv(t)
	n := netnstest.New(t)
	h := newHome(t, "")
	config := h.write("client.yml", "_format_version: \"3.0\"\nservices:\n- name: s\n  url: http://10.77.2.2\n  source_addresses: [client]\n")
	h.write("gateway.caddyfile", "{\n\tgateway {\n\t\tstore memory "+config+"\n\t}\n\tproxy_listen off\n\tadmin_listen off\n\tstatus_listen off\n}\n:1080 {\n\tgateway\n}\n")
	cmd := without(n, h, "-net_raw,-net_admin", nil)
	log := new(transcript)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	patient.Until(t, "the gateway says what is missing", func() bool {
		if strings.Contains(log.String(), "serving initial configuration") {
			openNode(n)
		}
		return strings.Contains(log.String(), "source_addresses: client")
	})
	for _, want := range []string{"CAP_NET_RAW", "setcap", "AmbientCapabilities"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not tell %q: %s", want, log)
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
