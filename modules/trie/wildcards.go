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
	suffix   *node[V] // the next to look at
	known    int      // so many bytes at the end of the name are those of the nodes passed
	prefixes Prefixes[V]
}

// Next moves to the next pattern that fits, and reports whether there is one.
func (m *Matches[V]) Next() bool {
	for n := m.suffix; n != nil; {
		depth, name := len(n.key), m.name
		if len(name) < depth {
			break
		}
		var next *node[V]
		if len(name) > depth {
			next = n.child(name[len(name)-1-depth])
		}
		if n.full() {
			for ; m.known < depth && name[len(name)-1-m.known] == n.key[m.known]; m.known++ {
			}
			if m.known < depth {
				break
			}
			m.at, m.suffix = n, next
			return true
		}
		n = next
	}
	m.suffix = nil
	if m.prefixes.Next() {
		m.at = m.prefixes.at
		return true
	}
	return false
}

// Value answers the value that the last successful Next moved to.
func (m *Matches[V]) Value() V { return m.at.value }
