package store_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// list is a store whose rows are in memory.
type list []store.Change

func (l list) Load(_ context.Context, yield func(string, *store.Row, error) bool) error {
	for _, c := range l {
		if !yield(c.Table, c.After, nil) {
			break
		}
	}
	return nil
}

// routes makes n routes of a hundred services, each with a tag.
func routes(tb testing.TB, c *entity.Catalog, n int) list {
	tb.Helper()
	tx := store.Begin(store.NewImage(c), store.Options{})
	for i := range 100 {
		if _, err := tx.Insert("services", schema.Object{"name": fmt.Sprintf("service-%d", i), "host": "example.com"}); err != nil {
			tb.Fatal(err)
		}
	}
	for i := range n {
		if _, err := tx.Insert("routes", route(i)); err != nil {
			tb.Fatal(err)
		}
	}
	return tx.Changes()
}

func route(i int) schema.Object {
	return schema.Object{
		"name":    fmt.Sprintf("route-%d", i),
		"hosts":   []any{fmt.Sprintf("host-%d.example.com", i%1000)},
		"paths":   []any{fmt.Sprintf("/v1/resource-%d", i)},
		"methods": []any{"GET", "POST"},
		"service": schema.Object{"name": fmt.Sprintf("service-%d", i%100)},
		"tags":    []any{"team-" + fmt.Sprint(i%50)},
	}
}

func load(tb testing.TB, c *entity.Catalog, l list) *store.Image {
	tb.Helper()
	im, problems, err := store.Load(tb.Context(), c, l)
	if err != nil || len(problems) > 0 {
		tb.Fatal(err, problems)
	}
	return im
}

func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{10, 10_000, 100_000} {
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			c := entity.NewCatalog(nil)
			rows := routes(b, c, n)
			b.ReportAllocs()
			for b.Loop() {
				load(b, c, rows)
			}
		})
	}
}

// BenchmarkInsert is a whole transaction that adds one route.
func BenchmarkInsert(b *testing.B) {
	for _, n := range []int{10, 1_000, 100_000} {
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			c := entity.NewCatalog(nil)
			im := load(b, c, routes(b, c, n))
			in := route(n)
			b.ReportAllocs()
			for b.Loop() {
				tx := store.Begin(im, store.Options{})
				if _, err := tx.Insert("routes", in); err != nil {
					b.Fatal(err)
				}
				if tx.Image(); len(tx.Changes()) != 1 {
					b.Fatal("not one change")
				}
			}
		})
	}
}

// BenchmarkInsertMany is one transaction that fills an empty image, a
// declarative import in the store's part.
func BenchmarkInsertMany(b *testing.B) {
	c := entity.NewCatalog(nil)
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			for b.Loop() {
				routes(b, c, n)
			}
		})
	}
}

func BenchmarkByKey(b *testing.B) {
	c := entity.NewCatalog(nil)
	im := load(b, c, routes(b, c, 100_000))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := im.ByKey("routes", "name", "route-77777"); !ok {
			b.Fatal("not found")
		}
	}
}

func BenchmarkObject(b *testing.B) {
	c := entity.NewCatalog(nil)
	im := load(b, c, routes(b, c, 10))
	r, _ := im.ByKey("routes", "name", "route-7")
	b.ReportAllocs()
	for b.Loop() {
		im.Object("routes", r)
	}
}

// BenchmarkMemory reports the bytes that an image holds for each route, its
// row and all indexes.
func BenchmarkMemory(b *testing.B) {
	const n = 100_000
	c := entity.NewCatalog(nil)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		rows := routes(b, c, n)
		for i, r := range rows { // as a driver hands them over: with their own bytes
			rows[i].After = &store.Row{ID: r.After.ID, Data: bytes.Clone(r.After.Data)}
		}
		without := heap()
		im := load(b, c, rows)
		with := heap()
		for _, r := range rows {
			without -= uint64(len(r.After.Data)) + 48
		}
		b.ReportMetric(float64(with-without)/n, "B/route")
		runtime.KeepAlive(rows)
		runtime.KeepAlive(im)
	}
}
