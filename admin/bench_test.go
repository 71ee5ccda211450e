package admin

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// fill puts n routes in a world.
func fill(b *testing.B, w World, n int) {
	b.Helper()
	err := w.Write(b.Context(), func(tx *store.Tx) error {
		for i := range n {
			name := fmt.Sprintf("r%d", i)
			if _, err := tx.Insert("routes", schema.Object{"name": name, "paths": []any{"/" + name}, "tags": []any{"all"}}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkAPI measures requests without a network. Reading one route or one
// page costs the same however many there are.
func BenchmarkAPI(b *testing.B) {
	for _, n := range []int{10, 1_000, 100_000} {
		w := openDatabase(b)
		fill(b, w, n)
		api := newTestAPI(b, w)
		for _, path := range []string{"/routes/r5", "/routes?size=10", "/routes?size=10&tags=all"} {
			b.Run(fmt.Sprintf("routes=%d/GET %s", n, path), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					w := httptest.NewRecorder()
					api.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
					if w.Code != 200 {
						b.Fatal(w.Code)
					}
				}
			})
		}
		b.Run(fmt.Sprintf("routes=%d/PATCH", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				r := httptest.NewRequest("PATCH", "/routes/r5", strings.NewReader(fmt.Sprintf(`{"regex_priority":%d}`, i)))
				r.Header.Set("Content-Type", "application/json")
				w := httptest.NewRecorder()
				api.ServeHTTP(w, r)
				if w.Code != 200 {
					b.Fatal(w.Body)
				}
			}
		})
	}
}
