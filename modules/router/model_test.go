package router_test

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/router"
)

// A model is Kong's router as simple as it can be: all rules in the order in
// which they are tried.
type model []modelRule

type modelRule struct {
	route *entity.Route
	id    uuid.UUID
	paths []string // of one kind: regular expressions, or prefixes of one length
}

// match tries all rules one by one.
func (m model) match(r *router.Request) (*entity.Route, string) {
	for _, rule := range m {
		if path, ok := rule.fits(r); ok {
			return rule.route, path
		}
	}
	return nil, ""
}

// newModel takes routes apart and sorts what comes of it.
func newModel(routes map[uuid.UUID]*entity.Route) model {
	var m model
	for _, r := range routes {
		groups := map[int]int{} // length of prefixes, or -1, to the number of a group
		var list []modelRule
		for _, p := range r.Paths {
			kind := len(p)
			if p[0] == '~' {
				kind = -1
			}
			if _, ok := groups[kind]; !ok {
				groups[kind] = len(list)
				name := fmt.Sprintf("%s#%d", r.ID, len(list)+1)
				list = append(list, modelRule{route: r, id: uuid.NewSHA1(uuid.MustParse("7f145bf9-0dce-4f91-98eb-debbce4b9f6b"), []byte(name))})
			}
			g := &list[groups[kind]]
			g.paths = append(g.paths, p)
		}
		if len(list) < 2 {
			list = []modelRule{{r, r.ID, r.Paths}}
		}
		m = append(m, list...)
	}
	slices.SortFunc(m, func(a, b modelRule) int {
		return cmp.Or(slices.Compare(b.order(), a.order()), bytes.Compare(b.id[:], a.id[:]))
	})
	return m
}

// order is the priority, number by number.
func (m modelRule) order() []int {
	r := m.route
	count := func(conditions ...bool) (n int) {
		for _, c := range conditions {
			if c {
				n++
			}
		}
		return n
	}
	attributes := count(len(r.Methods) > 0, len(r.Hosts) > 0, len(r.Headers) > 0, len(r.SNIs) > 0, len(m.paths) > 0, len(r.Sources) > 0, len(r.Destinations) > 0)
	plain := count(len(r.Hosts) > 0 && !strings.Contains(strings.Join(r.Hosts, " "), "*"))
	if len(m.paths) > 0 && m.paths[0][0] == '~' {
		return []int{attributes, plain, len(r.Headers), 1, r.RegexPriority, 0}
	}
	length := 0
	if len(m.paths) > 0 {
		length = len(m.paths[0])
	}
	return []int{attributes, plain, len(r.Headers), 0, 0, length}
}

// fits reports whether all attributes fit, and the part of the path that did.
func (m modelRule) fits(r *router.Request) (path string, ok bool) {
	t := m.route
	host, port := r.Host, int(r.Destination.Port())
	if parts := expression(`(?s)^([^:]*):([0-9]+)$`).FindStringSubmatch(host); parts != nil {
		host = parts[1]
		fmt.Sscan(parts[2], &port)
	}
	if len(t.Hosts) > 0 && !slices.ContainsFunc(t.Hosts, func(h string) bool {
		name, p, _ := strings.Cut(h, ":")
		return r.Host != "" && (p == "" || p == fmt.Sprint(port)) && glob(name, host)
	}) {
		return "", false
	}
	if len(t.Methods) > 0 && !slices.Contains(t.Methods, r.Method) {
		return "", false
	}
	for name, want := range t.Headers {
		// With dashes and underscores alike, the latter come first.
		values := r.Header[http.CanonicalHeaderKey(strings.ReplaceAll(name, "-", "_"))]
		if len(values) == 0 {
			values = r.Header[http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))]
		}
		if !slices.ContainsFunc(values, func(v string) bool {
			return slices.ContainsFunc(want, func(w string) bool {
				if expr, ok := strings.CutPrefix(w, "~*"); ok {
					return expression(strings.ToLower(expr)).MatchString(strings.ToLower(v))
				}
				return strings.ToLower(v) == strings.ToLower(w)
			})
		}) {
			return "", false
		}
	}
	if len(t.SNIs) > 0 && r.TLS && !slices.ContainsFunc(t.SNIs, func(n string) bool { return r.SNI != "" && glob(strings.TrimSuffix(n, "."), r.SNI) }) {
		return "", false
	}
	if !at(t.Sources, r.Source) || !at(t.Destinations, r.Destination) {
		return "", false
	}
	if len(m.paths) == 0 {
		return "", true
	}
	for _, p := range m.paths {
		if expr, ok := strings.CutPrefix(p, "~"); ok {
			if loc := expression("^" + expr).FindStringIndex(r.Path); loc != nil {
				return r.Path[loc[0]:loc[1]], true
			}
		} else if strings.HasPrefix(r.Path, p) {
			return p, true
		}
	}
	return "", false
}

// expression compiles a regular expression, once.
func expression(s string) *regexp.Regexp {
	re, ok := expressions[s]
	if !ok {
		re = regexp.MustCompile(s)
		expressions[s] = re
	}
	return re
}

var expressions = map[string]*regexp.Regexp{}

func glob(pattern, name string) bool {
	expr := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`)
	return expression("(?s)^" + expr + "$").MatchString(name)
}

func at(items []entity.Endpoint, a netip.AddrPort) bool {
	return len(items) == 0 || slices.ContainsFunc(items, func(e entity.Endpoint) bool {
		if e.Port != 0 && e.Port != int(a.Port()) {
			return false
		}
		if e.IP == "" || e.IP == a.Addr().String() {
			return true
		}
		p, err := netip.ParsePrefix(e.IP)
		return err == nil && p.Contains(a.Addr())
	})
}

// Few words make many collisions.
var (
	someHosts = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{
		"a", "b", "x.a", "a:1", "a:2", "b:1", "*.a", "*.x.a", "a.*", "x.*", "*.a:1", "a.*:2", "*",
	}), 1, 3, rapid.ID)
	somePaths = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{
		"/", "/a", "/b", "/ab", "/a/", "/a/b", "/a/b/c",
		"~/a", "~/a$", "~/(a|b)", "~/[ab]+", "~/a|/b", "~/a(b)?/", "~/.*b", "~/a/(?<rest>.*)", "~/(?i)A", "~/a/b/c$", "~/(?:a/b)+c?", "~/",
	}), 1, 4, rapid.ID)
	someMethods = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"GET", "POST", "get", "PURGE"}), 1, 2, rapid.ID)
	someHeaders = rapid.MapOfN(rapid.SampledFrom([]string{"x", "y", "x-y", "X_Y"}),
		rapid.SliceOfN(rapid.SampledFrom([]string{"1", "2", "V", "v", "é", "~*^1", "~*v"}), 1, 3), 1, 3)
	someSNIs      = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "a.b.", "*.b", "a.*"}), 1, 2, rapid.ID)
	someEndpoints = rapid.SliceOfN(rapid.SampledFrom([]entity.Endpoint{
		{IP: "10.0.0.1"}, {IP: "10.0.0.9/8"}, {Port: 1}, {IP: "10.1.0.0/16", Port: 2}, {IP: "2001:db8::1"}, {IP: "2001:db8::/32"},
	}), 1, 2)

	hostSent    = rapid.SampledFrom([]string{"", "a", "b", "x.a", "y.x.a", "a.x", "x.b", "a:1", "a:2", "x.a:1", "A", ".a", "a:", "a:x", "a:99999", ":1", "c"})
	pathSent    = rapid.SampledFrom([]string{"/", "/a", "/b", "/c", "/ab", "/ab/", "/a/b", "/a/b/c", "/a/b/a/b", "/A", "/c/b", "/ba", "*"})
	methodSent  = rapid.SampledFrom([]string{"GET", "POST", "get", "PUT", "PURGE"})
	headersSent = rapid.MapOfN(rapid.SampledFrom([]string{"X", "Y", "X-Y", "X_y", "Z"}),
		rapid.SliceOfN(rapid.SampledFrom([]string{"1", "2", "12", "V", "É", ""}), 1, 2), 0, 3)
	address = rapid.SampledFrom([]string{"10.0.0.1:1", "10.0.0.1:2", "10.1.2.3:2", "10.2.2.3:9", "11.0.0.1:1", "[2001:db8::1]:2", "[2001:db9::1]:1"})
)

// maybe draws from g one time out of n.
func maybe[T any](t *rapid.T, label string, n int, g *rapid.Generator[T]) (v T) {
	if rapid.IntRange(1, n).Draw(t, "has "+label) == n {
		v = g.Draw(t, label)
	}
	return v
}

// drawRoute makes a route with at least one attribute. The serial number makes
// its id unique, but says nothing about its order among others.
func drawRoute(t *rapid.T, serial int) *entity.Route {
	r := &entity.Route{Protocols: []string{"http", "https"}}
	r.ID[0], r.ID[14], r.ID[15] = rapid.Byte().Draw(t, "id"), byte(serial>>8), byte(serial)
	for len(r.Hosts)+len(r.Paths)+len(r.Methods)+len(r.Headers)+len(r.SNIs)+len(r.Sources)+len(r.Destinations) == 0 {
		r.Hosts = maybe(t, "hosts", 2, someHosts)
		r.Paths = maybe(t, "paths", 2, somePaths)
		r.Methods = maybe(t, "methods", 4, someMethods)
		r.Headers = maybe(t, "headers", 4, someHeaders)
		r.SNIs = maybe(t, "snis", 5, someSNIs)
		r.Sources = maybe(t, "sources", 8, someEndpoints)
		r.Destinations = maybe(t, "destinations", 8, someEndpoints)
	}
	r.RegexPriority = maybe(t, "regex_priority", 3, rapid.IntRange(0, 2))
	return r
}

func drawRequest(t *rapid.T) *router.Request {
	r := &router.Request{
		Method:      methodSent.Draw(t, "method"),
		Host:        hostSent.Draw(t, "host"),
		Path:        pathSent.Draw(t, "path"),
		Header:      headersSent.Draw(t, "headers"),
		TLS:         rapid.Bool().Draw(t, "TLS"),
		Source:      netip.MustParseAddrPort(address.Draw(t, "source")),
		Destination: netip.MustParseAddrPort(address.Draw(t, "destination")),
	}
	if r.TLS {
		r.SNI = rapid.SampledFrom([]string{"", "a", "b", "a.b", "b.a", "x.b"}).Draw(t, "SNI")
	}
	return r
}

func checkMatch(t *rapid.T, x *router.Index[uuid.UUID], m model, r *router.Request) {
	t.Helper()
	want, prefix := m.match(r)
	got, ok := x.Match(r)
	switch {
	case ok != (want != nil):
		t.Fatalf("%+v: Match = %v, %v; want %v", r, got.Value, ok, want)
	case ok && (*got.Value != want.ID || got.Prefix != prefix):
		t.Fatalf("%+v: Match = %v with prefix %q; want %v with %q", r, got.Value, got.Prefix, want.ID, prefix)
	}
	if e := x.Explain(r, 3); (e.Matched != nil) != ok || ok && e.Matched.Route.ID != *got.Value {
		t.Fatalf("%+v: Explain says %+v, but Match %v", r, e.Matched, got.Value)
	}
}

// checkIndex makes changes at random and compares the index with the model
// after each, and the ones it replaced with what they were.
func checkIndex(draw func(t *rapid.T, serial int) *entity.Route) func(*rapid.T) {
	return func(t *rapid.T) {
		x := router.New[uuid.UUID]()
		edit := x.Edit()
		routes := map[uuid.UUID]*entity.Route{}
		var old *router.Index[uuid.UUID]
		var oldModel model
		serial := 0
		add := func(t *rapid.T) {
			serial++
			r := draw(t, serial)
			if err := edit.Add(r, r.ID); err != nil {
				t.Fatalf("Add(%+v): %v", r, err)
			}
			routes[r.ID] = r
		}
		t.Repeat(map[string]func(*rapid.T){
			"add one": add,
			"add more": func(t *rapid.T) {
				for range rapid.IntRange(1, 25).Draw(t, "routes") {
					add(t)
				}
			},
			"remove": func(t *rapid.T) {
				ids := slices.SortedFunc(maps.Keys(routes), func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
				for range min(len(ids), rapid.IntRange(1, 10).Draw(t, "routes")) {
					i := rapid.IntRange(0, len(ids)-1).Draw(t, "which")
					// As it is when read anew.
					r := *routes[ids[i]]
					edit.Remove(&r)
					delete(routes, r.ID)
					ids = slices.Delete(ids, i, i+1)
				}
			},
			"remove what is not there": func(t *rapid.T) {
				serial++
				edit.Remove(draw(t, serial))
			},
			"publish": func(*rapid.T) {
				old, oldModel = edit.Index(), newModel(routes)
			},
			"": func(t *rapid.T) {
				x, m := edit.Index(), newModel(routes)
				if x.Len() != len(routes) {
					t.Fatalf("Len() = %d, want %d", x.Len(), len(routes))
				}
				for range 2 {
					r := drawRequest(t)
					checkMatch(t, x, m, r)
					if old != nil {
						checkMatch(t, old, oldModel, r)
					}
				}
			},
		})
		for _, r := range routes {
			edit.Remove(r)
		}
		if x := edit.Index(); *x != *router.New[uuid.UUID]() {
			t.Fatalf("an index without routes is not empty: %+v", x)
		}
	}
}

func TestIndex_agreesWithTryingAllRoutes(t *testing.T) {
	rapid.Check(t, checkIndex(drawRoute))
}

// Many routes for one host and path are kept in another way than a few.
func TestIndex_agreesWithTryingAllRoutes_onePlace(t *testing.T) {
	rapid.Check(t, checkIndex(func(t *rapid.T, serial int) *entity.Route {
		r := drawRoute(t, serial)
		r.Hosts = maybe(t, "port", 3, rapid.Just([]string{"a", "a:1"}))
		r.Paths = []string{"/"}
		r.Headers = maybe(t, "headers", 2, someHeaders)
		r.SNIs = maybe(t, "snis", 2, someSNIs)
		return r
	}))
}
