package trie

import "strings"

// A node stands for the keys that start with its own. It is written only by
// the owner it is stamped with; see Owner.
//
// Going down, only the lengths of keys and the byte behind each are looked at:
// the bytes in between are compared once, where there is a value. That halves
// the memory that a search has to wait for.
type node[V any] struct {
	key   string // from the root; a piece of a key that was put
	edges []edge[V]
	stamp uint64 // the owner, shifted by one, and in the last bit whether there is a value
	value V
}

// An edge leads to a child. Edges are sorted by the byte that follows the
// node's key in that of the child.
type edge[V any] struct {
	next byte
	node *node[V]
}

// newNode makes a node in the room; nil: anywhere.
func newNode[V any](o Owner, room *node[V], key string) *node[V] {
	if room == nil {
		room = new(node[V])
	}
	room.key, room.stamp = key, uint64(o)<<1
	return room
}

func (n *node[V]) full() bool { return n.stamp&1 != 0 }

func (n *node[V]) set(v V) {
	n.value = v
	n.stamp |= 1
}

// clear forgets the value, and the memory that the key was put with.
func (n *node[V]) clear() {
	var none V
	n.value = none
	n.stamp &^= 1
	n.key = strings.Clone(n.key)
}

// child answers the child that b leads to, or nil.
func (n *node[V]) child(b byte) *node[V] {
	if i, ok := n.find(b); ok {
		return n.edges[i].node
	}
	return nil
}

// find answers the place of the edge for b, and whether it is there.
func (n *node[V]) find(b byte) (int, bool) {
	lo, hi := 0, len(n.edges)
	for hi-lo > 8 { // below, going one by one is faster
		if mid := int(uint(lo+hi) / 2); n.edges[mid].next < b {
			lo = mid + 1
		} else {
			hi = mid + 1
		}
	}
	for lo < hi && n.edges[lo].next < b {
		lo++
	}
	return lo, lo < len(n.edges) && n.edges[lo].next == b
}

// own answers n if o may write it, else a copy that o may write.
func (n *node[V]) own(o Owner) *node[V] {
	if o != 0 && n.stamp>>1 == uint64(o) {
		return n
	}
	c := *n
	c.stamp = uint64(o)<<1 | n.stamp&1
	c.edges = append(make([]edge[V], 0, len(n.edges)), n.edges...)
	return &c
}

// link adds an edge to a child, in its place and without spare room: nodes are
// many and seldom grow.
func (n *node[V]) link(child *node[V]) {
	b := child.key[len(n.key)]
	i, _ := n.find(b)
	edges := make([]edge[V], len(n.edges)+1)
	copy(edges, n.edges[:i])
	edges[i] = edge[V]{b, child}
	copy(edges[i+1:], n.edges[i:])
	n.edges = edges
}

// unlink removes the edge at i.
func (n *node[V]) unlink(i int) {
	var edges []edge[V]
	if len(n.edges) > 1 {
		edges = make([]edge[V], len(n.edges)-1)
		copy(edges, n.edges[:i])
		copy(edges[i:], n.edges[i+1:])
	}
	n.edges = edges
}

// put answers the tree of n with one key set, and whether the key is new. The
// key's own node is made in the room. The first bytes of the key, as many as
// known says, are those of n.
func (n *node[V]) put(o Owner, room *node[V], key string, known int, v V) (*node[V], bool) {
	if n == nil {
		n = newNode(o, room, key)
		n.set(v)
		return n, true
	}
	common := known
	for common < min(len(key), len(n.key)) && key[common] == n.key[common] {
		common++
	}
	here := common == len(key)
	switch {
	case common == len(n.key):
		n = n.own(o)
		if here && room != nil {
			*room = *n
			n = room
		}
	case here:
		upper := newNode(o, room, key)
		upper.link(n)
		n = upper
	default:
		upper := newNode[V](o, nil, strings.Clone(key[:common]))
		upper.link(n)
		n = upper
	}
	if here {
		added := !n.full()
		n.set(v)
		return n, added
	}
	i, ok := n.find(key[common])
	if !ok {
		child, _ := (*node[V])(nil).put(o, room, key, common, v)
		n.link(child)
		return n, true
	}
	child, added := n.edges[i].node.put(o, room, key, common, v)
	n.edges[i].node = child
	return n, added
}

// remove answers the tree of n without a key that is there; nil if nothing is
// left.
func (n *node[V]) remove(o Owner, key string) *node[V] {
	n = n.own(o)
	if len(n.key) == len(key) {
		n.clear()
	} else {
		i, _ := n.find(key[len(n.key)])
		if child := n.edges[i].node.remove(o, key); child != nil {
			n.edges[i].node = child
		} else {
			n.unlink(i)
		}
	}
	switch {
	case n.full() || len(n.edges) > 1:
		return n
	case len(n.edges) == 0:
		return nil
	}
	return n.edges[0].node
}

func (n *node[V]) all(yield func(string, V) bool) bool {
	if n == nil {
		return true
	}
	if n.full() && !yield(n.key, n.value) {
		return false
	}
	for i := range n.edges {
		if !n.edges[i].node.all(yield) {
			return false
		}
	}
	return true
}

func (n *node[V]) values(yield func(V) bool) bool {
	if n == nil {
		return true
	}
	if n.full() && !yield(n.value) {
		return false
	}
	for i := range n.edges {
		if !n.edges[i].node.values(yield) {
			return false
		}
	}
	return true
}
