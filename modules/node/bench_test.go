package node_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/node"
	"github.com/portcullis-gateway/portcullis/modules/router"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

var sizes = []int{10, 1_000, 10_000, 100_000}

// fill writes one service and n routes in one transaction.
func fill(b *testing.B, n *node.Node, routes int) {
	b.Helper()
	s := insert(b, n, "services", schema.Object{"name": "orders", "host": "a.internal"})
	err := n.Write(context.Background(), func(tx *store.Tx) error {
		for i := range routes {
			_, err := tx.Insert("routes", schema.Object{
				"name":    fmt.Sprintf("route-%d", i),
				"hosts":   []any{fmt.Sprintf("host-%d.example.com", i%1000)},
				"paths":   []any{fmt.Sprintf("/v1/things/%d", i)},
				"methods": []any{"GET", "POST"},
				"service": schema.Object{"id": s},
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkWrite is one changed route, from the call until the data path sees
// it. Subtract BenchmarkFsync, which is the disk's part.
func BenchmarkWrite(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprint("routes=", size), func(b *testing.B) {
			n := open(b, path(b))
			fill(b, n, size)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				patch(b, n, "routes", fmt.Sprintf("route-%d", i%size), schema.Object{"paths": []any{fmt.Sprintf("/v2/things/%d", i)}})
			}
		})
	}
}

// BenchmarkServiceWrite is one change of the service that all routes go to.
func BenchmarkServiceWrite(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprint("routes=", size), func(b *testing.B) {
			n := open(b, path(b))
			fill(b, n, size)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				patch(b, n, "services", "orders", schema.Object{"retries": i % 10})
			}
		})
	}
}

// BenchmarkFsync is what a durable write of some pages costs on this disk.
func BenchmarkFsync(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "f"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, 4*4096)
	for b.Loop() {
		if _, err := f.WriteAt(page, 0); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen reads and compiles all that a file holds. It reports the bytes
// of memory that a route takes: rows, indexes, typed view and router together.
func BenchmarkOpen(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprint("routes=", size), func(b *testing.B) {
			file := path(b)
			n := start(b, file)
			fill(b, n, size)
			stop(b, n)
			n = nil
			before := heap()
			var after uint64
			for b.Loop() {
				n := start(b, file)
				b.StopTimer()
				after = heap()
				stop(b, n)
				b.StartTimer()
			}
			b.ReportMetric(float64(after-before)/float64(size), "B/route")
		})
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkMatch finds the route and service of a request, each time another.
func BenchmarkMatch(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprint("routes=", size), func(b *testing.B) {
			n := open(b, path(b))
			fill(b, n, size)
			requests := make([]router.Request, size)
			for i := range requests {
				requests[i] = router.Request{
					Method: "GET",
					Host:   fmt.Sprintf("host-%d.example.com", i%1000),
					Path:   fmt.Sprintf("/v1/things/%d/parts", i),
					Header: http.Header{},
				}
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i += 7919
				if _, ok := n.View().Snapshot.Match(&requests[i%size]); !ok {
					b.Fatal("no match")
				}
			}
		})
	}
}
