package trie_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/trie"
)

var sizes = []int{10, 1_000, 100_000}

func paths(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("/api/v%d/tenant-%d/orders", i%3, i)
	}
	return list
}

func build(keys []string) trie.Map[*int] {
	e := trie.Map[*int]{}.Edit()
	for i, k := range keys {
		e.Put(k, &i)
	}
	return e.Map()
}

// keyByKey measures what is done with one key after the other, in any order.
func keyByKey(b *testing.B, do func(m trie.Map[*int], key string)) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			keys := paths(n)
			m := build(keys)
			order := rand.Perm(n)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				do(m, keys[order[i%n]])
				i++
			}
		})
	}
}

func BenchmarkMap_Get(b *testing.B) {
	keyByKey(b, func(m trie.Map[*int], key string) { m.Get(key) })
}

func BenchmarkMap_Prefixes(b *testing.B) {
	keyByKey(b, func(m trie.Map[*int], key string) {
		for p := m.Prefixes(key); p.Next(); {
		}
	})
}

// BenchmarkMap_change publishes a new map for each change.
func BenchmarkMap_change(b *testing.B) {
	v := new(int)
	keyByKey(b, func(m trie.Map[*int], key string) { m.Put(0, key, v) })
}

// BenchmarkMap_build reports what a key costs to add in one batch, and to keep.
func BenchmarkMap_build(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			keys := paths(n)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			m := build(keys)
			runtime.GC()
			runtime.ReadMemStats(&after)
			perKey := float64(after.HeapAlloc-before.HeapAlloc) / float64(n)
			runtime.KeepAlive(m)

			b.ReportAllocs()
			for b.Loop() {
				build(keys)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/key")
			b.ReportMetric(perKey, "bytes/key")
		})
	}
}
