package trie_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/portcullis-gateway/portcullis/modules/trie"
)

func TestWildcards_match(t *testing.T) {
	patterns := []string{"*", "*.com", "*.example.com", "example.*", "*.b.example.com", "a.*", "*.org"}
	var w trie.Wildcards[string]
	for _, p := range patterns {
		if !trie.IsWildcard(p) {
			t.Fatalf("IsWildcard(%q) = false", p)
		}
		w.Put(0, p, p)
	}
	for _, tt := range []struct {
		name string
		host string
		want []string
	}{
		{"one label", "x.example.com", []string{"*", "*.com", "*.example.com"}},
		{"several labels", "a.b.example.com", []string{"*", "*.b.example.com", "*.com", "*.example.com", "a.*"}},
		{"the star may stand for nothing in front", ".example.com", []string{"*", "*.com", "*.example.com"}},
		{"the star may stand for nothing behind", "example.", []string{"*", "example.*"}},
		{"labels are not cut", "example.com", []string{"*", "*.com", "example.*"}},
		{"nothing but the star", "localhost", []string{"*"}},
		{"empty", "", []string{"*"}},
		{"case counts", "x.EXAMPLE.com", []string{"*", "*.com"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for m := w.Match(tt.host); m.Next(); {
				got = append(got, m.Value())
			}
			slices.Sort(got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("Match(%q) = %q, want %q", tt.host, got, tt.want)
			}
		})
	}
	if trie.IsWildcard("a.*.com") || trie.IsWildcard("") {
		t.Error("a star in the middle, or none, counts as a wildcard")
	}
}

func TestWildcards_behavesAsAList(t *testing.T) {
	name := rapid.StringMatching(`[ab.]{0,5}`)
	pattern := rapid.Custom(func(t *rapid.T) string {
		if rapid.Bool().Draw(t, "leading") {
			return "*" + name.Draw(t, "suffix")
		}
		return name.Draw(t, "prefix") + "*"
	})
	fits := func(p, s string) bool {
		if suffix, ok := strings.CutPrefix(p, "*"); ok {
			return strings.HasSuffix(s, suffix)
		}
		return strings.HasPrefix(s, strings.TrimSuffix(p, "*"))
	}
	rapid.Check(t, func(t *rapid.T) {
		var w, old trie.Wildcards[string]
		var list, oldList []string
		o := trie.NewOwner()
		for range rapid.IntRange(0, 30).Draw(t, "changes") {
			p := pattern.Draw(t, "pattern")
			i := slices.Index(list, p)
			if got, ok := w.Get(p); ok != (i >= 0) || ok && got != p {
				t.Fatalf("Get(%q) = %q, %v", p, got, ok)
			}
			switch {
			case rapid.Bool().Draw(t, "put"):
				w.Put(o, p, p)
				if i < 0 {
					list = append(list, p)
				}
			case w.Delete(o, p) != (i >= 0):
				t.Fatalf("Delete(%q) = %v", p, i < 0)
			case i >= 0:
				list = slices.Delete(slices.Clone(list), i, i+1)
			}
			if rapid.Bool().Draw(t, "publish") {
				old, oldList, o = w, slices.Clone(list), trie.NewOwner()
			}
		}
		check := func(w trie.Wildcards[string], list []string) {
			s := name.Draw(t, "name")
			var got, want []string
			for m := w.Match(s); m.Next(); {
				got = append(got, m.Value())
			}
			for _, p := range list {
				if fits(p, s) {
					want = append(want, p)
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Fatalf("Match(%q) of %q = %q, want %q", s, list, got, want)
			}
			if all := slices.Sorted(w.Values()); w.Len() != len(list) || len(all) != len(list) {
				t.Fatalf("Len() = %d, Values() = %q, want %q", w.Len(), all, list)
			}
		}
		check(w, list)
		check(old, oldList)
	})
}
