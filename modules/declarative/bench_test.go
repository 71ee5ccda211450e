package declarative

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// manyRoutes is a configuration with n routes and a service for every ten of
// them, nested as people write it.
func manyRoutes(n int, format Format) []byte {
	var b strings.Builder
	comma := func(i int) string { return ","[min(i, 1)^1:] }
	if format == JSON {
		b.WriteString("{\"_format_version\":\"3.0\",\n\"services\":[")
	} else {
		b.WriteString("_format_version: \"3.0\"\nservices:\n")
	}
	for i := 0; i < n; i += 10 {
		if format == JSON {
			fmt.Fprintf(&b, "%s\n{\"name\":\"service-%d\",\"url\":\"http://service-%d.internal:8080/api\",\"tags\":[\"team-%d\"],\"routes\":[", comma(i), i, i, i%100)
		} else {
			fmt.Fprintf(&b, "- name: service-%d\n  url: http://service-%d.internal:8080/api\n  tags: [team-%d]\n  routes:\n", i, i, i%100)
		}
		for j := i; j < min(i+10, n); j++ {
			if format == JSON {
				fmt.Fprintf(&b, "%s\n{\"name\":\"route-%d\",\"hosts\":[\"host-%d.example.com\"],\"paths\":[\"/v1/orders/%d\"],\"methods\":[\"GET\",\"POST\"],\"strip_path\":false}", comma(j-i), j, j, j)
			} else {
				fmt.Fprintf(&b, "  - name: route-%d\n    hosts:\n    - host-%d.example.com\n    paths:\n    - /v1/orders/%d\n    methods: [GET, POST]\n    strip_path: false\n", j, j, j)
			}
		}
		if format == JSON {
			b.WriteString("]}")
		}
	}
	if format == JSON {
		b.WriteString("\n]}\n")
	}
	return []byte(b.String())
}

func BenchmarkParse(b *testing.B) {
	for _, format := range []Format{JSON, YAML} {
		for _, n := range []int{10_000, 100_000} {
			text := manyRoutes(n, format)
			b.Run(fmt.Sprintf("%s/routes=%d", format, n), func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Parse(text); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	catalog := entity.NewCatalog(nil)
	for _, n := range []int{10_000, 100_000} {
		doc, err := Parse(manyRoutes(n, JSON))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, errs := doc.Resolve(catalog, Options{}); errs != nil {
					b.Fatal(errs)
				}
			}
		})
	}
}

func BenchmarkSync(b *testing.B) {
	catalog := entity.NewCatalog(nil)
	for _, n := range []int{10_000, 100_000} {
		doc, err := Parse(manyRoutes(n, JSON))
		if err != nil {
			b.Fatal(err)
		}
		rows, errs := doc.Resolve(catalog, Options{})
		if errs != nil {
			b.Fatal(errs)
		}
		empty := store.NewImage(catalog)
		tx := store.Begin(empty, store.Options{})
		if _, err := Sync(tx, rows, SyncOptions{}); err != nil {
			b.Fatal(err)
		}
		for name, im := range map[string]*store.Image{"created": empty, "unchanged": tx.Image()} {
			b.Run(fmt.Sprintf("%s/routes=%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Sync(store.Begin(im, store.Options{}), rows, SyncOptions{Prune: true}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		for _, format := range []Format{JSON, YAML} {
			b.Run(fmt.Sprintf("export/%s/routes=%d", format, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := Export(io.Discard, tx.Image(), format); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
