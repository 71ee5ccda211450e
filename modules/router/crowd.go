package router

import (
	"encoding/binary"
	"strings"

	"github.com/portcullis-gateway/portcullis/modules/trie"
)

// A crowd is many rules for one host and path, such as those of a service
// that tells its tenants apart by a header. Rules that ask for certain values
// of a header, or for certain server names, are found by these; the others
// are gone through in their order. A crowd never changes.
type crowd[V any] struct {
	rest     ranking[V]
	byHeader trie.Map[headerIndex[V]] // by hash of the name
	bySNI    trie.Map[ranking[V]]     // by hash of the name
	plain    ranking[V]               // what bySNI holds: without TLS, server names count for nothing
}

// A ranking is rules in the order in which they are tried, by entry.rank.
type ranking[V any] = trie.Map[entry[V]]

// A headerIndex holds the rules that ask for certain values of one header.
type headerIndex[V any] struct {
	keys     []string             // where to look for the header
	rankings trie.Map[ranking[V]] // by hash of the value
}

// maxTraits bounds the places of one rule in a crowd. A rule that asks for
// more values than this is not found by them.
const maxTraits = 64

// trait answers the header by whose values a rule is found, if there is one;
// otherwise the server names, if it is found by those.
func (c *conditions) trait() (header *headerCondition, snis []string) {
	if c == nil {
		return nil, nil
	}
	for i := range c.headers {
		if h := &c.headers[i]; len(h.patterns) == 0 && 0 < len(h.values) && len(h.values) <= maxTraits {
			return h, nil
		}
	}
	if len(c.snis) > maxTraits {
		return nil, nil
	}
	for _, name := range c.snis {
		if trie.IsWildcard(name) {
			return nil, nil
		}
	}
	return nil, c.snis
}

// with answers the crowd with an entry more, and whether it is new.
func (c *crowd[V]) with(o trie.Owner, e entry[V]) (*crowd[V], bool) {
	next := *c
	growth := next.each(o, e.rule.conditions, func(m *ranking[V]) { m.Put(o, e.rank(), e) })
	return &next, growth > 0
}

// without answers the crowd without the entry that ranks as e does, and
// whether there was one.
func (c *crowd[V]) without(o trie.Owner, e entry[V]) (*crowd[V], bool) {
	next := *c
	growth := next.each(o, e.rule.conditions, func(m *ranking[V]) { m.Delete(o, e.rank()) })
	return &next, growth < 0
}

// each changes all rankings where a rule with the conditions given stands, and
// answers by how much they grew.
func (c *crowd[V]) each(o trie.Owner, cond *conditions, change func(*ranking[V])) (growth int) {
	counted := func(m *ranking[V]) {
		growth -= m.Len()
		change(m)
		growth += m.Len()
	}
	at := func(index *trie.Map[ranking[V]], h hash) {
		key := h.key()
		m, _ := index.Get(string(key[:]))
		if counted(&m); m.Len() > 0 {
			index.Put(o, string(key[:]), m)
		} else {
			index.Delete(o, string(key[:]))
		}
	}
	header, snis := cond.trait()
	switch {
	case header != nil:
		key := headerHash(header.name).key()
		index, ok := c.byHeader.Get(string(key[:]))
		if !ok {
			index.keys = header.keys
		}
		for _, v := range header.values {
			at(&index.rankings, valueHash(v))
		}
		if index.rankings.Len() > 0 {
			c.byHeader.Put(o, string(key[:]), index)
		} else {
			c.byHeader.Delete(o, string(key[:]))
		}
	case len(snis) > 0:
		for _, name := range snis {
			at(&c.bySNI, offset.text(name))
		}
		counted(&c.plain)
	default:
		counted(&c.rest)
	}
	return growth
}

func (c *crowd[V]) empty() bool {
	return c.rest.Len() == 0 && c.byHeader.Len() == 0 && c.bySNI.Len() == 0
}

// rules yields the rules of a crowd, some of them more than once.
func (c *crowd[V]) rules(yield func(*rule[V]) bool) {
	all := func(m ranking[V]) bool {
		for e := range m.Values() {
			if !yield(e.rule) {
				return false
			}
		}
		return true
	}
	if !all(c.rest) || !all(c.plain) {
		return
	}
	for h := range c.byHeader.Values() {
		for m := range h.rankings.Values() {
			if !all(m) {
				return
			}
		}
	}
}

// A hash is FNV-1a in 64 bits. It only proposes rules, so values that have the
// same hash do no harm.
type hash uint64

const (
	offset hash = 14695981039346656037
	prime  hash = 1099511628211
)

func (h hash) byte(c byte) hash { return (h ^ hash(c)) * prime }

func (h hash) text(s string) hash {
	for i := range len(s) {
		h = h.byte(s[i])
	}
	return h
}

// headerHash answers the hash of a header's name, whatever its spelling.
func headerHash(name string) hash {
	h := offset
	for i := range len(name) {
		c := lower(name[i])
		if c == '_' {
			c = '-'
		}
		h = h.byte(c)
	}
	return h
}

// valueHash answers the hash of a header's value in lower case. It looks at
// the first bytes only: a value can be as long as a client likes.
func valueHash(s string) hash {
	const enough = 64
	for i := range min(len(s), enough) {
		if s[i] >= 0x80 {
			s = strings.ToLower(s)
			break
		}
	}
	h := offset
	for i := range min(len(s), enough) {
		h = h.byte(lower(s[i]))
	}
	return h
}

func (h hash) key() (key [8]byte) {
	binary.BigEndian.PutUint64(key[:], uint64(h))
	return key
}
