package entity

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func benchRoute(i int) schema.Object {
	n := strconv.Itoa(i)
	return schema.Object{
		"name":    "route-" + n,
		"hosts":   []any{"h" + n + ".example.com"},
		"paths":   []any{"/api/v1/things-" + n, "/other/" + n},
		"methods": []any{"GET", "POST"},
		"tags":    []any{"team-a", "generated"},
		"service": schema.Object{"id": "6b4ae4f0-3d3c-4d8e-9a54-0cbd9c1e6a10"},
	}
}

func BenchmarkService(b *testing.B) {
	t := NewCatalog(nil).Table("services")
	env := NewCatalog(nil).Env(time.Unix(1700000000, 0), uuid.New, nil)
	in := schema.Object{"name": "s", "url": "http://a.example.com:8080/path"}
	b.ReportAllocs()
	for b.Loop() {
		o, err := t.Process(schema.Insert, in, nil, env)
		if err != nil {
			b.Fatal(err)
		}
		t.Pack(o)
	}
}

// BenchmarkRoutes is what loading many routes costs.
func BenchmarkRoutes(b *testing.B) {
	t := NewCatalog(nil).Table("routes")
	env := NewCatalog(nil).Env(time.Unix(1700000000, 0), uuid.New, nil)
	const count = 100_000
	inputs := make([]schema.Object, count)
	for i := range inputs {
		inputs[i] = benchRoute(i)
	}
	size := 0
	for b.Loop() {
		size = 0
		for _, in := range inputs {
			o, err := t.Process(schema.Insert, in, nil, env)
			if err != nil {
				b.Fatal(err)
			}
			size += len(t.Pack(o))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/count, "ns/route")
	b.ReportMetric(float64(size)/count, "bytes/route")
}

func BenchmarkRoute(b *testing.B) {
	c := NewCatalog(nil)
	t := c.Table("routes")
	env := c.Env(time.Unix(1700000000, 0), uuid.New, nil)
	inputs := make([]schema.Object, 1000)
	for i := range inputs {
		inputs[i] = benchRoute(i)
	}
	object, err := t.Process(schema.Insert, inputs[0], nil, env)
	if err != nil {
		b.Fatal(err)
	}
	packed := t.Pack(object)
	b.Run("process", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if _, err := t.Process(schema.Insert, inputs[i%1000], nil, env); err != nil {
				b.Fatal(err)
			}
			i++
		}
	})
	b.Run("process and pack", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			o, err := t.Process(schema.Insert, inputs[i%1000], nil, env)
			if err != nil {
				b.Fatal(err)
			}
			t.Pack(o)
			i++
		}
	})
	b.Run("update", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := t.Process(schema.Update, schema.Object{"preserve_host": true}, object, env); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("marshal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			t.Marshal(object)
		}
	})
	b.Run("unpack", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := t.Unpack(packed); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode the view", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Decode[Route](packed); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding/json alone", func(b *testing.B) { // for comparison
		b.ReportAllocs()
		for b.Loop() {
			var o schema.Object
			if err := json.Unmarshal(packed, &o); err != nil {
				b.Fatal(err)
			}
		}
	})
}
