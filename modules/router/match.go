package router

// Match finds the route that a request takes. It allocates nothing, unless the
// route matches by a regular expression, or a header value that is not in
// lower case has to be compared with one.
func (x *Index[V]) Match(r *Request) (Match[V], bool) {
	s := search[V]{request: r, method: methodOf(r.Method)}
	s.through(x)
	if s.best == nil {
		return Match[V]{}, false
	}
	return Match[V]{Value: &s.best.value, Path: s.best.found(r.Path)}, true
}

// A search is one match under way.
type search[V any] struct {
	request *Request
	method  methods
	port    uint32   // that hosts with a port are compared with
	best    *rule[V] // so far
}

// through looks at all places of the index that fit the request, those first
// which are likely to make others needless.
func (s *search[V]) through(x *Index[V]) {
	if s.request.Host != "" {
		host, port := splitHost(s.request.Host)
		if port == anyPort {
			port = uint32(s.request.Destination.Port())
		}
		s.port = port
		if p, ok := x.hosts.Get(host); ok {
			s.along(p)
		}
		if x.wild.Len() > 0 && s.wants(&x.wildCensus) {
			for m := x.wild.Match(host); m.Next(); {
				s.along(m.Value())
			}
		}
	}
	if x.anywhere.Len() > 0 && s.wants(&x.anywhereCensus) {
		s.along(x.anywhere)
	}
}

// wants reports whether a rule that was counted could be better than the best.
func (s *search[V]) wants(c *census) bool {
	return s.best == nil || c.mayOutrank(s.best.priority)
}

// along looks at all leaves on the way of the request's path.
func (s *search[V]) along(p paths[V]) {
	for at := p.Prefixes(s.request.Path); at.Next(); {
		l := at.Value()
		switch {
		case l.one != nil:
			s.try(l.one)
		case l.more.crowd != nil:
			s.crowd(l.more.crowd)
		default:
			for _, e := range l.more.few {
				if s.done(e) {
					break
				}
			}
		}
	}
}

// crowd looks at the rules of a crowd that the request can have the traits of.
func (s *search[V]) crowd(c *crowd[V]) {
	s.ranking(c.rest)
	switch {
	case c.bySNI.Len() == 0:
	case !s.request.TLS:
		s.ranking(c.plain)
	case s.request.SNI != "":
		key := offset.text(s.request.SNI).key()
		if m, ok := c.bySNI.Get(string(key[:])); ok {
			s.ranking(m)
		}
	}
	if c.byHeader.Len() <= len(s.request.Header) {
		for h := range c.byHeader.Values() {
			s.header(h)
		}
		return
	}
	for name := range s.request.Header {
		key := headerHash(name).key()
		if h, ok := c.byHeader.Get(string(key[:])); ok {
			s.header(h)
		}
	}
}

func (s *search[V]) header(h headerIndex[V]) {
	for _, v := range lookUp(s.request.Header, h.keys) {
		key := valueHash(v).key()
		if m, ok := h.rankings.Get(string(key[:])); ok {
			s.ranking(m)
		}
	}
}

func (s *search[V]) ranking(m ranking[V]) {
	for e := range m.Values() {
		if s.done(e) {
			return
		}
	}
}

// done tries an entry, and reports whether those that rank below it, in its
// place, are needless.
func (s *search[V]) done(e entry[V]) bool {
	if e.port != anyPort && e.port != s.port {
		return s.best != nil && !e.rule.outranks(s.best)
	}
	return s.try(e.rule)
}

// try makes a rule the best if it is, and reports whether those that rank
// below it, in its place, are needless.
func (s *search[V]) try(r *rule[V]) bool {
	if s.best != nil && !r.outranks(s.best) {
		return true
	}
	if !r.holds(s.request, s.method) {
		return false
	}
	s.best = r
	return true
}
