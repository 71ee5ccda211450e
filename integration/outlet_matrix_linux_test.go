package integration

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
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
			i := interceptAll(t, matrixFile, w)
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

// interceptAll runs the gateway with rules that lead to it, and servers on the
// ports of the server that answer the address they see.
func interceptAll(t *testing.T, caddyfile string, w way) *interceptor {
	t.Helper()
	i := intercept(t, caddyfile)
	i.Gateway.RouteMarked("1", "100")
	i.Gateway.Nft(w.rules)
	i.Gateway.Nft(returnPath)
	for _, ip := range []netip.Addr{netnstest.Server4, netnstest.Server6} {
		serveSeen(t, i.Server, netip.AddrPortFrom(ip, 80), false)
		serveSeen(t, i.Server, netip.AddrPortFrom(ip, 443), true)
		serveSeen(t, i.Server, netip.AddrPortFrom(ip, 8443), true)
		serveEach(listenOn(t, i.Server, netip.AddrPortFrom(ip, 5432)), func(c net.Conn) { fmt.Fprintln(c, c.RemoteAddr()) })
	}
	return i
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
		resp, body, err := fetch(client, scheme+"://"+to.String()+"/")
		if err != nil {
			t.Fatal(err)
		}
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
		text = body
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
