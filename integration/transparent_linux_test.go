package integration

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

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
			resp, body, err := fetch(clientOn(t, i.Client, tt.http2), tt.url)
			if err != nil {
				t.Fatal(err)
			}
			if tt.route == "" {
				if resp.StatusCode != http.StatusNotFound {
					t.Errorf("got %s %s", resp.Status, body)
				}
				return
			}
			if body != "upstream" {
				t.Fatalf("got %s %s", resp.Status, body)
			}
			line := i.lineOf(t, resp.Header.Get("X-Kong-Request-Id"))
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
		if _, body := i.get(t, i.Client, url); body != want {
			t.Errorf("%s: got %q, want %q", url, body, want)
		}
	}
}

// Without the capability, the gateway does not start, and says what it needs.
func TestTransparent_missingCapability(t *testing.T) {
	refusesWithout(t, "-net_raw,-net_admin", interceptorFile, "0.0.0.0:8000", `flag \"transparent\"`, "CAP_NET_RAW", "setcap", "AmbientCapabilities")
}
