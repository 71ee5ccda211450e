package trie

import (
	"iter"
	"slices"
	"strings"
)

// Wildcards is a map from host patterns with one "*" to values, that answers
// which of them fit a name. The zero Wildcards is empty. It is immutable to
// its readers, as [Map] is.
//
// A pattern that begins with "*" fits the names that end as it does, and one
// that ends with "*" those that start as it does: "*.example.com" fits
// "a.b.example.com", "example.*" fits "example.org". Since the star may stand
// for nothing, the single "*" fits every name.
type Wildcards[V any] struct {
	prefixes Map[V]
	suffixes Map[V] // keys are written backwards
}

// IsWildcard reports whether Wildcards takes the pattern: it begins or ends
// with "*".
func IsWildcard(pattern string) bool {
	return strings.HasPrefix(pattern, "*") || strings.HasSuffix(pattern, "*")
}

// Len answers the number of patterns.
func (w Wildcards[V]) Len() int { return w.prefixes.size + w.suffixes.size }

// Get answers the value of a pattern.
func (w Wildcards[V]) Get(pattern string) (V, bool) {
	m, key := w.place(pattern)
	return m.Get(key)
}

// Put sets the value of a pattern, for which IsWildcard holds, on behalf of a
// batch.
func (w *Wildcards[V]) Put(o Owner, pattern string, v V) {
	m, key := w.place(pattern)
	m.Put(o, key, v)
}

// Delete removes a pattern on behalf of a batch, and reports whether it was
// there.
func (w *Wildcards[V]) Delete(o Owner, pattern string) bool {
	m, key := w.place(pattern)
	return m.Delete(o, key)
}

// place answers the map that a pattern belongs to, and its key there.
func (w *Wildcards[V]) place(pattern string) (*Map[V], string) {
	if strings.HasPrefix(pattern, "*") {
		key := []byte(pattern[1:])
		slices.Reverse(key)
		return &w.suffixes, string(key)
	}
	return &w.prefixes, strings.TrimSuffix(pattern, "*")
}

// Values yields all values, in no promised order.
func (w Wildcards[V]) Values() iter.Seq[V] {
	return func(yield func(V) bool) {
		_ = w.suffixes.root.values(yield) && w.prefixes.root.values(yield)
	}
}

// Match finds the patterns that fit a name, in no promised order:
//
//	for p := w.Match(name); p.Next(); {
//		use(p.Value())
//	}
func (w Wildcards[V]) Match(name string) Matches[V] {
	return Matches[V]{name: name, suffix: w.suffixes.root, prefixes: w.prefixes.Prefixes(name)}
}

// Matches walks the values of the patterns that fit a name.
type Matches[V any] struct {
	name     string
	at       *node[V]
	suffix   branch[V] // the next to look at
	known    int       // so many bytes at the end of the name are those of the nodes passed
	prefixes Prefixes[V]
}

// Next moves to the next pattern that fits, and reports whether there is one.
func (m *Matches[V]) Next() bool {
	for b := m.suffix; b.node != nil; {
		depth, name := int(b.depth), m.name
		if 2*len(name) < depth {
			break
		}
		var next branch[V]
		if 2*len(name) > depth {
			if child := b.child(half(name[len(name)-1-depth/2], depth)); child != nil {
				next = *child
			}
		}
		if b.full {
			for ; m.known < depth/2 && name[len(name)-1-m.known] == b.node.key[m.known]; m.known++ {
			}
			if m.known < depth/2 {
				break
			}
			m.at, m.suffix = b.node, next
			return true
		}
		b = next
	}
	m.suffix = branch[V]{}
	if m.prefixes.Next() {
		m.at = m.prefixes.at
		return true
	}
	return false
}

// Value answers the value that the last successful Next moved to.
func (m *Matches[V]) Value() V { return m.at.value }
