package router_test

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/router"
)

// streamModel tries all routes in Kong's order.
func streamModel(routes map[uuid.UUID]*entity.Route, f *router.Flow) (best *entity.Route) {
	for _, r := range routes {
		if streamFits(r, f) && (best == nil || cmp.Or(slices.Compare(streamOrder(r), streamOrder(best)), bytes.Compare(r.ID[:], best.ID[:])) > 0) {
			best = r
		}
	}
	return best
}

func streamFits(r *entity.Route, f *router.Flow) bool {
	side := func(items []entity.Endpoint, at netip.AddrPort) bool {
		return len(items) == 0 || slices.ContainsFunc(items, func(e entity.Endpoint) bool {
			in := e.IP == "" || e.IP == at.Addr().Unmap().String()
			if p, err := netip.ParsePrefix(e.IP); err == nil {
				in = p.Contains(at.Addr().Unmap())
			}
			return in && (e.Port == 0 || e.Port == int(at.Port()))
		})
	}
	named := len(r.SNIs) == 0 || slices.ContainsFunc(r.SNIs, func(s string) bool { return f.SNI != "" && glob(s, f.SNI) })
	kind := slices.ContainsFunc(r.Protocols, func(p string) bool { return strings.TrimSuffix(p, "_passthrough") == f.Protocol })
	return kind && named && side(r.Sources, f.Source) && side(r.Destinations, f.Destination)
}

// streamOrder is the priority, bit by bit.
func streamOrder(r *entity.Route) (bits []int) {
	bit := func(set bool) {
		bits = append(bits, map[bool]int{true: 1}[set])
	}
	bit(len(r.SNIs) > 0 || len(r.Sources) > 0 && len(r.Destinations) > 0)
	for _, items := range [][]entity.Endpoint{r.Sources, r.Destinations} {
		bit(slices.ContainsFunc(items, func(e entity.Endpoint) bool { return e.IP != "" && !strings.Contains(e.IP, "/") }))
		bit(slices.ContainsFunc(items, func(e entity.Endpoint) bool { return e.Port != 0 }))
		bit(slices.ContainsFunc(items, func(e entity.Endpoint) bool { return strings.Contains(e.IP, "/") }))
	}
	return bits
}

var (
	streamIPs   = []string{"10.0.0.1", "10.0.1.1", "192.0.2.7", "fd00::1", "2001:db8::7"}
	streamNets  = []string{"10.0.0.0/8", "10.0.0.0/24", "10.0.0.1/32", "0.0.0.0/0", "::/0", "fd00::/8", "192.0.2.9/24"}
	streamNames = []string{"a.example.com", "b.example.com", "example.com", "example.org", "x.a.example.com"}
	streamSNIs  = []string{"a.example.com", "b.example.com", "*.example.com", "example.*", "*.a.example.com"}
)

func drawStreamRoute(t *rapid.T) *entity.Route {
	r := &entity.Route{ID: uuid.UUID{15: byte(rapid.IntRange(1, 12).Draw(t, "id"))}}
	r.Protocols = rapid.SampledFrom([][]string{{"tcp"}, {"udp"}, {"tls"}, {"tls_passthrough"}, {"tcp", "tls", "udp"}}).Draw(t, "protocols")
	items := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) entity.Endpoint {
		e := entity.Endpoint{
			IP:   rapid.SampledFrom(append(append([]string{""}, streamIPs...), streamNets...)).Draw(t, "ip"),
			Port: rapid.SampledFrom([]int{0, 80, 443}).Draw(t, "port"),
		}
		if e.IP == "" && e.Port == 0 {
			e.Port = 53
		}
		return e
	}), 0, 3)
	r.Sources, r.Destinations = items.Draw(t, "sources"), items.Draw(t, "destinations")
	r.SNIs = rapid.SliceOfN(rapid.SampledFrom(streamSNIs), 0, 2).Draw(t, "snis")
	if rapid.IntRange(0, 9).Draw(t, "many") == 0 { // beyond the places of a route
		for i := range 70 {
			r.Sources = append(r.Sources, entity.Endpoint{IP: fmt.Sprintf("10.0.%d.1", i), Port: 80})
		}
	}
	return r
}

func drawFlow(t *rapid.T) *router.Flow {
	at := rapid.Custom(func(t *rapid.T) netip.AddrPort {
		addr := netip.MustParseAddr(rapid.SampledFrom(streamIPs).Draw(t, "ip"))
		if addr.Is4() && rapid.Bool().Draw(t, "mapped") {
			addr = netip.AddrFrom16(addr.As16())
		}
		return netip.AddrPortFrom(addr, rapid.SampledFrom([]uint16{53, 80, 443}).Draw(t, "port"))
	})
	return &router.Flow{
		Protocol:    rapid.SampledFrom([]string{"tcp", "udp", "tls"}).Draw(t, "protocol"),
		SNI:         rapid.SampledFrom(append(streamNames, "")).Draw(t, "sni"),
		Source:      at.Draw(t, "source"),
		Destination: at.Draw(t, "destination"),
	}
}

func TestStreams_answerAsTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		index, routes := router.NewStreams[*entity.Route](), map[uuid.UUID]*entity.Route{}
		type version struct {
			index  *router.StreamIndex[*entity.Route]
			routes map[uuid.UUID]*entity.Route
		}
		var versions []version
		for range rapid.IntRange(1, 8).Draw(t, "batches") {
			e := index.Edit()
			for range rapid.IntRange(1, 5).Draw(t, "changes") {
				r := drawStreamRoute(t)
				if old := routes[r.ID]; old != nil {
					e.Remove(old)
					delete(routes, r.ID)
				}
				if rapid.IntRange(0, 3).Draw(t, "add") > 0 {
					if err := e.Add(r, r); err != nil {
						t.Fatal(err)
					}
					if len(r.SNIs)+len(r.Sources)+len(r.Destinations) > 0 {
						routes[r.ID] = r
					}
				}
			}
			index = e.Index()
			kept := map[uuid.UUID]*entity.Route{}
			for id, r := range routes {
				kept[id] = r
			}
			versions = append(versions, version{index, kept})
		}
		for range 20 {
			f := drawFlow(t)
			for i, v := range versions { // old ones still answer as they did
				want := streamModel(v.routes, f)
				got, _ := v.index.Match(f)
				if got != want {
					t.Fatalf("version %d, flow %+v: got %+v, want %+v", i, f, got, want)
				}
				if v.index.Len() != len(v.routes) {
					t.Fatalf("version %d has %d routes, want %d", i, v.index.Len(), len(v.routes))
				}
				e := v.index.Explain(f, 100)
				if (e.Matched == nil) != (want == nil) || want != nil && e.Matched.Route.ID != want.ID {
					t.Fatalf("version %d, flow %+v: explained %+v, want %+v", i, f, e.Matched, want)
				}
				if others := len(v.routes) - len(e.NearMisses); (want == nil) != (others == 0) {
					t.Fatalf("version %d: %d of %d routes explained", i, len(e.NearMisses), len(v.routes))
				}
			}
		}
	})
}

func TestStreams_emptyAgain(t *testing.T) {
	r := &entity.Route{ID: uuid.New(), Protocols: []string{"tls"}, SNIs: []string{"a.example", "*.a.example"},
		Sources: []entity.Endpoint{{IP: "10.0.0.0/8"}, {Port: 7}}, Destinations: []entity.Endpoint{{IP: "10.0.0.1", Port: 443}}}
	e := router.NewStreams[int]().Edit()
	if err := e.Add(r, 1); err != nil {
		t.Fatal(err)
	}
	e.Remove(r)
	e.Remove(r)
	if got, want := e.Index(), router.NewStreams[int](); fmt.Sprint(*got) != fmt.Sprint(*want) {
		t.Errorf("got %v, want the empty index", got)
	}
}

func TestStreams_errorsNameTheField(t *testing.T) {
	e := router.NewStreams[int]().Edit()
	err := e.Add(&entity.Route{Protocols: []string{"tcp"}, Sources: []entity.Endpoint{{Port: 1}, {IP: "10.0.0.0/99"}}}, 1)
	if err == nil || !strings.HasPrefix(err.Error(), "sources[1].ip: ") {
		t.Errorf("got %v, want it to name sources[1].ip", err)
	}
	if e.Index().Len() != 0 {
		t.Error("the route was added all the same")
	}
}

func TestStreams_explain(t *testing.T) {
	e := router.NewStreams[int]().Edit()
	for i, r := range []*entity.Route{
		{Name: "db", Protocols: []string{"tcp"}, Destinations: []entity.Endpoint{{Port: 5432}}},
		{Name: "office", Protocols: []string{"tcp"}, Destinations: []entity.Endpoint{{Port: 5432}}, Sources: []entity.Endpoint{{IP: "10.0.0.0/8"}}},
		{Name: "dns", Protocols: []string{"udp"}, Destinations: []entity.Endpoint{{Port: 53}}},
		{Name: "web", Protocols: []string{"tls_passthrough"}, SNIs: []string{"*.example.com"}},
	} {
		r.ID = uuid.UUID{15: byte(i)}
		if err := e.Add(r, i); err != nil {
			t.Fatal(err)
		}
	}
	x := e.Index().Explain(&router.Flow{
		Protocol: "tcp", Source: netip.MustParseAddrPort("10.1.2.3:999"), Destination: netip.MustParseAddrPort("192.0.2.1:5432"),
	}, 10)
	if x.Matched == nil || x.Matched.Route.Name != "office" || x.Matched.Rank != "source by range; destination by port" {
		t.Errorf("matched %+v", x.Matched)
	}
	var said []string
	for _, m := range x.NearMisses {
		line := m.Route.Name
		for _, f := range m.Failed {
			line += " " + f.Attribute + "=" + f.Got
		}
		said = append(said, line)
	}
	want := []string{"db priority=4", "web protocol=tcp sni=", "dns protocol=tcp destination=192.0.2.1 port 5432"}
	if !slices.Equal(said, want) {
		t.Errorf("near misses\n got %q\nwant %q", said, want)
	}
}

// BenchmarkStreams is a match among more and more routes, and what a change
// costs.
func BenchmarkStreams(b *testing.B) {
	settings := []struct {
		name  string
		route func(i int) (*entity.Route, *router.Flow)
	}{
		{"server names", func(i int) (*entity.Route, *router.Flow) {
			name := fmt.Sprintf("db-%d.example.com", i)
			return &entity.Route{Protocols: []string{"tls_passthrough"}, SNIs: []string{name}}, &router.Flow{Protocol: "tls", SNI: name}
		}},
		{"source networks", func(i int) (*entity.Route, *router.Flow) {
			addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
			return &entity.Route{Protocols: []string{"tcp"}, Sources: []entity.Endpoint{{IP: addr.String() + "/32"}}},
				&router.Flow{Protocol: "tcp", Source: netip.AddrPortFrom(addr, 1)}
		}},
		{"destinations of one source", func(i int) (*entity.Route, *router.Flow) {
			addr, port := netip.AddrFrom4([4]byte{10, 0, 0, byte(i >> 15)}), 1+i%32768
			return &entity.Route{Protocols: []string{"tcp"}, Sources: []entity.Endpoint{{IP: "10.0.0.0/8"}}, Destinations: []entity.Endpoint{{IP: addr.String(), Port: port}}},
				&router.Flow{Protocol: "tcp", Source: netip.MustParseAddrPort("10.9.9.9:7"), Destination: netip.AddrPortFrom(addr, uint16(port))}
		}},
	}
	for _, s := range settings {
		for _, n := range sizes {
			e := router.NewStreams[int]().Edit()
			flows, routes := make([]*router.Flow, n), make([]*entity.Route, n)
			for i := range n {
				r, f := s.route(i)
				r.ID = uuid.New()
				if err := e.Add(r, i); err != nil {
					b.Fatal(err)
				}
				flows[i], routes[i] = f, r
			}
			index := e.Index()
			b.Run(fmt.Sprintf("match/%s/%d", s.name, n), func(b *testing.B) {
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					if got, ok := index.Match(flows[i]); !ok || got != i {
						b.Fatalf("flow %d takes route %d", i, got)
					}
					i = (i + 7919) % n
				}
			})
			b.Run(fmt.Sprintf("replace/%s/%d", s.name, n), func(b *testing.B) {
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					e := index.Edit()
					e.Remove(routes[i])
					if err := e.Add(routes[i], i); err != nil {
						b.Fatal(err)
					}
					index = e.Index()
					i = (i + 7919) % n
				}
			})
		}
	}
}
