// Package trie holds maps from strings that are immutable to their readers: a
// change makes a new map, which shares with the old one all that it did not
// touch.
//
// The maps are radix trees, so they also answer which of their keys are a
// prefix of a string. They are small (hardly more than one node for a key,
// which refers to the key and does not copy it), and reading them takes no lock
// and allocates nothing. What a search waits for are one line of memory for each
// place at which keys part, and the keys that it finds.
package trie

import "iter"

// Map is an ordered map from strings, of any bytes, to values. The zero Map is
// empty.
//
// A Map is a small value, to be copied freely: whoever has a copy sees the
// content that it had, whatever becomes of others. It is safe for concurrent
// reading. To change a map, either take an [Edit], or, for a map that is
// itself a value in a map, use Put and Delete with an [Owner].
type Map[V any] struct {
	root branch[V]
	size int
}

// Len answers the number of keys.
func (m Map[V]) Len() int { return m.size }

// Get answers the value of a key, and whether there is one.
func (m Map[V]) Get(key string) (V, bool) {
	b := &m.root
	for b != nil && int(b.depth) < 2*len(key) {
		b = b.child(symbol(key, int(b.depth)))
	}
	if b != nil && b.full && b.node.key == key {
		return b.node.value, true
	}
	var none V
	return none, false
}

// All yields keys and values in the order of the keys' bytes.
func (m Map[V]) All() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) { m.root.all(yield) }
}

// Values yields the values in the order of their keys.
func (m Map[V]) Values() iter.Seq[V] {
	return func(yield func(V) bool) { m.root.values(yield) }
}

// Prefixes finds the keys that s starts with, the shortest first:
//
//	for p := m.Prefixes(s); p.Next(); {
//		use(p.Value())
//	}
func (m Map[V]) Prefixes(s string) Prefixes[V] {
	return Prefixes[V]{next: m.root, s: s}
}

// Prefixes walks the values whose keys are a prefix of a string.
type Prefixes[V any] struct {
	at    *node[V]
	next  branch[V]
	s     string
	known int // so many bytes of s are those of the nodes passed
}

// Next moves to the next longer prefix, the first time to the shortest, and
// reports whether there is one.
func (p *Prefixes[V]) Next() bool {
	for b := p.next; b.node != nil; {
		depth := int(b.depth)
		if 2*len(p.s) < depth {
			break
		}
		var next branch[V]
		if 2*len(p.s) > depth {
			if child := b.child(symbol(p.s, depth)); child != nil {
				next = *child
			}
		}
		if b.full {
			if b.node.key[p.known:] != p.s[p.known:depth/2] {
				break
			}
			p.at, p.next, p.known = b.node, next, depth/2
			return true
		}
		b = next
	}
	p.next = branch[V]{}
	return false
}

// Value answers the value that the last successful Next moved to.
func (p *Prefixes[V]) Value() V { return p.at.value }
