package trie_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/portcullis-gateway/portcullis/modules/trie"
)

// Keys of few letters share prefixes of all kinds, which is what a radix tree
// has to get right.
var keys = rapid.StringMatching(`[ab/]{0,6}|[a-z]|[\x00-\xff]`)

// entries answers the content of a map as a model has it.
func entries[V any](m trie.Map[V]) map[string]V { return maps.Collect(m.All()) }

func checkSame(t *rapid.T, what string, m trie.Map[int], model map[string]int) {
	t.Helper()
	if !maps.Equal(entries(m), model) {
		t.Fatalf("%s has %v, want %v", what, entries(m), model)
	}
	if m.Len() != len(model) {
		t.Fatalf("%s: Len() = %d, want %d", what, m.Len(), len(model))
	}
}

func TestMap_behavesAsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m trie.Map[int]
		model := map[string]int{}
		edit := m.Edit()

		// Every version that was handed out, and what it held then.
		var versions []trie.Map[int]
		var contents []map[string]int

		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				k, v := keys.Draw(t, "key"), rapid.Int().Draw(t, "value")
				edit.Put(k, v)
				model[k] = v
			},
			"delete": func(t *rapid.T) {
				k := keys.Draw(t, "key")
				_, had := model[k]
				if got := edit.Delete(k); got != had {
					t.Fatalf("Delete(%q) = %v, want %v", k, got, had)
				}
				delete(model, k)
			},
			"get": func(t *rapid.T) {
				k := keys.Draw(t, "key")
				got, ok := edit.Get(k)
				if want, wantOK := model[k]; got != want || ok != wantOK {
					t.Fatalf("Get(%q) = %v, %v, want %v, %v", k, got, ok, want, wantOK)
				}
			},
			"publish": func(t *rapid.T) {
				m = edit.Map()
				versions = append(versions, m)
				contents = append(contents, maps.Clone(model))
			},
			"change a copy that nobody owns": func(t *rapid.T) {
				first := m
				first.Put(0, keys.Draw(t, "key"), -1)
				first.Delete(0, keys.Draw(t, "other key"))
				content := entries(first)
				second := first
				second.Put(0, keys.Draw(t, "key"), -2)
				second.Delete(0, keys.Draw(t, "other key"))
				checkSame(t, "the copy", first, content)
			},
			"": func(t *rapid.T) {
				for i := range versions {
					checkSame(t, "an old version", versions[i], contents[i])
				}
			},
		})
		m = edit.Map()
		checkSame(t, "the last version", m, model)

		order := slices.Sorted(maps.Keys(model))
		var got []string
		for k := range m.All() {
			got = append(got, k)
		}
		if !slices.Equal(got, order) {
			t.Fatalf("All() yields %q, want %q", got, order)
		}
		i := 0
		for v := range m.Values() {
			if v != model[order[i]] {
				t.Fatalf("Values() yields %v at %d, want %v", v, i, model[order[i]])
			}
			i++
		}
	})
}

// A room may be taken for keys of all kinds: new ones, those at which others part
// already, and those that are there.
func TestMap_putInARoom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m trie.Map[int]
		model := map[string]int{}
		owner := trie.NewOwner()
		for i := range rapid.IntRange(0, 40).Draw(t, "changes") {
			key := keys.Draw(t, "key")
			switch rapid.IntRange(0, 4).Draw(t, "kind") {
			case 0:
				m.Delete(owner, key)
				delete(model, key)
			case 1:
				owner = trie.NewOwner()
			default:
				before, content := m, entries(m)
				if rapid.Bool().Draw(t, "by another owner") {
					owner = trie.NewOwner()
				} else {
					before, content = trie.Map[int]{}, map[string]int{}
				}
				m.PutIn(owner, new(trie.Room[int]), key, i)
				model[key] = i
				checkSame(t, "the map before", before, content)
			}
			checkSame(t, "the map", m, model)
		}
	})
}

func TestMap_prefixes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := trie.Map[string]{}.Edit()
		model := rapid.SliceOf(keys).Draw(t, "keys")
		for _, k := range model {
			e.Put(k, k)
		}
		s := keys.Draw(t, "string")

		var want []string
		for _, k := range model {
			if strings.HasPrefix(s, k) && !slices.Contains(want, k) {
				want = append(want, k)
			}
		}
		slices.SortFunc(want, func(a, b string) int { return len(a) - len(b) })

		var got []string
		p := e.Map().Prefixes(s)
		for p.Next() {
			got = append(got, p.Value())
		}
		if !slices.Equal(got, want) {
			t.Fatalf("Prefixes(%q) of %q = %q, want %q", s, model, got, want)
		}
		if p.Next() {
			t.Fatal("Next after the end is true")
		}
	})
}

func TestMap_stopsIteratingWhenAsked(t *testing.T) {
	e := trie.Map[int]{}.Edit()
	for i, k := range []string{"", "a", "ab", "b"} {
		e.Put(k, i)
	}
	m := e.Map()
	for n := 1; n <= 4; n++ {
		seen := 0
		for range m.All() {
			if seen++; seen == n {
				break
			}
		}
		for range m.Values() {
			if seen++; seen == 2*n {
				break
			}
		}
		if seen != 2*n {
			t.Errorf("saw %d values, want %d", seen, 2*n)
		}
	}
}

func TestMap_emptyAgainAfterTheLastDelete(t *testing.T) {
	e := trie.Map[int]{}.Edit()
	for _, k := range []string{"/a/b", "/a/c", "/a"} {
		e.Put(k, 1)
	}
	for _, k := range []string{"/a", "/a/c", "/a/b"} {
		e.Delete(k)
	}
	if got := e.Map(); got != (trie.Map[int]{}) {
		t.Errorf("a tree is left: %v", got)
	}
}

func TestMap_readingDoesNotAllocate(t *testing.T) {
	e := trie.Map[int]{}.Edit()
	for _, k := range []string{"/", "/api/", "/api/v1/orders", "/api/v1/", "/web"} {
		e.Put(k, len(k))
	}
	m := e.Map()
	sum := 0
	if n := testing.AllocsPerRun(100, func() {
		v, _ := m.Get("/api/v1/orders")
		sum += v
		for p := m.Prefixes("/api/v1/orders/17"); p.Next(); {
			sum += p.Value()
		}
		for v := range m.Values() {
			sum += v
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
