package router

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/trie"
)

// Flow is what a stream route is chosen by: a TCP connection or the first
// datagram of a UDP session.
type Flow struct {
	// Protocol is how the flow came: "tcp", "udp", or "tls" for a connection
	// that began with a ClientHello where TLS is expected. Unlike in Kong's
	// default flavor, routes are only for flows of their own protocols: "tls"
	// is for routes with tls or tls_passthrough, the others are for routes
	// that name them.
	Protocol string

	// SNI is the server name in the ClientHello, in lower case; empty if there
	// is none. Routes with snis want one of these.
	SNI string

	// Source is the client's address, Destination the one that it connected
	// to, with the port as seen from outside (after port_maps).
	Source, Destination netip.AddrPort
}

// plainAddrs is the flow with addresses as the index has them.
func (f *Flow) plainAddrs() Flow {
	plain := *f
	plain.Source, plain.Destination = plainAddr(f.Source), plainAddr(f.Destination)
	return plain
}

func plainAddr(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// StreamIndex holds the stream routes of a gateway, each with a value of the
// caller's. It is immutable: Edit makes the next one, which shares with it all
// that the change does not touch.
//
// A route stands at each of its server names, or with all others that have
// none; there at each of its destinations, and there at each of its sources. So
// the routes that can fit a flow are those in a few places; which of them is
// taken, their priorities decide.
type StreamIndex[V any] struct {
	names    trie.Map[destinations[V]]       // by exact server name
	wild     trie.Wildcards[destinations[V]] // by server names with a wildcard
	nameless destinations[V]
	size     int
}

type (
	destinations[V any] = side[sources[V]]
	sources[V any]      = side[streamRanking[V]]

	// A streamRanking is rules in the order in which they are tried.
	streamRanking[V any] = trie.Map[*streamRule[V]]
)

// A streamRule is a route as the index holds it.
type streamRule[V any] struct {
	priority              StreamPriority
	route                 *entity.Route
	value                 V
	snis                  []string
	sources, destinations []endpoint
	protocols             protocolSet
	bySource              bool // whether the places say all about sources
}

// maxPlaces bounds how many places a route takes under one server name. Of
// routes with many sources and many destinations, the index finds those with a
// fitting destination, and looks at their sources one by one.
const maxPlaces = 64

// NewStreams answers an empty index.
func NewStreams[V any]() *StreamIndex[V] { return &StreamIndex[V]{} }

// Len answers the number of routes.
func (x *StreamIndex[V]) Len() int { return x.size }

// Edit begins a batch of changes; x stays as it is.
func (x *StreamIndex[V]) Edit() *StreamEdit[V] { return &StreamEdit[V]{x: *x, owner: trie.NewOwner()} }

// StreamEdit is a batch of changes to an index. A change costs what it touches.
// It is for one goroutine.
type StreamEdit[V any] struct {
	x     StreamIndex[V]
	owner trie.Owner
}

// Index answers the index as it now is. The batch may go on: what follows does
// not change the answer.
func (e *StreamEdit[V]) Index() *StreamIndex[V] {
	x := e.x
	e.owner = trie.NewOwner()
	return &x
}

// Add puts a route into the index, along with the value that a match answers.
// The route is kept and must not change any more; one with the same id must
// have been removed before.
//
// The error says what does not compile and names the field, as in
// "sources[2].ip"; then nothing was added. Routes that are not for streams, and
// routes that set no attribute to match by, match nothing.
func (e *StreamEdit[V]) Add(r *entity.Route, v V) error {
	rule, err := newStreamRule(r, v)
	if err != nil || rule == nil {
		return err
	}
	rank := rule.rank()
	grown := e.place(rule, func(m streamRanking[V]) (streamRanking[V], bool) {
		m.Put(e.owner, rank, rule)
		return m, true
	})
	if grown > 0 {
		e.x.size++
	}
	return nil
}

// Remove takes a route out of the index. The route has to have the id and the
// attributes that it was added with; one that was not added is ignored.
func (e *StreamEdit[V]) Remove(r *entity.Route) {
	var none V
	rule, err := newStreamRule(r, none)
	if err != nil || rule == nil {
		return
	}
	rank := rule.rank()
	grown := e.place(rule, func(m streamRanking[V]) (streamRanking[V], bool) {
		m.Delete(e.owner, rank)
		return m, m.Len() > 0
	})
	if grown < 0 {
		e.x.size--
	}
}

// place changes the rankings where a rule stands, and answers by how many
// entries they grew.
func (e *StreamEdit[V]) place(rule *streamRule[V], c change[streamRanking[V]]) (grown int) {
	counted := func(m streamRanking[V]) (streamRanking[V], bool) {
		before := m.Len()
		m, keep := c(m)
		grown += m.Len() - before
		return m, keep
	}
	everywhere := []endpoint{{}}
	to, from := rule.destinations, rule.sources
	if len(to) == 0 {
		to = everywhere
	}
	if len(from) == 0 || !rule.bySource {
		from = everywhere
	}
	under := func(d destinations[V]) destinations[V] {
		for _, dst := range to {
			d = d.set(e.owner, dst, func(s sources[V]) (sources[V], bool) {
				for _, src := range from {
					s = s.set(e.owner, src, counted)
				}
				return s, !s.empty()
			})
		}
		return d
	}
	if len(rule.snis) == 0 {
		e.x.nameless = under(e.x.nameless)
		return grown
	}
	for _, name := range rule.snis {
		if trie.IsWildcard(name) {
			d, _ := e.x.wild.Get(name)
			if d = under(d); d.empty() {
				e.x.wild.Delete(e.owner, name)
			} else {
				e.x.wild.Put(e.owner, name, d)
			}
			continue
		}
		d, _ := e.x.names.Get(name)
		if d = under(d); d.empty() {
			e.x.names.Delete(e.owner, name)
		} else {
			e.x.names.Put(e.owner, name, d)
		}
	}
	return grown
}

// newStreamRule compiles a route; nil if it is not for streams or matches
// nothing.
func newStreamRule[V any](r *entity.Route, v V) (*streamRule[V], error) {
	if !isStream(r) || len(r.SNIs)+len(r.Sources)+len(r.Destinations) == 0 {
		return nil, nil
	}
	rule := &streamRule[V]{
		priority:  streamPriority(r),
		route:     r,
		value:     v,
		snis:      serverNames(r.SNIs),
		protocols: protocolsOf(r.Protocols),
	}
	var err error
	if rule.sources, err = newEndpoints("sources", r.Sources); err != nil {
		return nil, err
	}
	if rule.destinations, err = newEndpoints("destinations", r.Destinations); err != nil {
		return nil, err
	}
	n := len(rule.destinations)
	rule.bySource = n == 0 || n*len(rule.sources) <= maxPlaces
	return rule, nil
}

// outranks reports whether a route is tried before another.
func (r *streamRule[V]) outranks(other *streamRule[V]) bool {
	if r.priority != other.priority {
		return r.priority > other.priority
	}
	return bytes.Compare(r.route.ID[:], other.route.ID[:]) > 0
}

// rank answers a string that sorts by outranks.
func (r *streamRule[V]) rank() string {
	b := make([]byte, 0, 8+len(uuid.UUID{}))
	b = binary.BigEndian.AppendUint64(b, ^uint64(r.priority))
	for _, c := range r.route.ID {
		b = append(b, ^c)
	}
	return string(b)
}

// A protocolSet is the protocols that a route takes.
type protocolSet uint8

const (
	overTCP protocolSet = 1 << iota
	overTLS
	overPassthrough
	overUDP
)

func protocolsOf(names []string) (set protocolSet) {
	for _, name := range names {
		switch name {
		case "tcp":
			set |= overTCP
		case "tls":
			set |= overTLS
		case "tls_passthrough":
			set |= overPassthrough
		case "udp":
			set |= overUDP
		}
	}
	return set
}

// protocolsFor are those of which a route needs one to take the flow.
func (f *Flow) protocolsFor() protocolSet {
	set := protocolsOf([]string{f.Protocol})
	if set&overTLS != 0 {
		set |= overPassthrough
	}
	return set
}

// Match finds the route that a flow takes.
func (x *StreamIndex[V]) Match(f *Flow) (v V, ok bool) {
	if best := x.best(f); best != nil {
		return best.value, true
	}
	return v, false
}

func (x *StreamIndex[V]) best(f *Flow) (best *streamRule[V]) {
	flow, wanted := f.plainAddrs(), f.protocolsFor()
	ranking := func(m *streamRanking[V]) {
		for rule := range m.Values() {
			if best != nil && !rule.outranks(best) {
				return
			}
			if rule.protocols&wanted != 0 && (rule.bySource || within(rule.sources, flow.Source)) {
				best = rule
				return
			}
		}
	}
	from := func(s *sources[V]) { s.match(flow.Source, ranking) }
	if flow.SNI != "" {
		if d, ok := x.names.Get(flow.SNI); ok {
			d.match(flow.Destination, from)
		}
		for p := x.wild.Match(flow.SNI); p.Next(); {
			d := p.Value()
			d.match(flow.Destination, from)
		}
	}
	x.nameless.match(flow.Destination, from)
	return best
}

// rules are all rules of the index, some of them more than once. They are
// collected: a yield that is called by closures within closures like these may
// be kept on a stack that has moved meanwhile (Go 1.26.8).
func (x *StreamIndex[V]) rules() (all []*streamRule[V]) {
	ranking := func(m *streamRanking[V]) bool {
		for r := range m.Values() {
			all = append(all, r)
		}
		return true
	}
	from := func(s *sources[V]) bool { return s.all(ranking) }
	for d := range x.names.Values() {
		d.all(from)
	}
	for d := range x.wild.Values() {
		d.all(from)
	}
	x.nameless.all(from)
	return all
}
