package trie

import (
	"math/bits"
	"strings"
	"unsafe"
)

// A node is a key with its value, or the text that longer keys have in common.
// It is written only by the owner it is stamped with; see Owner.
type node[V any] struct {
	key   string
	stamp Owner
	value V
}

// A branch leads to a node and to those below it, which have longer keys. All
// that a search needs on its way stands in the branches, so that it has to wait
// for the memory of nodes only where there is a value, and there compares what
// it has passed.
//
// Branches part by symbols, of which a byte has two: its first two bits, and the
// other six. So a set of symbols is one word, and the branch for one of them is
// found by counting bits.
type branch[V any] struct {
	node  *node[V]   // nil: there is no branch
	first *branch[V] // of those that follow, in the order of their symbols
	next  uint64     // the set of their symbols
	depth uint32     // the number of symbols that all keys here have in common
	full  bool       // the node has a value
}

// symbol answers the symbol at a place of s.
func symbol(s string, at int) uint { return half(s[at/2], at) }

// half answers the symbol of a byte that stands at an even or an odd place.
func half(c byte, at int) uint {
	if at%2 == 0 {
		return uint(c >> 6)
	}
	return uint(c & 63)
}

// branches are those that follow.
func (b *branch[V]) branches() []branch[V] { return unsafe.Slice(b.first, bits.OnesCount64(b.next)) }

// place answers where the branch for a symbol is among those that follow, or
// would be.
func (b *branch[V]) place(symbol uint) (i int, has bool) {
	return bits.OnesCount64(b.next & (1<<symbol - 1)), b.next>>symbol&1 != 0
}

// child answers the branch for a symbol, or nil.
func (b *branch[V]) child(symbol uint) *branch[V] {
	if i, has := b.place(symbol); has {
		return &b.branches()[i]
	}
	return nil
}

// own makes the node, and the branches that follow, such that o may write them.
func (b *branch[V]) own(o Owner) {
	if o != 0 && b.node.stamp == o {
		return
	}
	b.node = &node[V]{b.node.key, o, b.node.value}
	b.follow(append([]branch[V](nil), b.branches()...))
}

// follow lets others follow.
func (b *branch[V]) follow(next []branch[V]) { b.first = unsafe.SliceData(next) }

// link adds a branch, in its place and without spare room: branches are many
// and seldom grow.
func (b *branch[V]) link(child branch[V]) {
	s := symbol(child.node.key, int(b.depth))
	i, _ := b.place(s)
	old := b.branches()
	next := make([]branch[V], len(old)+1)
	copy(next, old[:i])
	next[i] = child
	copy(next[i+1:], old[i:])
	b.follow(next)
	b.next |= 1 << s
}

// unlink removes the branch for a symbol.
func (b *branch[V]) unlink(symbol uint) {
	i, _ := b.place(symbol)
	old := b.branches()
	next := make([]branch[V], len(old)-1)
	copy(next, old[:i])
	copy(next[i:], old[i+1:])
	b.follow(next)
	b.next &^= 1 << symbol
}

// set puts the value of the key that ends here into the room or, if that is nil,
// into the node that o owns.
func (b *branch[V]) set(o Owner, room *node[V], key string, v V) {
	if room == nil {
		room = b.node
	}
	if room == nil {
		room = new(node[V])
	}
	*room = node[V]{key, o, v}
	b.node, b.full = room, true
}

// put sets one key, whose own node is made in the room, and reports whether the
// key is new. The first symbols of the key, as many as known says, are those of
// the branch.
func (b *branch[V]) put(o Owner, room *node[V], key string, known int, v V) bool {
	end := 2 * len(key)
	if b.node == nil {
		b.depth = uint32(end)
		b.set(o, room, key, v)
		return true
	}
	common := known
	for common < min(end, int(b.depth)) && symbol(key, common) == symbol(b.node.key, common) {
		common++
	}
	if common == int(b.depth) {
		b.own(o)
	} else {
		lower := *b
		*b = branch[V]{depth: uint32(common)}
		b.link(lower)
		if common < end {
			b.node = &node[V]{key: strings.Clone(key[:(common+1)/2]), stamp: o}
		}
	}
	if common == end {
		added := !b.full
		b.set(o, room, key, v)
		return added
	}
	if child := b.child(symbol(key, common)); child != nil {
		return child.put(o, room, key, common, v)
	}
	var child branch[V]
	child.put(o, room, key, common, v)
	b.link(child)
	return true
}

// remove removes a key that is there.
func (b *branch[V]) remove(o Owner, key string) {
	b.own(o)
	if int(b.depth) == 2*len(key) {
		b.full = false
		*b.node = node[V]{key: strings.Clone(key), stamp: o}
	} else {
		s := symbol(key, int(b.depth))
		child := b.child(s)
		if child.remove(o, key); child.node == nil {
			b.unlink(s)
		}
	}
	switch {
	case b.full:
	case b.next == 0:
		*b = branch[V]{}
	case b.next&(b.next-1) == 0:
		*b = *b.first
	}
}

func (b *branch[V]) all(yield func(string, V) bool) bool {
	if b.full && !yield(b.node.key, b.node.value) {
		return false
	}
	next := b.branches()
	for i := range next {
		if !next[i].all(yield) {
			return false
		}
	}
	return true
}

func (b *branch[V]) values(yield func(V) bool) bool {
	if b.full && !yield(b.node.value) {
		return false
	}
	next := b.branches()
	for i := range next {
		if !next[i].values(yield) {
			return false
		}
	}
	return true
}
