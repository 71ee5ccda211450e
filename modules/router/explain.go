package router

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// Explanation tells a person why a request takes the route that it takes.
type Explanation struct {
	// Matched is the route that the request takes; null if none fits.
	Matched *Winner `json:"matched"`

	// NearMisses are other routes: those first that fit but are outranked,
	// then those that fail by the fewest attributes, and among equals those
	// with the highest priority.
	NearMisses []NearMiss `json:"near_misses"`
}

// Ranked is a route with its place among others.
type Ranked struct {
	Route struct {
		ID      uuid.UUID   `json:"id"`
		Name    string      `json:"name,omitempty"`
		Service *entity.Ref `json:"service,omitempty"`
	} `json:"route"`

	// Priority is that of the paths at issue, if the route has several, and
	// Rank the same in words.
	Priority Priority `json:"priority"`
	Rank     string   `json:"rank"`
}

// Winner is the route that a request takes.
type Winner struct {
	Ranked

	// Protocols are those that the route wants. A request over another one
	// takes it all the same, and gets an error or a redirect.
	Protocols []string `json:"protocols,omitempty"`

	// Prefix is the part of the path that strip_path would remove.
	Prefix string `json:"prefix,omitempty"`

	// Captures are what the groups of a regular expression took, by number
	// and by name.
	Captures map[string]string `json:"captures,omitempty"`
}

// NearMiss is a route that a request does not take.
type NearMiss struct {
	Ranked

	// Failed says why, one attribute at a time.
	Failed []Failure `json:"failed"`
}

// Failure is one reason why a route is not taken.
type Failure struct {
	// Attribute is "host", "method", "path", "header", "sni", "source" or
	// "destination". If the route fits and another one is preferred, it is
	// "priority" or, between equals, "id".
	Attribute string `json:"attribute"`

	// Name is the name of the header.
	Name string `json:"name,omitempty"`

	// Expected are the values that would do, as the route has them.
	Expected []string `json:"expected"`

	// Got is what the request has; nothing if it has none.
	Got string `json:"got,omitempty"`
}

// Explain tells which route a request takes, and of the others those that come
// closest, at most max. Unlike Match it looks at every route.
func (x *Index[V]) Explain(r *Request, max int) Explanation {
	s := search[V]{request: r, method: methodOf(r.Method)}
	s.through(x)
	e := Explanation{NearMisses: []NearMiss{}}
	if s.best != nil {
		e.Matched = newWinner(s.best, r)
	}
	for _, m := range x.misses(&s, max) {
		e.NearMisses = append(e.NearMisses, NearMiss{Ranked: ranked(m.rule), Failed: m.failed})
	}
	return e
}

func ranked[V any](r *rule[V]) (k Ranked) {
	k.Route.ID, k.Route.Name, k.Route.Service = r.route.ID, r.route.Name, r.route.Service
	k.Priority, k.Rank = r.priority, r.priority.String()
	return k
}

func newWinner[V any](r *rule[V], req *Request) *Winner {
	found := r.found(req.Path)
	w := &Winner{Ranked: ranked(r), Protocols: r.route.Protocols, Prefix: found.Prefix}
	names := found.Captures.Names()
	for i := 1; i < len(names); i++ {
		text, ok := found.Captures.Group(i)
		if !ok {
			continue
		}
		if w.Captures == nil {
			w.Captures = map[string]string{}
		}
		w.Captures[strconv.Itoa(i)] = text
		if names[i] != "" {
			w.Captures[names[i]] = text
		}
	}
	return w
}

// A miss is the rule of a route that came closest, and why it is not taken.
type miss[V any] struct {
	rule   *rule[V]
	fits   bool // but another one is preferred
	failed []Failure
}

// misses answers the routes that a search did not choose, the closest first.
func (x *Index[V]) misses(s *search[V], max int) []miss[V] {
	closest := map[*entity.Route]miss[V]{}
	seen := map[*rule[V]]bool{}
	for r := range x.rules {
		if seen[r] || s.best != nil && r.route == s.best.route {
			continue
		}
		seen[r] = true
		m := miss[V]{rule: r, failed: r.failures(s.request, s.method)}
		if len(m.failed) == 0 {
			m.fits, m.failed = true, []Failure{outranked(r, s.best)}
		}
		if before, ok := closest[r.route]; !ok || compareMisses(m, before) < 0 {
			closest[r.route] = m
		}
	}
	list := make([]miss[V], 0, len(closest))
	for _, m := range closest {
		list = append(list, m)
	}
	slices.SortFunc(list, compareMisses)
	return list[:min(len(list), max)]
}

func compareMisses[V any](a, b miss[V]) int {
	if a.fits != b.fits {
		if a.fits {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(len(a.failed), len(b.failed)), compareRules(a.rule, b.rule))
}

// rules yields all rules of the index, some of them more than once.
func (x *Index[V]) rules(yield func(*rule[V]) bool) {
	all := func(p paths[V]) bool {
		for l := range p.Values() {
			for r := range l.rules {
				if !yield(r) {
					return false
				}
			}
		}
		return true
	}
	for p := range x.hosts.Values() {
		if !all(p) {
			return
		}
	}
	for p := range x.wild.Values() {
		if !all(p) {
			return
		}
	}
	all(x.anywhere)
}

// outranked says why a rule that fits is not the best.
func outranked[V any](r, best *rule[V]) Failure {
	if r.priority == best.priority {
		return Failure{Attribute: "id", Expected: []string{"above " + best.id.String()}, Got: r.id.String()}
	}
	return Failure{
		Attribute: "priority",
		Expected:  []string{fmt.Sprintf("above %d (%s)", uint64(best.priority), best.priority)},
		Got:       strconv.FormatUint(uint64(r.priority), 10),
	}
}

// failures answers the attributes that do not fit the request.
func (r *rule[V]) failures(req *Request, method methods) []Failure {
	var list []Failure
	fail := func(attribute string, expected []string, got string) {
		list = append(list, Failure{Attribute: attribute, Expected: expected, Got: got})
	}
	route := r.route
	if !fitsHost(route.Hosts, req) {
		fail("host", route.Hosts, req.Host)
	}
	if !r.takes(req, method) {
		fail("method", route.Methods, req.Method)
	}
	if !r.fitsPath(req.Path) {
		fail("path", route.Paths, req.Path)
	}
	c := r.conditions
	if c == nil {
		return list
	}
	for i := range c.headers {
		if h := &c.headers[i]; !h.holds(req.Header) {
			fail("header", route.Headers[h.name], strings.Join(lookUp(req.Header, h.keys), ", "))
			list[len(list)-1].Name = h.name
		}
	}
	if len(c.snis) > 0 && req.TLS && !fitsAny(c.snis, req.SNI) {
		fail("sni", route.SNIs, req.SNI)
	}
	if len(c.sources) > 0 && !within(c.sources, req.Source) {
		fail("source", endpointTexts(route.Sources), addressText(req.Source))
	}
	if len(c.destinations) > 0 && !within(c.destinations, req.Destination) {
		fail("destination", endpointTexts(route.Destinations), addressText(req.Destination))
	}
	return list
}

// fitsHost reports whether one of a route's hosts fits, as the index would
// find it.
func fitsHost(hosts []string, req *Request) bool {
	if len(hosts) == 0 {
		return true
	}
	name, port := splitHost(req.Host)
	if port == anyPort {
		port = uint32(req.Destination.Port())
	}
	return req.Host != "" && slices.ContainsFunc(hosts, func(h string) bool {
		pattern, p := splitHost(h)
		return (p == anyPort || p == port) && fits(pattern, name)
	})
}

// fitsPath reports whether one of the paths fits which make the rule.
func (r *rule[V]) fitsPath(path string) bool {
	if len(r.route.Paths) == 0 {
		return true
	}
	if r.conditions != nil && r.conditions.patterns != nil {
		return r.conditions.pattern(path) != nil
	}
	return slices.ContainsFunc(r.route.Paths, func(p string) bool {
		return len(p) == int(r.length) && strings.HasPrefix(path, p)
	})
}

func endpointTexts(items []entity.Endpoint) []string {
	var list []string
	for _, e := range items {
		switch {
		case e.Port == 0:
			list = append(list, e.IP)
		case e.IP == "":
			list = append(list, fmt.Sprintf("port %d", e.Port))
		default:
			list = append(list, fmt.Sprintf("%s port %d", e.IP, e.Port))
		}
	}
	return list
}

func addressText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return fmt.Sprintf("%s port %d", a.Addr(), a.Port())
}
