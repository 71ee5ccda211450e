package trie

import (
	"testing"

	"pgregory.net/rapid"
)

// However a tree came about, it has no node that could be done without.
func TestNode_isNeeded(t *testing.T) {
	var check func(t *rapid.T, n *node[int])
	check = func(t *rapid.T, n *node[int]) {
		if !n.full() && len(n.edges) < 2 {
			t.Fatalf("%q has no value and %d children", n.key, len(n.edges))
		}
		for i, e := range n.edges {
			if e.node.key[:len(n.key)] != n.key || e.node.key[len(n.key)] != e.next || i > 0 && n.edges[i-1].next >= e.next {
				t.Fatalf("%q leads by %q to %q", n.key, e.next, e.node.key)
			}
			check(t, e.node)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringMatching(`[abc]{0,5}`)
		e := Map[int]{}.Edit()
		for range rapid.IntRange(0, 40).Draw(t, "changes") {
			if rapid.IntRange(0, 2).Draw(t, "kind") > 0 {
				e.Put(key.Draw(t, "key"), 1)
			} else {
				e.Delete(key.Draw(t, "key"))
			}
			if m := e.m; m.root != nil {
				check(t, m.root)
			}
		}
	})
}
