package router

import (
	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/trie"
)

// Index holds the HTTP routes of a gateway, each with a value of the caller's.
// It is immutable: Edit makes the next one, which shares with it all that the
// change does not touch.
//
// Each host that a route names leads to a trie of paths, as do the routes
// without hosts all together. In it a route stands at each of its prefixes, at
// the text that its regular expressions start with, or, without paths, at the
// root. So the routes that can fit a request are those on one way through a
// few tries; which of them is taken, their priorities decide.
//
// With very many routes most of the time goes into waiting for memory. So a place
// of a trie, its path, the rule that stands there and the caller's value are one
// piece of it; see home.
type Index[V any] struct {
	hosts    trie.Map[paths[V]]       // by exact host
	wild     trie.Wildcards[paths[V]] // by hosts with a wildcard
	anywhere paths[V]                 // routes without hosts
	size     int
	headers  int // how many routes match by headers

	// What is in wild and anywhere, so that a match can do without them.
	wildCensus, anywhereCensus census
}

// paths are the rules for one host by path.
type paths[V any] = trie.Map[leaf[V]]

// New answers an empty index.
func New[V any]() *Index[V] { return &Index[V]{} }

// Len answers the number of routes.
func (x *Index[V]) Len() int { return x.size }

// ReadsHeaders reports whether a match looks at the headers of requests.
func (x *Index[V]) ReadsHeaders() bool { return x.headers > 0 }

// Edit begins a batch of changes; x stays as it is.
func (x *Index[V]) Edit() *Edit[V] { return &Edit[V]{x: *x, owner: trie.NewOwner()} }

// Edit is a batch of changes to an index. A change costs what it touches: the
// ways to the route's hosts and paths. It is for one goroutine.
type Edit[V any] struct {
	x     Index[V]
	owner trie.Owner
}

// Index answers the index as it now is. The batch may go on: what follows does
// not change the answer.
func (e *Edit[V]) Index() *Index[V] {
	x := e.x
	e.owner = trie.NewOwner()
	return &x
}

// Add puts a route into the index, along with the value that a match answers.
// The route is kept and must not change any more; one with the same id must
// have been removed before.
//
// The error says what does not compile and names the field, as in "paths[2]";
// then nothing was added. Routes of protocols that are not HTTP, and routes
// that set no attribute to match by, match nothing.
func (e *Edit[V]) Add(r *entity.Route, v V) error {
	rules, err := compile(r, v)
	if err != nil {
		return err
	}
	added := false
	e.place(r, rules, func(p *paths[V], key string, s *placed[V], port uint32) int {
		l, _ := p.Get(key)
		var h *home[V]
		if s.kept == nil && l.empty() {
			h = newHome(&s.rule)
			s.kept = &h.rule
		} else if s.kept == nil {
			s.kept = new(s.rule)
		}
		l, isNew := l.with(e.owner, entry[V]{s.kept, port})
		if h != nil {
			p.PutIn(e.owner, &h.room, h.text(key), l)
		} else {
			p.Put(e.owner, key, l)
		}
		if !isNew {
			return 0
		}
		added = true
		return 1
	})
	if added {
		e.x.count(r, 1)
	}
	return nil
}

// Remove takes a route out of the index. The route has to have the id and the
// attributes that it was added with; one that was not added is ignored.
func (e *Edit[V]) Remove(r *entity.Route) {
	var none V
	rules, err := compile(r, none)
	if err != nil {
		return
	}
	removed := false
	e.place(r, rules, func(p *paths[V], key string, s *placed[V], port uint32) int {
		l, ok := p.Get(key)
		if !ok {
			return 0
		}
		l, had := l.without(e.owner, entry[V]{&s.rule, port})
		switch {
		case !had:
			return 0
		case l.empty():
			p.Delete(e.owner, key)
		default:
			p.Put(e.owner, key, l)
		}
		removed = true
		return -1
	})
	if removed {
		e.x.count(r, -1)
	}
}

// count counts a route that was added or removed.
func (x *Index[V]) count(r *entity.Route, n int) {
	x.size += n
	if len(r.Headers) > 0 {
		x.headers += n
	}
}

// place calls change for each place where rules of a route stand. It answers
// by how many entries the place grew.
func (e *Edit[V]) place(r *entity.Route, rules []placed[V], change func(p *paths[V], key string, s *placed[V], port uint32) int) {
	if isStream(r) || !matchable(r) {
		return
	}
	each := func(p *paths[V], port uint32, c *census) {
		for i := range rules {
			s := &rules[i]
			for _, key := range s.keys {
				if n := change(p, key, s, port); c != nil {
					c.count(s.rule.priority, n)
				}
			}
		}
	}
	if len(r.Hosts) == 0 {
		each(&e.x.anywhere, anyPort, &e.x.anywhereCensus)
		return
	}
	for _, h := range r.Hosts {
		host, port := splitHost(h)
		if trie.IsWildcard(host) {
			p, _ := e.x.wild.Get(host)
			each(&p, port, &e.x.wildCensus)
			if p.Len() > 0 {
				e.x.wild.Put(e.owner, host, p)
			} else {
				e.x.wild.Delete(e.owner, host)
			}
			continue
		}
		p, _ := e.x.hosts.Get(host)
		each(&p, port, nil)
		if p.Len() > 0 {
			e.x.hosts.Put(e.owner, host, p)
		} else {
			e.x.hosts.Delete(e.owner, host)
		}
	}
}

// isStream reports whether a route is for TCP, TLS or UDP. The protocols of a
// route are of one kind.
func isStream(r *entity.Route) bool {
	if len(r.Protocols) == 0 {
		return false
	}
	switch r.Protocols[0] {
	case "tcp", "tls", "tls_passthrough", "udp":
		return true
	}
	return false
}

// matchable reports whether a route sets an attribute to match by.
func matchable(r *entity.Route) bool {
	return priority(r, false, 0)>>attributesShift > 0
}

// A census counts rules by their class, the highest bits of a priority.
type census struct {
	classes [1 << (64 - classShift)]int32
	top     Priority // the highest class there is, or 0
}

const classShift = 60 // attributes, and whether the hosts are plain

func (c *census) count(p Priority, n int) {
	class := p >> classShift
	c.classes[class] += int32(n)
	switch {
	case n > 0:
		c.top = max(c.top, class)
	case n < 0:
		for c.top > 0 && c.classes[c.top] == 0 {
			c.top--
		}
	}
}

// mayOutrank reports whether a rule that was counted can have a priority that
// is not below p.
func (c *census) mayOutrank(p Priority) bool { return c.top >= p>>classShift }
