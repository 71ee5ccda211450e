package trie

// A node stands for the keys that start with the labels on the way to it. It
// is written only by the owner it is stamped with; see Owner.
type node[V any] struct {
	label string // what it adds to its parent's keys; empty at most in a root
	edges []edge[V]
	stamp uint64 // the owner, shifted by one, and in the last bit whether there is a value
	value V
}

// An edge leads to a child. Edges are sorted by the first byte of the child's
// label, which is repeated here so that a search reads no child but the right
// one.
type edge[V any] struct {
	first byte
	node  *node[V]
}

func newNode[V any](o Owner, label string) *node[V] {
	return &node[V]{label: label, stamp: uint64(o) << 1}
}

func (n *node[V]) full() bool { return n.stamp&1 != 0 }

func (n *node[V]) set(v V) {
	n.value = v
	n.stamp |= 1
}

func (n *node[V]) clear() {
	var none V
	n.value = none
	n.stamp &^= 1
}

// child answers the child whose label starts with b, or nil.
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
		if mid := int(uint(lo+hi) / 2); n.edges[mid].first < b {
			lo = mid + 1
		} else {
			hi = mid + 1
		}
	}
	for lo < hi && n.edges[lo].first < b {
		lo++
	}
	return lo, lo < len(n.edges) && n.edges[lo].first == b
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

// link adds an edge, in its place and without spare room: nodes are many and
// seldom grow.
func (n *node[V]) link(child *node[V]) {
	i, _ := n.find(child.label[0])
	edges := make([]edge[V], len(n.edges)+1)
	copy(edges, n.edges[:i])
	edges[i] = edge[V]{child.label[0], child}
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

// put answers the tree of n with one key set, and whether the key is new.
func (n *node[V]) put(o Owner, key string, v V) (*node[V], bool) {
	if n == nil {
		n = newNode[V](o, key)
		n.set(v)
		return n, true
	}
	common := 0
	for common < len(key) && common < len(n.label) && key[common] == n.label[common] {
		common++
	}
	if common < len(n.label) {
		upper, lower := newNode[V](o, n.label[:common]), n.own(o)
		lower.label = lower.label[common:]
		upper.link(lower)
		n = upper
	} else {
		n = n.own(o)
	}
	key = key[common:]
	if key == "" {
		added := !n.full()
		n.set(v)
		return n, added
	}
	i, ok := n.find(key[0])
	if !ok {
		child, _ := (*node[V])(nil).put(o, key, v)
		n.link(child)
		return n, true
	}
	child, added := n.edges[i].node.put(o, key, v)
	n.edges[i].node = child
	return n, added
}

// remove answers the tree of n without a key that is there; nil if nothing is
// left.
func (n *node[V]) remove(o Owner, key string) *node[V] {
	n = n.own(o)
	key = key[len(n.label):]
	if key == "" {
		n.clear()
	} else {
		i, _ := n.find(key[0])
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
	only := n.edges[0].node.own(o)
	only.label = n.label + only.label
	return only
}

func (n *node[V]) all(prefix []byte, yield func(string, V) bool) bool {
	if n == nil {
		return true
	}
	prefix = append(prefix, n.label...)
	if n.full() && !yield(string(prefix), n.value) {
		return false
	}
	for i := range n.edges {
		if !n.edges[i].node.all(prefix, yield) {
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
