package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/http1"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// A still is a transport that answers at once, so that only the engine's own
// work is seen.
type still struct{}

func (still) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, Request: r, ContentLength: 2,
		Header: http.Header{"Content-Type": {"text/plain"}, "Content-Length": {"2"}},
		Body:   io.NopCloser(strings.NewReader("ok")),
	}, nil
}

// A sink is a ResponseWriter that keeps nothing, as the gateway's own server.
type sink struct{ h http.Header }

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) WriteHeader(int)             {}
func (s *sink) Flush()                      {}
func (s *sink) Recycle(bool)                {}

// plainRequest is what a client typically sends, and the engine with a still
// transport to answer it.
func plainRequest(t testing.TB) (*Engine, *sink, *http.Request) {
	g, w, r := plainGateway(t)
	return g.engine, w, r
}

func plainGateway(t testing.TB) (*gatewayTest, *sink, *http.Request) {
	g := start(t, gateway.Settings{})
	g.route(schema.Object{"host": "10.0.0.1"}, schema.Object{"paths": []any{"/api"}})
	g.engine.sender = func(string) sender {
		return func(_ *try, r *http.Request) (*http.Response, error) { return still{}.RoundTrip(r) }
	}
	r, _ := http.NewRequest("GET", "http://example.com/api/things", nil)
	r.RequestURI, r.RemoteAddr, r.Host = "/api/things", "192.0.2.1:1000", "example.com"
	r.Header = http.Header{"User-Agent": {"curl/8"}, "Accept": {"*/*"}}
	return g, &sink{http.Header{}}, r
}

// A listSink is a sink that has heads as lists.
type listSink struct {
	sink
	head http1.Head
}

func (s *listSink) RequestHead() *http1.Head   { return &s.head }
func (s *listSink) WriteHead(int, *http1.Head) {}

// The transport of these tests takes most of it: the response, its header and its
// body.
func TestServe_allocations(t *testing.T) {
	if race {
		t.Skip("counts allocations, which needs a build without the race detector")
	}
	e, w, r := plainRequest(t)
	lists := &listSink{sink: *w, head: http1.Head{Fields: http1.Fields(nil).AppendHeader(r.Header)}}
	bare := r.Clone(t.Context())
	bare.Header = nil
	for _, tt := range []struct {
		name   string
		budget float64
		serve  func()
	}{
		{"with headers", 10, func() { clear(w.h); e.ServeHTTP(w, r) }},
		{"with lists", 10, func() { e.ServeHTTP(lists, bare) }},
	} {
		if n := testing.AllocsPerRun(500, tt.serve); n > tt.budget {
			t.Errorf("a plain request %s allocates %v times in the engine, the budget is %v", tt.name, n, tt.budget)
		} else {
			t.Logf("%s: %v allocations", tt.name, n)
		}
	}
}

// BenchmarkServe is the engine alone: no sockets, no transport.
func BenchmarkServe(b *testing.B) {
	e, w, r := plainRequest(b)
	b.ReportAllocs()
	for b.Loop() {
		clear(w.h)
		e.ServeHTTP(w, r)
	}
}

// BenchmarkServe_emptyChain is the same in worlds whose plugins have nothing to do
// with the request: none, and those of a thousand other routes.
func BenchmarkServe_emptyChain(b *testing.B) {
	for _, n := range []int{0, 1000} {
		b.Run(fmt.Sprintf("plugins=%d", n), func(b *testing.B) {
			g, w, r := plainGateway(b)
			g.elsewhere(n)
			b.ReportAllocs()
			for b.Loop() {
				clear(w.h)
				g.engine.ServeHTTP(w, r)
			}
		})
	}
}

// elsewhere puts plugins on other routes.
func (g *gatewayTest) elsewhere(n int) {
	g.t.Helper()
	if n == 0 {
		return
	}
	tx := store.Begin(g.image, store.Options{})
	for i := range n {
		path := fmt.Sprintf("/elsewhere/%d", i)
		route, err := tx.Insert("routes", schema.Object{"paths": []any{path}})
		if err == nil {
			_, err = tx.Insert("plugins", schema.Object{"name": "request-termination", "route": schema.Object{"id": route["id"]}})
		}
		if err != nil {
			g.t.Fatal(err)
		}
	}
	g.image = tx.Image()
	g.publish()
}

// TestServe_emptyChain holds that plugins of other routes cost no allocation.
func TestServe_emptyChain(t *testing.T) {
	if race {
		t.Skip("counts allocations, which needs a build without the race detector")
	}
	var allocations [2]float64
	for i, n := range []int{0, 100} {
		g, w, r := plainGateway(t)
		g.elsewhere(n)
		allocations[i] = testing.AllocsPerRun(500, func() { clear(w.h); g.engine.ServeHTTP(w, r) })
	}
	if allocations[0] != allocations[1] {
		t.Errorf("a request allocates %v times without plugins, and %v times beside those of others", allocations[0], allocations[1])
	}
}

// BenchmarkProxy goes from a client through the gateway to an upstream and
// back, all in this process over loopback.
func BenchmarkProxy(b *testing.B) {
	g := start(b, gateway.Settings{})
	up := upstream(b, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "ok") })
	g.route(to(up), schema.Object{})
	c := plainClient(b)
	b.ReportAllocs()
	for b.Loop() {
		req, _ := http.NewRequest("GET", g.server.URL+"/", nil)
		send(b, c, req)
	}
}
