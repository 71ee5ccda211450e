// Package snapshot compiles entities into the immutable value that requests
// read.
package snapshot

import (
	"iter"
	"maps"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/certs"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/router"
	"github.com/portcullis-gateway/portcullis/modules/store"
	"github.com/portcullis-gateway/portcullis/modules/trie"
)

// Snapshot is the compiled world. It never changes: Apply makes the next one,
// which shares with it all that the changes do not touch.
type Snapshot struct {
	routes    *router.Index[Route]
	streams   *router.StreamIndex[*Route]
	services  trie.Map[*Service]  // by the 16 bytes of the id
	upstreams trie.Map[*Upstream] // by name, as services name them
	trusting  trie.Map[uuid.UUID] // services that have ca_certificates, by id
	certs     *certs.Set
	problems  map[rowKey]Problem // never written after the snapshot is published
	pools     *balancer.Pools
	plans     map[uuid.UUID]*balancer.Plan // of upstreams that the last Apply touched; nil: gone

	loader    *plugin.Loader // nil: plugins are not loaded
	instances trie.Map[*plugin.Instance]
	globals   *plugin.Globals  // nil: there has never been a plugin
	epoch     *plugin.Epoch    // the same
	turnover  *plugin.Turnover // the same; only the writer touches it
}

type rowKey struct {
	table string
	id    uuid.UUID
}

// Problem is a row that could not be compiled.
type Problem struct {
	Table  string `json:"table"`
	ID     string `json:"id"`
	Reason string `json:"reason"`

	tolerated bool // not a reason to refuse a write
}

// Match is the outcome of routing a request.
type Match struct {
	Route   *Route
	Service *Service // nil if the route has none

	// What the router found in the path; see router.Match.
	router.Path
}

// New compiles all that the image holds. Rows that do not compile become
// problems. The pools are those of all snapshots of one world.
// Plugins are not loaded; see NewWithPlugins.
func New(im *store.Image, pools *balancer.Pools) *Snapshot { return build(im, pools, nil) }

func build(im *store.Image, pools *balancer.Pools, loader *plugin.Loader) *Snapshot {
	empty := &Snapshot{routes: router.New[Route](), streams: router.NewStreams[*Route](), certs: certs.New(), pools: pools, loader: loader}
	e := empty.edit(im)
	for _, table := range []string{"certificates", "snis", "upstreams", "services", "plugins", "routes"} {
		im.Ascend(table, uuid.Nil, func(r *store.Row) bool {
			e.change(store.Change{Table: table, After: r})
			return true
		})
		clear(e.regroup) // the routes are still to come
	}
	s, _ := e.finish()
	return s
}

// Apply answers the snapshot of im, which differs from the image of s by the
// changes. Changed rows that do not compile are answered as refused; the next
// snapshot counts them as problems.
func (s *Snapshot) Apply(im *store.Image, changes []store.Change) (next *Snapshot, refused []Problem) {
	if len(changes) == 0 {
		return s, nil
	}
	e := s.edit(im)
	for _, c := range changes {
		e.change(c)
	}
	return e.finish()
}

// Publish makes the pools follow what New or the last Apply found: those of the
// upstreams that it touched. The pools are shared by all snapshots of a world, so
// of snapshots that were made of the same changes one is enough.
func (s *Snapshot) Publish() {
	for id, plan := range s.plans {
		if plan != nil {
			s.pools.Of(id).Follow(plan)
		} else if p, ok := s.pools.Get(id); ok {
			p.Follow(nil)
		}
	}
	s.pools.Settle()
}

// Discard forgets what was made for a snapshot that will not be published. After
// Live it is harmless.
func (s *Snapshot) Discard() {
	s.pools.Settle()
	if s.turnover != nil {
		s.turnover.Undo()
	}
}

// ReadsHeaders reports whether Match looks at the headers of requests. Else they
// need not be there.
func (s *Snapshot) ReadsHeaders() bool { return s.routes.ReadsHeaders() }

// Match finds the route of a request and the service behind it.
func (s *Snapshot) Match(r *router.Request) (Match, bool) {
	m, ok := s.routes.Match(r)
	if !ok {
		return Match{}, false
	}
	return Match{Route: m.Value, Service: s.serviceOf(m.Value), Path: m.Path}, true
}

// MatchStream finds the route of a TCP connection or UDP session and the
// service behind it.
func (s *Snapshot) MatchStream(f *router.Flow) (Match, bool) {
	route, ok := s.streams.Match(f)
	if !ok {
		return Match{}, false
	}
	return Match{Route: route, Service: s.serviceOf(route)}, true
}

// serviceOf is the service of a route; nil if it has none.
func (s *Snapshot) serviceOf(r *Route) *Service {
	if !r.served {
		return nil
	}
	service, _ := s.services.Get(string(r.service[:]))
	return service
}

// Explain tells which route a request would take, and why others would not.
func (s *Snapshot) Explain(r *router.Request, max int) router.Explanation {
	return s.routes.Explain(r, max)
}

// ExplainStream does the same for a TCP connection or UDP session.
func (s *Snapshot) ExplainStream(f *router.Flow, max int) router.Explanation {
	return s.streams.Explain(f, max)
}

// Upstream finds an upstream by the name that a service has as its host.
func (s *Snapshot) Upstream(name string) (*Upstream, bool) { return s.upstreams.Get(name) }

// Certificates answers the certificates that the gateway serves, by name.
func (s *Snapshot) Certificates() *certs.Set { return s.certs }

// Problems yields the rows that do not compile, in no order.
func (s *Snapshot) Problems() iter.Seq[Problem] { return maps.Values(s.problems) }
