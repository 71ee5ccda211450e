package proxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/node"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func TestServe_passesARequestToTheService(t *testing.T) {
	g := start(t, gateway.Settings{})
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Seen", r.Method+" "+r.RequestURI+" "+r.Host)
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(b)
	})
	g.route(to(up, schema.Object{"path": "/base"}), schema.Object{"paths": []any{"/api"}})
	resp, body := g.do("POST", "/api/things?a=b", strings.NewReader("hello"))
	wantStatus(t, resp, 201)
	if body != "hello" {
		t.Errorf("got body %q", body)
	}
	if got, want := resp.Header.Get("X-Seen"), "POST /base/things?a=b "+up.Listener.Addr().String(); got != want {
		t.Errorf("the upstream saw %q, want %q", got, want)
	}
}

func TestServe_aChangeIsSeenByTheNextRequest(t *testing.T) {
	g := start(t, gateway.Settings{})
	resp, _ := g.get("/new")
	wantStatus(t, resp, 404)
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {})
	g.route(to(up), schema.Object{"paths": []any{"/new"}})
	resp, _ = g.get("/new")
	wantStatus(t, resp, 200)
}

func TestServe_requestTargetsReachTheUpstreamAsKongSendsThem(t *testing.T) {
	g := start(t, gateway.Settings{})
	seen := make(chan string, 1)
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) { seen <- r.RequestURI })
	g.route(to(up), schema.Object{"strip_path": false})
	for _, tt := range []struct{ name, in, want string }{
		{"plain", "/a/b", "/a/b"},
		{"bare question mark", "/a?", "/a?"},
		{"no question mark", "/a", "/a"},
		{"query untouched", "/a?x=%zz;&&y=/../", "/a?x=%zz;&&y=/../"},
		{"second question mark", "/a?b?c", "/a?b?c"},
		{"encoded slash stays", "/a%2Fb", "/a%2Fb"},
		{"hexadecimal digits in upper case", "/a%2fb", "/a%2Fb"},
		{"needless encoding goes", "/%61", "/a"},
		{"space", "/a%20b", "/a%20b"},
		{"beyond ASCII", "/%C3%A9", "/%C3%A9"},
		{"dot segments", "/a/./b/../c", "/a/c"},
		{"encoded dot segments", "/a/%2e%2e/c", "/c"},
		{"repeated slashes", "//a///b", "/a/b"},
		{"quotes and pipes are encoded", `/a"|b`, "/a%22%7Cb"},
		{"sub-delimiters stay", "/a;b=c,d!$&'()*+@:", "/a;b=c,d!$&'()*+@:"},
		{"absolute form", "http://example.com/x?y", "/x?y"},
		{"absolute form without a path", "http://example.com", "/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, br := g.raw()
			_, _ = io.WriteString(c, "GET "+tt.in+" HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			wantStatus(t, resp, 200)
			resp.Body.Close()
			if got := <-seen; got != tt.want {
				t.Errorf("%s: the upstream got %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestServe_targetThatWouldBreakTheRequestLineIsRefused(t *testing.T) {
	g := start(t, gateway.Settings{})
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("the upstream got %s %s", r.RequestURI, r.Proto)
	})
	g.route(to(up), schema.Object{})
	req, _ := http.NewRequest("GET", g.server.URL+"/a", nil)
	req.URL.RawQuery = "x HTTP/1.0 y"
	resp, body := send(t, h2cClient(t), req)
	wantStatus(t, resp, 400)
	if !strings.Contains(body, "Bad request") {
		t.Errorf("got %q", body)
	}
	for _, target := range []string{"/a b", "/a\tb", "/?a\r\nb", "/\x00", "/?\x7f"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RequestURI = target
		w := httptest.NewRecorder()
		g.engine.ServeHTTP(w, r)
		if w.Code != 400 {
			t.Errorf("%q: got status %d, want 400", target, w.Code)
		}
	}
}

func TestServe_host(t *testing.T) {
	g := start(t, gateway.Settings{})
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) })
	own := up.Listener.Addr().String()
	g.route(to(up), schema.Object{"hosts": []any{"plain.test"}})
	g.route(to(up), schema.Object{"hosts": []any{"kept.test"}, "preserve_host": true})
	g.insert("upstreams", schema.Object{"name": "pool"})
	g.insert("targets", schema.Object{"upstream": schema.Object{"name": "pool"}, "target": own})
	g.route(schema.Object{"host": "pool", "port": int64(1)}, schema.Object{"hosts": []any{"pool.test"}})
	g.insert("upstreams", schema.Object{"name": "named", "host_header": "internal.name"})
	g.insert("targets", schema.Object{"upstream": schema.Object{"name": "named"}, "target": own})
	g.route(schema.Object{"host": "named"}, schema.Object{"hosts": []any{"named.test"}})
	port := own[strings.LastIndexByte(own, ':'):]
	for _, tt := range []struct{ sent, want string }{
		{"plain.test", own},
		{"kept.test:1234", "kept.test:1234"},
		{"pool.test", own},
		{"named.test", "internal.name" + port},
	} {
		resp, got := g.get("/", func(r *http.Request) { r.Host = tt.sent })
		wantStatus(t, resp, 200)
		if got != tt.want {
			t.Errorf("Host %s became %q, want %q", tt.sent, got, tt.want)
		}
	}
}

func TestHostHeader_portGoesWithoutSaying(t *testing.T) {
	for _, tt := range []struct {
		protocol, host string
		port           int
		want           string
	}{
		{"http", "a.test", 80, "a.test"},
		{"http", "a.test", 443, "a.test:443"},
		{"https", "a.test", 443, "a.test"},
		{"https", "a.test", 80, "a.test:80"},
		{"grpc", "a.test", 80, "a.test"},
		{"grpcs", "a.test", 443, "a.test"},
		{"http", "::1", 80, "[::1]"},
		{"http", "::1", 8080, "[::1]:8080"},
	} {
		x := exchange{r: &http.Request{}, match: match(tt.protocol)}
		if got := x.hostHeader(nil, place{host: tt.host, port: tt.port}); got != tt.want {
			t.Errorf("%s %s %d: got %q, want %q", tt.protocol, tt.host, tt.port, got, tt.want)
		}
	}
}

func TestServe_panicIsA500AndEndsNothingElse(t *testing.T) {
	g := start(t, gateway.Settings{})
	g.view.Store(&node.View{}) // no snapshot: a broken promise
	resp, _ := g.get("/")
	wantStatus(t, resp, 500)
	if n := len(g.logged("panic while serving")); n != 1 {
		t.Errorf("got %d log lines, want 1", n)
	}
	g.publish()
	resp, _ = g.get("/")
	wantStatus(t, resp, 404)
}

func TestRequestID_isNewEachTime(t *testing.T) {
	a, b := requestID(), requestID()
	if a == b || len(a) != 32 || strings.Trim(a, "0123456789abcdef") != "" {
		t.Errorf("got %q, %q", a, b)
	}
}
