package proxy

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/ports"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// hashed is a gateway whose upstream hashes, over eight servers that answer
// their own address and the cookies they got.
func hashed(t *testing.T, up, route schema.Object, settings gateway.Settings) *gatewayTest {
	g := start(t, settings)
	up["name"], up["algorithm"] = "pool.internal", "consistent-hashing"
	g.insert("upstreams", up)
	for range 8 {
		var own string
		s := upstream(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Add("Set-Cookie", "own=1")
			_, _ = io.WriteString(w, own)
		})
		own = s.Listener.Addr().String()
		g.insert("targets", schema.Object{"upstream": schema.Object{"name": "pool.internal"}, "target": own})
	}
	g.route(schema.Object{"host": "pool.internal"}, route)
	return g
}

// TestHash_sameValueSameTarget asks with equal values, which must lead to one
// target, and with many others, which must lead to several.
func TestHash_sameValueSameTarget(t *testing.T) {
	trusting := gateway.Settings{TrustedIPs: []string{"127.0.0.1"}, RealIPHeader: "X-Real-IP"}
	for _, tt := range []struct {
		name   string
		up     schema.Object
		route  schema.Object
		equal  []func(*http.Request) // all of the same value
		others func(i int) func(*http.Request)
	}{
		{
			"ip", schema.Object{"hash_on": "ip"}, schema.Object{},
			[]func(*http.Request){header("X-Real-Ip", "192.0.2.7"), header("X-Real-Ip", "192.0.2.7")},
			func(i int) func(*http.Request) { return header("X-Real-Ip", "192.0.2."+itoa(i)) },
		},
		{
			"header", schema.Object{"hash_on": "header", "hash_on_header": "x-tenant"}, schema.Object{},
			[]func(*http.Request){header("X-Tenant", "a", "b"), header("X-Tenant", "a, b")},
			func(i int) func(*http.Request) { return header("X-Tenant", itoa(i)) },
		},
		{
			"header, else ip", schema.Object{"hash_on": "header", "hash_on_header": "X-Tenant", "hash_fallback": "ip"}, schema.Object{},
			[]func(*http.Request){header("X-Real-Ip", "192.0.2.7"), header("X-Real-Ip", "192.0.2.7")},
			func(i int) func(*http.Request) { return header("X-Real-Ip", "192.0.2."+itoa(i)) },
		},
		{
			"consumer, else path", schema.Object{"hash_on": "consumer", "hash_fallback": "path"}, schema.Object{},
			[]func(*http.Request){path("/a%62c"), path("/abc"), path("/x/../abc?q=1")},
			func(i int) func(*http.Request) { return path("/" + itoa(i)) },
		},
		{
			"cookie", schema.Object{"hash_on": "cookie", "hash_on_cookie": "sid"}, schema.Object{},
			[]func(*http.Request){header("Cookie", "a=b; sid=one"), header("Cookie", "sid=one")},
			func(i int) func(*http.Request) { return header("Cookie", "sid="+itoa(i)) },
		},
		{
			"query_arg", schema.Object{"hash_on": "query_arg", "hash_on_query_arg": "user id"}, schema.Object{},
			[]func(*http.Request){path("/?user+id=b&x=1&user%20id=a"), path("/?user%20id=a&user%20id=b")},
			func(i int) func(*http.Request) { return path("/?user+id=" + itoa(i)) },
		},
		{
			"uri_capture by name", schema.Object{"hash_on": "uri_capture", "hash_on_uri_capture": "user"},
			schema.Object{"paths": []any{`~/u/(?<user>\w+)/(\w+)`}},
			[]func(*http.Request){path("/u/ann/1"), path("/u/ann/2")},
			func(i int) func(*http.Request) { return path("/u/u" + itoa(i) + "/1") },
		},
		{
			"uri_capture by number", schema.Object{"hash_on": "uri_capture", "hash_on_uri_capture": "2"},
			schema.Object{"paths": []any{`~/u/(?<user>\w+)/(\w+)`}},
			[]func(*http.Request){path("/u/ann/1"), path("/u/bob/1")},
			func(i int) func(*http.Request) { return path("/u/x/" + itoa(i)) },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := hashed(t, tt.up, tt.route, trusting)
			first := ""
			for i, adapt := range tt.equal {
				resp, body := g.get("/", adapt)
				wantStatus(t, resp, 200)
				if i == 0 {
					first = body
				} else if body != first {
					t.Errorf("request %d of the same value went to %s, the first to %s", i, body, first)
				}
			}
			seen := map[string]bool{}
			for i := range 40 {
				resp, body := g.get("/", tt.others(i))
				wantStatus(t, resp, 200)
				seen[body] = true
			}
			if len(seen) < 4 {
				t.Errorf("40 values led to %d of 8 targets", len(seen))
			}
		})
	}
}

func path(p string) func(*http.Request) {
	return func(r *http.Request) {
		r.URL.Path, r.URL.RawQuery, _ = strings.Cut(p, "?")
		r.URL.Opaque = "//" + r.URL.Host + r.URL.Path
	}
}

func TestHash_noValueIsOneTarget(t *testing.T) {
	g := hashed(t, schema.Object{"hash_on": "header", "hash_on_header": "X-Tenant"}, schema.Object{}, gateway.Settings{})
	_, first := g.get("/")
	for range 10 {
		if _, body := g.get("/"); body != first {
			t.Fatalf("requests without a value went to %s and %s", first, body)
		}
	}
}

func TestHash_cookieIsSetWhenThereIsNone(t *testing.T) {
	g := hashed(t, schema.Object{"hash_on": "cookie", "hash_on_cookie": "sid", "hash_on_cookie_path": "/shop"}, schema.Object{}, gateway.Settings{})
	resp, first := g.get("/")
	cookies := resp.Header.Values("Set-Cookie")
	form := regexp.MustCompile(`^sid=([0-9a-f-]{36}); Path=/shop; Same-Site=Lax; HttpOnly$`)
	if len(cookies) != 2 || cookies[0] != "own=1" || !form.MatchString(cookies[1]) {
		t.Fatalf("got cookies %q", cookies)
	}
	sid := form.FindStringSubmatch(cookies[1])[1]
	for range 5 {
		resp, body := g.get("/", header("Cookie", "sid="+sid))
		if body != first {
			t.Errorf("the cookie led to %s, and %s set it", body, first)
		}
		if got := resp.Header.Values("Set-Cookie"); len(got) != 1 {
			t.Errorf("a client with the cookie got %q", got)
		}
	}
}

func TestHash_retryGoesToAnotherTarget(t *testing.T) {
	g := start(t, gateway.Settings{})
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {})
	g.insert("upstreams", schema.Object{"name": "pool.internal", "algorithm": "consistent-hashing", "hash_on": "path"})
	for _, target := range []string{"127.0.0.1:" + itoa(ports.Dead(t)), up.Listener.Addr().String()} {
		g.insert("targets", schema.Object{"upstream": schema.Object{"name": "pool.internal"}, "target": target})
	}
	g.route(schema.Object{"host": "pool.internal"}, schema.Object{})
	for i := range 20 {
		resp, _ := g.get("/" + itoa(i))
		wantStatus(t, resp, 200)
	}
	if len(g.logged("try failed, trying again")) == 0 {
		t.Error("no key led to the dead target")
	}
}

func TestForward_peerIsGivenBackHoweverTheRequestEnds(t *testing.T) {
	g := start(t, gateway.Settings{})
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/break":
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/fail":
			panic(http.ErrAbortHandler)
		}
	})
	g.pool(schema.Object{"retries": int64(0)}, up.Listener.Addr().String())
	u, _ := g.View().Snapshot.Upstream("pool.internal")
	peer := u.Pool.Addresses()[0].Peer
	heard := &outcomes{}
	peer.SetObserver(heard)
	for _, path := range []string{"/", "/break", "/fail"} {
		req, _ := http.NewRequest("GET", g.server.URL+path, nil)
		if resp, err := plainClient(t).Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}
	g.server.Close() // waits for the handlers
	if n := peer.InFlight(); n != 0 {
		t.Errorf("%d tries are under way after all have ended", n)
	}
	want := []balancer.Outcome{{Event: balancer.Responded, Status: 200}, {Event: balancer.Responded, Status: 200}, {Event: balancer.ConnectFailed}}
	if len(heard.list) != len(want) {
		t.Fatalf("heard %v, want %v", heard.list, want)
	}
	for i := range want {
		if heard.list[i] != want[i] {
			t.Errorf("heard %v, want %v", heard.list, want)
		}
	}
}

// outcomes writes down what a peer's observer hears, of one request at a time.
type outcomes struct{ list []balancer.Outcome }

func (o *outcomes) Observe(_ *balancer.Peer, out balancer.Outcome) { o.list = append(o.list, out) }

func TestQueryArgument(t *testing.T) {
	for _, tt := range []struct {
		query, want string
		ok          bool
	}{
		{"", "", false},
		{"?b=1", "", false},
		{"?a=1", "1", true},
		{"?a", "true", true},
		{"?a=", "", true},
		{"?a=z&b=1&a=y&a", "true,y,z", true},
		{"?%61=%2f+x", "/ x", true},
		{"?a=%zz", "%zz", true},
	} {
		if got, ok := queryArgument(tt.query, "a"); got != tt.want || ok != tt.ok {
			t.Errorf("%q: got %q, %t, want %q, %t", tt.query, got, ok, tt.want, tt.ok)
		}
	}
}

// TestHash_consumer asks as several consumers: each has one target, all together
// have several. Who is not known goes by the fallback, which is none.
func TestHash_consumer(t *testing.T) {
	g := hashed(t, schema.Object{"hash_on": "consumer"}, schema.Object{}, gateway.Settings{})
	g.insert("plugins", schema.Object{"name": "key-auth"})
	targets := map[string]bool{}
	for i := range 16 {
		id := g.insert("consumers", schema.Object{"username": "c" + itoa(i)})
		for _, key := range []string{"a", "b"} {
			g.insert("keyauth_credentials", schema.Object{"consumer": schema.Object{"id": id}, "key": key + itoa(i)})
		}
		resp, first := g.get("/", header("Apikey", "a"+itoa(i)))
		wantStatus(t, resp, 200)
		if _, second := g.get("/", header("Apikey", "b"+itoa(i))); second != first {
			t.Errorf("one consumer was sent to %s and %s", first, second)
		}
		targets[first] = true
	}
	if len(targets) < 3 {
		t.Errorf("16 consumers were sent to %d targets of 8", len(targets))
	}
}
