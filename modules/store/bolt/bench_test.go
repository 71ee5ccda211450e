package bolt

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/store"
)

var benchData = fmt.Appendf(nil, `{"name":"%0500d"}`, 0) // about the size of a route

// BenchmarkCommit measures a commit of one row into a file that has many, next
// to what the disk asks for by itself: BenchmarkSync.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{0, 10_000, 100_000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			d := openQuietly(b, filepath.Join(b.TempDir(), "gateway.db"))
			if err := d.Commit(b.Context(), inserts(n)); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := d.Commit(b.Context(), inserts(1)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSync is the floor: a page is written and the file brought to the
// disk, twice, as a bbolt transaction does for its data and its root. Blocks
// that the file system has to allocate first cost more than others.
func BenchmarkSync(b *testing.B) {
	for name, growth := range map[string]int64{"overwriting": 0, "growing": 4096} {
		b.Run(name, func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "file"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			page := make([]byte, 4096)
			at := int64(4096)
			for b.Loop() {
				at += growth
				for _, at := range []int64{at, 0} {
					if _, err := f.WriteAt(page, at); err != nil {
						b.Fatal(err)
					}
					if err := f.Sync(); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkCommitMany measures one commit of many rows, as an import makes.
func BenchmarkCommitMany(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			for b.Loop() {
				d := openQuietly(b, filepath.Join(b.TempDir(), "gateway.db"))
				if err := d.Commit(b.Context(), inserts(n)); err != nil {
					b.Fatal(err)
				}
				if err := d.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			d := openQuietly(b, filepath.Join(b.TempDir(), "gateway.db"))
			if err := d.Commit(b.Context(), inserts(n)); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				err := d.Load(b.Context(), func(string, *store.Row, error) bool { return true })
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func inserts(n int) []store.Change {
	changes := make([]store.Change, n)
	for i := range changes {
		changes[i] = store.Change{Table: "routes", After: &store.Row{ID: uuid.New(), Data: benchData}}
	}
	return changes
}

func openQuietly(b *testing.B, path string) *Driver {
	b.Helper()
	d, err := Open(b.Context(), path, zap.NewNop())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { d.Close() })
	return d
}
