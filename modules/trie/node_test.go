package trie

import (
	"testing"

	"pgregory.net/rapid"
)

// However a tree came about, it has no node that could be done without.
func TestNode_isNeeded(t *testing.T) {
	var check func(t *rapid.T, b *branch[int])
	check = func(t *rapid.T, b *branch[int]) {
		next := b.branches()
		if !b.full && len(next) < 2 {
			t.Fatalf("%q has no value and %d children", b.node.key, len(next))
		}
		if want := (int(b.depth) + 1) / 2; len(b.node.key) != want {
			t.Fatalf("%q stands for %d symbols", b.node.key, b.depth)
		}
		last := -1
		for i := range next {
			c := &next[i]
			for at := range int(b.depth) {
				if symbol(c.node.key, at) != symbol(b.node.key, at) {
					t.Fatalf("%q leads to %q", b.node.key, c.node.key)
				}
			}
			s := symbol(c.node.key, int(b.depth))
			if int(s) <= last || b.child(s) != c || c.depth <= b.depth {
				t.Fatalf("%q leads by %d to %q", b.node.key, s, c.node.key)
			}
			last = int(s)
			check(t, c)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringMatching(`[abc0]{0,5}|[\x00-\xff]{1,2}`)
		e := Map[int]{}.Edit()
		for range rapid.IntRange(0, 40).Draw(t, "changes") {
			if rapid.IntRange(0, 2).Draw(t, "kind") > 0 {
				e.Put(key.Draw(t, "key"), 1)
			} else {
				e.Delete(key.Draw(t, "key"))
			}
			if e.m.root.node != nil {
				check(t, &e.m.root)
			}
		}
	})
}
