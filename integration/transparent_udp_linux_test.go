package integration

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const udpFile = `{
	gateway {
		store bolt {$HOME}/gateway.db
	}
	proxy_listen off
	stream_listen 0.0.0.0:9053 udp transparent, [::]:9053 udp transparent, [::]:9054 udp transparent ipv6only=off, 0.0.0.0:9055 udp transparent intercepted {
		log
	}
	admin_listen 127.0.0.1:{$ADMIN}
	status_listen off
}
`

const udpRules = `
table inet gw {
	chain pre {
		type filter hook prerouting priority mangle; policy accept;
		fib daddr type local return
		iifname "g0" udp dport { 53, 54, 9053 } tproxy to :9053 meta mark set 1 accept
		iifname "g0" udp dport 55 tproxy to :9054 meta mark set 1 accept
		iifname "g0" udp dport 56 tproxy to :9055 meta mark set 1 accept
		iifname "g0" udp dport 57 tproxy to :9999 meta mark set 1 accept
		iifname "g0" udp dport { 53, 54, 55, 56, 57, 9053 } drop
	}
}
`

// Datagrams are routed by where they were sent to, and answered from there.
func TestTransparent_udp(t *testing.T) {
	i := intercept(t, udpFile)
	i.Gateway.RouteMarked("1", "100")
	i.Gateway.Nft(udpRules)
	echoOn(t, i.Server, "10.77.2.2:9000")
	i.write("services", map[string]any{"name": "behind", "protocol": "udp", "host": "10.77.2.2", "port": 9000})
	route := func(name, to string) {
		ap := netip.MustParseAddrPort(to)
		i.write("services/behind/routes", map[string]any{
			"name": name, "protocols": []string{"udp"},
			"destinations": []any{map[string]any{"ip": ap.Addr().String(), "port": ap.Port()}},
		})
	}
	for _, tt := range []struct{ name, to, arrived string }{
		{"v4", "10.77.2.2:53", "tproxy"},
		{"v6", "[fd77:2::2]:53", "tproxy"},
		{"v4-other-port", "10.77.2.2:54", "tproxy"},
		{"v4-own-port", "10.77.2.2:9053", "tproxy"},
		{"v6-own-port", "[fd77:2::2]:9053", "tproxy"},
		{"v4-mapped", "10.77.2.2:55", "tproxy"},
		{"dual-v6", "[fd77:2::2]:55", "tproxy"},
		{"v4-only-intercepted", "10.77.2.2:56", "tproxy"},
		{"nobody-has-it", "10.77.2.99:53", "tproxy"},
		{"direct", "10.77.1.1:9053", "direct"},
		{"direct-v6", "[fd77:1::1]:9053", "direct"},
		{"direct-mapped", "10.77.1.1:9054", "direct"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			route(tt.name, tt.to)
			if got, err := askUDP(t, i.Client, tt.to, "hello", patience); err != nil || got != "10.77.2.2:9000 hello" {
				t.Fatalf("got %q, %v", got, err)
			}
		})
	}
	// One that no listener takes is lost, and does not pass the gateway.
	echoOn(t, i.Server, "10.77.2.2:57")
	if got, err := askUDP(t, i.Client, "10.77.2.2:57", "hello", 300*time.Millisecond); err == nil {
		t.Errorf("a datagram went past the gateway: %q", got)
	}
	// A direct one to a listener that wants intercepted ones only is dropped.
	route("refused", "10.77.1.1:9055")
	if got, err := askUDP(t, i.Client, "10.77.1.1:9055", "hello", 300*time.Millisecond); err == nil {
		t.Errorf("a direct datagram was answered: %q", got)
	}
	i.reloadUnderDatagrams(t)
	i.stop()
	for name, want := range map[string]string{
		"v4": "tproxy 10.77.2.2:53", "dual-v6": "tproxy [fd77:2::2]:55", "v4-own-port": "tproxy 10.77.2.2:9053", "direct": "direct 10.77.1.1:9053",
	} {
		if got := i.streamLine(name); got != want {
			t.Errorf("route %s: the log says %q, want %q", name, got, want)
		}
	}
}

// reloadUnderDatagrams reloads while clients ask, and loses nothing. Each datagram
// is a session, of which there may be as many as there is time for.
func (i *interceptor) reloadUnderDatagrams(t *testing.T) {
	t.Helper()
	asked, done := make(chan error, 1), make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				asked <- nil
				return
			default:
			}
			if _, err := askUDP(t, i.Client, "10.77.2.2:53", "hello", patience); err != nil {
				asked <- fmt.Errorf("datagram %d: %w", n, err)
				return
			}
		}
	}()
	for _, words := range []string{"log\n", "log\n\t\tmax_udp_sessions 60000\n", "log\n"} {
		i.reload(strings.Replace(udpFile, "log\n", words, 1))
	}
	close(done)
	if err := <-asked; err != nil {
		t.Error(err)
	}
}

const quicRules = `
table inet gw {
	chain pre {
		type filter hook prerouting priority mangle; policy accept;
		fib daddr type local return
		iifname "g0" udp dport { 443, 444, 8443 } tproxy to :8443 meta mark set 1 accept
		iifname "g0" tcp dport { 443, 444 } tproxy to :8443 meta mark set 1 accept
		iifname "g0" meta l4proto { tcp, udp } th dport { 443, 444, 8443 } drop
	}
}
`

// Requests of HTTP/3 are routed by where their connection was addressed to.
func TestTransparent_http3(t *testing.T) {
	i := intercept(t, `{
	gateway {
		store bolt {$HOME}/gateway.db
	}
	proxy_listen 0.0.0.0:8443 ssl http2 http3 transparent, [::]:8443 ssl http3 transparent {
		log
	}
	admin_listen 127.0.0.1:{$ADMIN}
	status_listen off
}
`)
	i.Gateway.RouteMarked("1", "100")
	i.Gateway.Nft(quicRules)
	i.write("services", map[string]any{"name": "upstream", "url": "http://10.77.2.2:9000"})
	serveOn(t, i.Server, netip.MustParseAddrPort("10.77.2.2:9000"), "upstream")
	client := quicOn(t, i.Client)
	for _, tt := range []struct{ name, to, arrived string }{
		{"v4", "10.77.2.2:443", "tproxy"},
		{"v6", "[fd77:2::2]:443", "tproxy"},
		{"other-port", "10.77.2.2:444", "tproxy"},
		{"own-port", "10.77.2.2:8443", "tproxy"},
		{"own-port-v6", "[fd77:2::2]:8443", "tproxy"},
		{"direct", "10.77.1.1:8443", "direct"},
		{"direct-v6", "[fd77:1::1]:8443", "direct"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ap := netip.MustParseAddrPort(tt.to)
			i.write("services/upstream/routes", map[string]any{
				"name": tt.name, "paths": []string{"/here"},
				"destinations": []any{map[string]any{"ip": ap.Addr().String(), "port": ap.Port()}},
			})
			for range 2 { // both on one connection
				resp, body, err := fetch(client, "https://"+tt.to+"/here")
				if err != nil {
					t.Fatal(err)
				}
				if body != "upstream" || resp.ProtoMajor != 3 {
					t.Fatalf("got %s %s %s", resp.Proto, resp.Status, body)
				}
				line := i.lineOf(t, resp.Header.Get("X-Kong-Request-Id"))
				if line.Arrived != tt.arrived || line.Route != tt.name || line.Destination != tt.to {
					t.Errorf("got the log line %+v", line)
				}
			}
		})
	}
	// A large body: many datagrams, sent in batches.
	big := strings.Repeat("x", 4<<20)
	serveOn(t, i.Server, netip.MustParseAddrPort("10.77.2.2:9001"), big)
	i.write("services", map[string]any{"name": "big", "url": "http://10.77.2.2:9001"})
	i.write("services/big/routes", map[string]any{"paths": []string{"/big"}, "destinations": []any{map[string]any{"ip": "10.77.2.2"}}})
	if _, body, err := fetch(client, "https://10.77.2.2:443/big"); err != nil || body != big {
		t.Errorf("got %d bytes, %v", len(body), err)
	}
	// Clients are told of HTTP/3 on the port that they know.
	over2, _, err := fetch(clientOn(t, i.Client, true), "https://10.77.2.2:443/here")
	if err != nil {
		t.Fatal(err)
	}
	if got := over2.Header.Get("Alt-Svc"); !strings.HasPrefix(got, `h3=":443"`) {
		t.Errorf("got Alt-Svc %q", got)
	}
}

// Caddy's own sites get HTTP/3 by the network type, and caddy-l4's servers
// datagrams.
func TestTransparent_packetNetworks(t *testing.T) {
	i := intercept(t, `{
	auto_https off
	skip_install_trust
	gateway {
		store bolt {$HOME}/gateway.db
	}
	proxy_listen off
	admin_listen 127.0.0.1:{$ADMIN}
	status_listen off
	layer4 {
		transparent+udp/:9053 {
			route {
				gateway
			}
		}
	}
}
https://:8443 {
	bind transparent/[::]
	tls internal {
		on_demand
	}
	respond "{http.request.proto} {http.request.local}"
}
`)
	i.Gateway.RouteMarked("1", "100")
	i.Gateway.Nft(quicRules)
	i.Gateway.Nft(strings.Replace(udpRules, "table inet gw", "table inet gwudp", 1))
	for _, tt := range []struct{ to, want string }{
		// QUIC has no room for the port that was asked for; see transparent.md.
		{"10.77.2.2:443", "HTTP/3.0 10.77.2.2:8443"},
		{"10.77.2.2:8443", "HTTP/3.0 10.77.2.2:8443"},
		{"[fd77:2::2]:443", "HTTP/3.0 [fd77:2::2]:8443"},
		{"10.77.1.1:8443", "HTTP/3.0 10.77.1.1:8443"},
	} {
		if _, body, err := fetch(quicOn(t, i.Client), "https://"+tt.to+"/"); err != nil || body != tt.want {
			t.Errorf("%s: got %q, %v, want %q", tt.to, body, err, tt.want)
		}
	}
	for _, to := range []string{"10.77.2.2:53", "10.77.2.2:54", "[fd77:2::2]:53"} {
		echoOn(t, i.Server, to)
		ap := netip.MustParseAddrPort(to)
		service := fmt.Sprintf("s%d-%v", ap.Port(), ap.Addr().Is6())
		i.write("services", map[string]any{"name": service, "protocol": "udp", "host": ap.Addr().String(), "port": ap.Port()})
		i.write("services/"+service+"/routes", map[string]any{
			"protocols": []string{"udp"}, "destinations": []any{map[string]any{"ip": ap.Addr().String(), "port": ap.Port()}},
		})
		if got, err := askUDP(t, i.Client, to, "hello", patience); err != nil || got != to+" hello" {
			t.Errorf("%s: got %q, %v", to, got, err)
		}
	}
}

// Without the capability nothing starts, and one sentence says why, whichever
// way the listener is made.
func TestTransparent_missingCapabilityForDatagrams(t *testing.T) {
	const streamOnly = "{\n\tproxy_listen off\n\tadmin_listen off\n\tstatus_listen off\n\tstream_listen 0.0.0.0:9053 udp transparent\n}\n"
	for name, tt := range map[string]struct{ config, listener, lacks string }{
		"answers from low ports": {streamOnly, `listen 0.0.0.0:9053: flag \"transparent\"`, "-net_bind_service"},
		"http3":                  {"{\n\tproxy_listen 0.0.0.0:8443 ssl http3 transparent\n\tadmin_listen off\n\tstatus_listen off\n}\n", `flag \"http3\": listener transparent+quic/0.0.0.0:8443`, "-net_bind_service"},
		"stream_listen":          {streamOnly, `listen 0.0.0.0:9053: flag \"transparent\"`, "-net_raw,-net_admin"},
		"caddy-l4":               {"{\n\tproxy_listen off\n\tadmin_listen off\n\tstatus_listen off\n\tlayer4 {\n\t\ttransparent+udp/:9053 {\n\t\t\troute {\n\t\t\t\tgateway\n\t\t\t}\n\t\t}\n\t}\n}\n", "listener transparent+udp/:9053", "-net_raw,-net_admin"},
		"site":                   {"http://:8080 {\n\tbind transparent/0.0.0.0\n}\n", "listener transparent/0.0.0.0:8080", "-net_raw,-net_admin"},
	} {
		t.Run(name, func(t *testing.T) {
			refusesWithout(t, tt.lacks, tt.config, tt.listener, "CAP_NET_RAW", "setcap", "AmbientCapabilities")
		})
	}
}

// The options of the network types are those of the flag.
func TestTransparent_networkOptions(t *testing.T) {
	i := intercept(t, `{
	auto_https off
}
http://:8080 {
	bind transparent+redirect+intercepted/0.0.0.0
	respond "redirect {http.request.local}"
}
http://:8081 {
	bind transparent+tproxy/[::]
	respond "tproxy {http.request.local}"
}
`)
	i.Gateway.RouteMarked("1", "100")
	i.Gateway.Nft(`
table inet gw {
	chain pre {
		type filter hook prerouting priority mangle; policy accept;
		fib daddr type local return
		iifname "g0" tcp dport 80 tproxy to :8081 meta mark set 1 accept
		iifname "g0" tcp dport 80 drop
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
		"http://10.77.2.2:82/":     "redirect 10.77.2.2:82",
		"http://10.77.2.2:80/":     "tproxy 10.77.2.2:80",
		"http://[fd77:2::2]:80/":   "tproxy [fd77:2::2]:80",
		"http://10.77.1.1:8081/":   "tproxy 10.77.1.1:8081",
		"http://10.77.1.1:8080/":   "", // not intercepted
		"http://10.77.2.2:83/":     "", // not in this way
		"http://[fd77:1::1]:8080/": "",
	} {
		if _, body, err := fetch(clientOn(t, i.Client, false), url); body != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", url, body, err, want)
		}
	}
}
