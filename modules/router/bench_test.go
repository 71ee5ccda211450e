package router_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/router"
)

// sizes are the numbers of routes that are promised not to matter.
var sizes = []int{10, 1_000, 100_000}

// A setting is one way to have many routes, with a request for each.
type setting struct {
	name  string
	route func(i int) (*entity.Route, router.Request)
}

var settings = []setting{
	{"hosts and paths", func(i int) (*entity.Route, router.Request) {
		host, path := fmt.Sprintf("shop-%d.example.com", i/10), fmt.Sprintf("/api/v%d/orders", i%10)
		return &entity.Route{Hosts: []string{host}, Paths: []string{path}}, router.Request{Host: host, Path: path + "/17"}
	}},
	{"hosts", func(i int) (*entity.Route, router.Request) {
		host := fmt.Sprintf("shop-%d.example.com", i)
		return &entity.Route{Hosts: []string{host}, Paths: []string{"/"}}, router.Request{Host: host + ":8000", Path: "/orders/17"}
	}},
	{"paths of one host", func(i int) (*entity.Route, router.Request) {
		path := fmt.Sprintf("/api/v%d/tenant-%d/orders", i%3, i)
		return &entity.Route{Hosts: []string{"example.com"}, Paths: []string{path}}, router.Request{Host: "example.com", Path: path + "/17"}
	}},
	{"paths of any host", func(i int) (*entity.Route, router.Request) {
		path := fmt.Sprintf("/api/v%d/tenant-%d/orders", i%3, i)
		return &entity.Route{Paths: []string{path}}, router.Request{Host: "example.com", Path: path + "/17"}
	}},
	{"methods and paths", func(i int) (*entity.Route, router.Request) {
		method, path := []string{"GET", "POST", "PUT", "PATCH", "DELETE"}[i%5], fmt.Sprintf("/tenant-%d/orders", i/5)
		return &entity.Route{Methods: []string{method}, Paths: []string{path}}, router.Request{Method: method, Path: path + "/17"}
	}},
	{"wildcard hosts", func(i int) (*entity.Route, router.Request) {
		host := fmt.Sprintf("shop-%d.example.com", i)
		return &entity.Route{Hosts: []string{"*." + host}, Paths: []string{"/"}}, router.Request{Host: "www." + host, Path: "/orders/17"}
	}},
	{"paths that nest", func(i int) (*entity.Route, router.Request) {
		path := fmt.Sprintf("/%d", i%10)
		for i /= 10; i > 0; i /= 10 {
			path = fmt.Sprintf("/%d", i%10) + path
		}
		return &entity.Route{Paths: []string{path}}, router.Request{Path: path + "/orders/17"}
	}},
	{"header values of one place", func(i int) (*entity.Route, router.Request) {
		tenant := fmt.Sprintf("tenant-%d", i)
		return &entity.Route{Paths: []string{"/"}, Headers: map[string][]string{"x-tenant": {tenant}}},
			router.Request{Path: "/orders/17", Header: http.Header{"X-Tenant": {tenant}, "Accept": {"*/*"}, "User-Agent": {"curl/8.5.0"}}}
	}},
	{"server names of one place", func(i int) (*entity.Route, router.Request) {
		name := fmt.Sprintf("shop-%d.example.com", i)
		return &entity.Route{Paths: []string{"/"}, SNIs: []string{name}}, router.Request{Path: "/orders/17", TLS: true, SNI: name}
	}},
	{"exact regexes", func(i int) (*entity.Route, router.Request) {
		path := fmt.Sprintf("/tenant-%d/orders", i)
		return &entity.Route{Hosts: []string{"example.com"}, Paths: []string{"~" + path + "$"}}, router.Request{Host: "example.com", Path: path}
	}},
}

// regexSettings are for fewer routes: a compiled regular expression takes
// several kilobytes.
var regexSettings = []setting{
	{"regexes", func(i int) (*entity.Route, router.Request) {
		path := fmt.Sprintf("~/tenant-%d/orders/([0-9]+)$", i)
		return &entity.Route{Hosts: []string{"example.com"}, Paths: []string{path}}, router.Request{Host: "example.com", Path: fmt.Sprintf("/tenant-%d/orders/17", i)}
	}},
	{"regexes that start alike", func(i int) (*entity.Route, router.Request) {
		path := fmt.Sprintf("~/api/v[0-9]+/tenant-%d/orders", i)
		return &entity.Route{Hosts: []string{"example.com"}, Paths: []string{path}}, router.Request{Host: "example.com", Path: fmt.Sprintf("/api/v1/tenant-%d/orders", i)}
	}},
}

func (s setting) make(n int) ([]*entity.Route, []router.Request) {
	routes, requests := make([]*entity.Route, n), make([]router.Request, n)
	for i := range n {
		r, req := s.route(i)
		r.ID = uuid.New()
		if req.Method == "" {
			req.Method = "GET"
		}
		req.Source, req.Destination = netip.MustParseAddrPort("127.0.0.1:50000"), netip.MustParseAddrPort("127.0.0.1:8000")
		routes[i], requests[i] = r, req
	}
	rand.Shuffle(n, func(i, j int) { requests[i], requests[j] = requests[j], requests[i] })
	return routes, requests
}

func index(tb testing.TB, routes []*entity.Route) *router.Index[*entity.Route] {
	e := router.New[*entity.Route]().Edit()
	for _, r := range routes {
		if err := e.Add(r, r); err != nil {
			tb.Fatal(err)
		}
	}
	return e.Index()
}

func BenchmarkMatch(b *testing.B) {
	for _, s := range settings {
		for _, n := range sizes {
			b.Run(fmt.Sprintf("%s/routes=%d", s.name, n), func(b *testing.B) { benchmarkMatch(b, s, n, busy) })
		}
	}
	for _, s := range regexSettings {
		for _, n := range []int{10, 1_000, 10_000} {
			b.Run(fmt.Sprintf("%s/routes=%d", s.name, n), func(b *testing.B) { benchmarkMatch(b, s, n, busy) })
		}
	}
}

// BenchmarkMatch_cold asks for all routes in turn, so that each match waits for
// memory that no cache holds. The request is at hand, as one is that has just
// been read.
func BenchmarkMatch_cold(b *testing.B) {
	for _, s := range settings {
		b.Run(s.name, func(b *testing.B) {
			routes, requests := s.make(100_000)
			x := index(b, routes)
			for i := range requests {
				x.Match(&requests[i])
			}
			runtime.GC()
			var took time.Duration
			var read [64]router.Request
			i := 0
			for b.Loop() {
				for k := range read {
					r := &read[k]
					*r = requests[i]
					r.Host, r.Path, r.SNI = strings.Clone(r.Host), strings.Clone(r.Path), strings.Clone(r.SNI)
					r.Header = maps.Clone(r.Header)
					if i++; i == len(requests) {
						i = 0
					}
				}
				start := time.Now()
				for k := range read {
					if _, ok := x.Match(&read[k]); !ok {
						b.Fatalf("%+v matches no route", read[k])
					}
				}
				took += time.Since(start)
			}
			b.ReportMetric(float64(took.Nanoseconds())/float64(b.N)/float64(len(read)), "ns/match")
			b.ReportMetric(0, "ns/op") // with the making of requests
		})
	}
}

// busy is the number of routes that get requests while the others get none.
const busy = 1_000

func benchmarkMatch(b *testing.B, s setting, n, busy int) {
	routes, requests := s.make(n)
	x := index(b, routes)
	requests = slices.Clone(requests[:min(n, busy)])
	for i := range requests { // regular expressions are compiled when first needed
		x.Match(&requests[i])
	}
	runtime.GC()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, ok := x.Match(&requests[i]); !ok {
			b.Fatalf("%+v matches no route", requests[i])
		}
		if i++; i == len(requests) {
			i = 0
		}
	}
}

// BenchmarkMatch_onePlace compares routes that only a header tells apart,
// before and after there are enough of them to be found by it.
func BenchmarkMatch_onePlace(b *testing.B) {
	for _, s := range settings {
		if s.name == "header values of one place" {
			for _, n := range []int{1, 4, 8, 16, 17, 32, 64} {
				b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) { benchmarkMatch(b, s, n, busy) })
			}
		}
	}
}

// BenchmarkEdit_replace removes a route, adds it again and publishes the index.
func BenchmarkEdit_replace(b *testing.B) {
	for _, s := range settings {
		for _, n := range sizes {
			b.Run(fmt.Sprintf("%s/routes=%d", s.name, n), func(b *testing.B) {
				routes, _ := s.make(n)
				x := index(b, routes)
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					e := x.Edit()
					e.Remove(routes[i])
					if err := e.Add(routes[i], routes[i]); err != nil {
						b.Fatal(err)
					}
					x = e.Index()
					if i++; i == n {
						i = 0
					}
				}
			})
		}
	}
}

// BenchmarkEdit_load builds an index in one batch, and reports what it takes
// to keep, without the routes themselves.
func BenchmarkEdit_load(b *testing.B) {
	load := func(s setting, n int) {
		b.Run(fmt.Sprintf("%s/routes=%d", s.name, n), func(b *testing.B) {
			routes, _ := s.make(n)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			x := index(b, routes)
			runtime.GC()
			runtime.ReadMemStats(&after)
			bytes := float64(after.HeapAlloc) - float64(before.HeapAlloc)
			runtime.KeepAlive(x)
			x = nil

			for b.Loop() {
				index(b, routes)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/route")
			b.ReportMetric(bytes/float64(n), "bytes/route")
			runtime.KeepAlive(routes)
		})
	}
	for _, s := range settings {
		load(s, 100_000)
	}
	for _, s := range regexSettings {
		load(s, 10_000)
	}
}
