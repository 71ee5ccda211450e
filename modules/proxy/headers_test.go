package proxy

import (
	"io"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/ports"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// mirror is an upstream that keeps the last request's headers.
func mirror(t testing.TB) (up func() http.Header, handler http.HandlerFunc) {
	seen := make(chan http.Header, 1)
	return func() http.Header { return <-seen }, func(w http.ResponseWriter, r *http.Request) {
		h := r.Header.Clone()
		h.Set("X-Test-Length", r.Header.Get("Content-Length"))
		seen <- h
	}
}

func TestRequestHeaders(t *testing.T) {
	for _, tt := range []struct {
		name    string
		trusted []string
		target  string
		in      map[string][]string
		want    map[string]string // "" means absent
	}{
		{
			name: "nothing sent", target: "/api/x?y",
			want: map[string]string{
				"X-Real-Ip": "127.0.0.1", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http",
				"X-Forwarded-Host": "example.test", "X-Forwarded-Port": "80", "X-Forwarded-Path": "/api/x",
				"X-Forwarded-Prefix": "/api", "Connection": "keep-alive", "Te": "", "Upgrade": "",
				"Via": "1.1 kong/3.9.1", "User-Agent": "", "Accept-Encoding": "",
			},
		},
		{
			name: "untrusted peer is not believed", target: "/api/x",
			in: map[string][]string{
				"X-Real-Ip": {"9.9.9.9"}, "X-Forwarded-For": {"8.8.8.8"}, "X-Forwarded-Proto": {"https"},
				"X-Forwarded-Host": {"evil"}, "X-Forwarded-Port": {"1"}, "X-Forwarded-Path": {"/evil"}, "X-Forwarded-Prefix": {"/evil"},
			},
			want: map[string]string{
				"X-Real-Ip": "127.0.0.1", "X-Forwarded-For": "8.8.8.8, 127.0.0.1", "X-Forwarded-Proto": "http",
				"X-Forwarded-Host": "example.test", "X-Forwarded-Port": "80", "X-Forwarded-Path": "/api/x", "X-Forwarded-Prefix": "/api",
			},
		},
		{
			name: "untrusted prefix is dropped where none was stripped", target: "/keep/x",
			in:   map[string][]string{"X-Forwarded-Prefix": {"/evil"}},
			want: map[string]string{"X-Forwarded-Prefix": ""},
		},
		{
			name: "trusted peer is believed", trusted: []string{"127.0.0.0/8"}, target: "/api/x",
			in: map[string][]string{
				"X-Real-Ip": {"9.9.9.9"}, "X-Forwarded-For": {"8.8.8.8", "7.7.7.7"}, "X-Forwarded-Proto": {"https"},
				"X-Forwarded-Host": {"Front.Test"}, "X-Forwarded-Port": {"444"}, "X-Forwarded-Path": {"/front"}, "X-Forwarded-Prefix": {"/front"},
			},
			want: map[string]string{
				"X-Real-Ip": "9.9.9.9", "X-Forwarded-For": "8.8.8.8, 7.7.7.7, 127.0.0.1", "X-Forwarded-Proto": "https",
				"X-Forwarded-Host": "Front.Test", "X-Forwarded-Port": "444", "X-Forwarded-Path": "/front", "X-Forwarded-Prefix": "/front",
			},
		},
		{
			name: "path as it was sent", target: "/api/%61/../b",
			want: map[string]string{"X-Forwarded-Path": "/api/%61/../b"},
		},
		{
			name: "hop by hop", target: "/api/",
			in: map[string][]string{
				"Connection": {"close, X-Secret", "keep-alive"}, "X-Secret": {"1"}, "Keep-Alive": {"timeout=5"},
				"Proxy": {"http://evil"}, "Proxy-Connection": {"x"}, "Te": {"gzip"}, "Upgrade": {"h2c"}, "X_Under": {"kept"},
				"Proxy-Authorization": {"kept"},
			},
			want: map[string]string{
				"Connection": "keep-alive", "X-Secret": "", "Keep-Alive": "", "Proxy": "", "Proxy-Connection": "",
				"Te": "", "Upgrade": "", "X_under": "kept", "Proxy-Authorization": "kept",
			},
		},
		{
			name: "TE: trailers is all that stays of TE", target: "/api/",
			in: map[string][]string{"Te": {"gzip;q=0.5, trailers"}}, want: map[string]string{"Te": "trailers"},
		},
		{
			name: "Via is appended to", target: "/api/",
			in: map[string][]string{"Via": {"1.0 fred"}}, want: map[string]string{"Via": "1.0 fred, 1.1 kong/3.9.1"},
		},
		{
			name: "named by Connection, still ours", target: "/api/",
			in:   map[string][]string{"Connection": {"X-Forwarded-For, X-Real-IP, Via"}},
			want: map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Real-Ip": "127.0.0.1", "Via": "1.1 kong/3.9.1"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := start(t, gateway.Settings{TrustedIPs: tt.trusted})
			g.engine.options = publicPort(t, g, tt.trusted)
			seen, handler := mirror(t)
			up := upstream(t, handler)
			g.route(to(up), schema.Object{"paths": []any{"/api"}})
			g.route(to(up), schema.Object{"paths": []any{"/keep"}, "strip_path": false})
			c, br := g.raw()
			var b strings.Builder
			b.WriteString("GET " + tt.target + " HTTP/1.1\r\nHost: Example.Test:1234\r\n")
			for name, values := range tt.in {
				for _, v := range values {
					b.WriteString(name + ": " + v + "\r\n")
				}
			}
			_, _ = io.WriteString(c, b.String()+"\r\n")
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			wantStatus(t, resp, 200)
			h := seen()
			for name, want := range tt.want {
				if got := strings.Join(h[name], " | "); got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
			if id := h.Get("X-Kong-Request-Id"); !regexp.MustCompile("^[0-9a-f]{32}$").MatchString(id) || id != resp.Header.Get("X-Kong-Request-Id") {
				t.Errorf("X-Kong-Request-Id: upstream %q, client %q", id, resp.Header.Get("X-Kong-Request-Id"))
			}
		})
	}
}

// publicPort are options by which the test server's port counts as 80.
func publicPort(t *testing.T, g *gatewayTest, trusted []string) *gateway.Options {
	t.Helper()
	port := netip.MustParseAddrPort(g.server.Listener.Addr().String()).Port()
	return options(t, gateway.Settings{TrustedIPs: trusted, PortMaps: []string{"80:" + itoa(port)}})
}

// wantLatency checks that a header tells a time that a test can take.
func wantLatency(t *testing.T, resp *http.Response, name string) {
	t.Helper()
	if got := strings.Join(resp.Header[http.CanonicalHeaderKey(name)], " | "); !regexp.MustCompile("^[0-9]{1,6}$").MatchString(got) {
		t.Errorf("%s: got %q, want a few milliseconds", name, got)
	}
}

func TestResponseHeaders(t *testing.T) {
	tokens := []string{"Server", "Via", "X-Kong-Upstream-Latency", "X-Kong-Proxy-Latency", "X-Kong-Response-Latency", "X-Kong-Upstream-Status", "X-Kong-Request-Id"}
	for _, tt := range []struct {
		name    string
		headers []string
		path    string
		want    map[string]string // "N": a number, "*": anything
	}{
		{
			"default, proxied", nil, "/",
			map[string]string{"Server": "kong/3.9.1", "Via": "1.1 kong/3.9.1", "X-Kong-Upstream-Latency": "N", "X-Kong-Proxy-Latency": "N", "X-Kong-Request-Id": "*"},
		},
		{
			"default, not proxied", nil, "/nowhere",
			map[string]string{"Server": "kong/3.9.1", "X-Kong-Response-Latency": "N", "X-Kong-Request-Id": "*"},
		},
		{
			"default, upstream does not answer", nil, "/dead",
			map[string]string{"Server": "kong/3.9.1", "Via": "1.1 kong/3.9.1", "X-Kong-Proxy-Latency": "N", "X-Kong-Request-Id": "*"},
		},
		{
			"upstream's Server and Via", nil, "/named",
			map[string]string{"Server": "teapot", "Via": "1.1 pot, 1.1 kong/3.9.1", "X-Kong-Upstream-Latency": "N", "X-Kong-Proxy-Latency": "N", "X-Kong-Request-Id": "*"},
		},
		{"off, proxied", []string{"off"}, "/named", map[string]string{"Server": "teapot", "Via": "1.1 pot"}},
		{"off, not proxied", []string{"off"}, "/nowhere", nil},
		{"status of the upstream", []string{"X-Kong-Upstream-Status"}, "/", map[string]string{"X-Kong-Upstream-Status": "200"}},
		{"one latency", []string{"x-kong-proxy-latency"}, "/", map[string]string{"X-Kong-Proxy-Latency": "N"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := start(t, gateway.Settings{Headers: tt.headers})
			up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/named" {
					w.Header().Set("Server", "teapot")
					w.Header().Set("Via", "1.1 pot")
				}
			})
			g.route(to(up), schema.Object{"paths": []any{"~/$", "/named"}, "strip_path": false})
			g.route(schema.Object{"host": "127.0.0.1", "port": int64(ports.Dead(t))}, schema.Object{"paths": []any{"/dead"}})
			resp, _ := g.get(tt.path)
			for _, name := range tokens {
				got, want := strings.Join(resp.Header[http.CanonicalHeaderKey(name)], " | "), tt.want[name]
				switch want {
				case "N":
					wantLatency(t, resp, name)
				case "*":
					if got == "" {
						t.Errorf("%s: absent", name)
					}
				default:
					if got != want {
						t.Errorf("%s: got %q, want %q", name, got, want)
					}
				}
			}
		})
	}
}

func TestResponseHeaders_hopByHopAndNothingInvented(t *testing.T) {
	g := start(t, gateway.Settings{})
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Connection", "X-Hop, keep-alive")
		h.Set("X-Hop", "1")
		h.Set("Keep-Alive", "timeout=5")
		h.Set("Proxy-Connection", "x")
		h.Set("Upgrade", "h2c")
		h.Set("Date", "Mon, 01 Jan 2001 00:00:00 GMT")
		h.Add("Set-Cookie", "a=1")
		h.Add("Set-Cookie", "b=2")
		h["Content-Type"] = nil
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "<html>looks like a page")
	})
	g.route(to(up), schema.Object{})
	resp, body := g.get("/")
	wantStatus(t, resp, 418)
	for _, name := range []string{"Connection", "X-Hop", "Keep-Alive", "Proxy-Connection", "Upgrade", "Content-Type"} {
		if v, ok := resp.Header[name]; ok {
			t.Errorf("%s: got %q, want none", name, v)
		}
	}
	if got := resp.Header.Get("Date"); got != "Mon, 01 Jan 2001 00:00:00 GMT" {
		t.Errorf("Date: got %q", got)
	}
	if got := resp.Header["Set-Cookie"]; len(got) != 2 {
		t.Errorf("Set-Cookie: got %q", got)
	}
	if body != "<html>looks like a page" || resp.ContentLength != int64(len(body)) {
		t.Errorf("got %q, Content-Length %d", body, resp.ContentLength)
	}
}

func TestResponseHeaders_debug(t *testing.T) {
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {})
	for _, allowed := range []bool{true, false} {
		g := start(t, gateway.Settings{AllowDebugHeader: allowed})
		service := g.insert("services", to(up, schema.Object{"name": "orders"}))
		route := g.insert("routes", schema.Object{"name": "all", "paths": []any{"/"}, "service": schema.Object{"id": service}})
		want := map[string]string{"Kong-Route-Id": route, "Kong-Route-Name": "all", "Kong-Service-Id": service, "Kong-Service-Name": "orders"}
		resp, _ := g.get("/", header("Kong-Debug", "1"))
		for name, v := range want {
			if !allowed {
				v = ""
			}
			if got := resp.Header.Get(name); got != v {
				t.Errorf("allowed %t: %s: got %q, want %q", allowed, name, got, v)
			}
		}
		resp, _ = g.get("/")
		if resp.Header.Get("Kong-Route-Id") != "" {
			t.Error("told without being asked")
		}
	}
}

func TestRealIP(t *testing.T) {
	peer := netip.MustParseAddrPort("127.0.0.1:1000")
	for _, tt := range []struct {
		name      string
		recursive bool
		values    []string
		want      string
	}{
		{"one address", false, []string{"1.2.3.4"}, "1.2.3.4:0"},
		{"last of a list", false, []string{"1.2.3.4, 5.6.7.8"}, "5.6.7.8:0"},
		{"last of several headers", false, []string{"1.2.3.4", "5.6.7.8"}, "5.6.7.8:0"},
		{"with a port", false, []string{"1.2.3.4:99"}, "1.2.3.4:99"},
		{"ipv6", false, []string{"2001:db8::1"}, "[2001:db8::1]:0"},
		{"ipv6 in brackets with a port", false, []string{"[2001:db8::1]:99"}, "[2001:db8::1]:99"},
		{"ipv4 as ipv6", false, []string{"::ffff:1.2.3.4"}, "1.2.3.4:0"},
		{"no address", false, []string{"unknown"}, "127.0.0.1:1000"},
		{"not recursive stops at a trusted one", false, []string{"1.2.3.4, 127.0.0.2"}, "127.0.0.2:0"},
		{"recursive skips trusted ones", true, []string{"9.9.9.9, 1.2.3.4, 127.0.0.2, 127.0.0.3"}, "1.2.3.4:0"},
		{"recursive over several headers", true, []string{"1.2.3.4", "127.0.0.2"}, "1.2.3.4:0"},
		{"recursive, all trusted", true, []string{"127.0.0.3, 127.0.0.2"}, "127.0.0.3:0"},
		{"recursive stops at rubbish", true, []string{"1.2.3.4, rubbish, 127.0.0.2"}, "127.0.0.2:0"},
	} {
		o := options(t, gateway.Settings{TrustedIPs: []string{"127.0.0.0/8"}, RealIPRecursive: tt.recursive})
		if got := realIP(peer, tt.values, o).String(); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestRealIP_anotherHeader(t *testing.T) {
	g := start(t, gateway.Settings{TrustedIPs: []string{"127.0.0.1"}, RealIPHeader: "cf-connecting-ip"})
	seen, handler := mirror(t)
	g.route(to(upstream(t, handler)), schema.Object{})
	g.get("/", header("Cf-Connecting-Ip", "1.2.3.4"), header("X-Real-Ip", "9.9.9.9"))
	if got := seen().Get("X-Real-Ip"); got != "1.2.3.4" {
		t.Errorf("got %s", got)
	}
}
