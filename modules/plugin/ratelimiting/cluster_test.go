package ratelimiting_test

import (
	"path/filepath"
	"testing"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/plugin/plugintest"
	"github.com/portcullis-gateway/portcullis/modules/store/bolt"
)

func openStore(t testing.TB, path string) *bolt.Driver {
	t.Helper()
	d, err := bolt.Open(t.Context(), path, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// TestCluster counts in a file, which a restart does not empty.
func TestCluster(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.db")
	start := func() (*bolt.Driver, *plugintest.Gateway, *plugin.Instance) {
		d := openStore(t, path)
		g := plugintest.New(t)
		g.Counters = d
		return d, g, g.Add("rate-limiting", `{"year": 3, "policy": "cluster"}`)
	}
	d, g, in := start()
	for _, left := range []string{"2", "1"} {
		if got := g.Get("/").Header.Get("X-RateLimit-Remaining-Year"); got != left {
			t.Errorf("%q remain, want %s", got, left)
		}
	}
	plugin.Release(in) // as when the node ends
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}

	_, g, _ = start()
	r := g.Get("/")
	want(t, r, 200, "Limit-Year=3 Remaining-Year=0 RateLimit-Limit=3 RateLimit-Remaining=0 RateLimit-Reset="+r.Header.Get("RateLimit-Reset"))
	if r := g.Get("/"); r.StatusCode != 429 {
		t.Errorf("got %d, want 429", r.StatusCode)
	}
}

func TestCluster_exactWhenManyComeAtATime(t *testing.T) {
	d := openStore(t, filepath.Join(t.TempDir(), "gateway.db"))
	exactWith(t, func(g *plugintest.Gateway) { g.Counters = d },
		`{"second": 40, "hour": 50, "policy": "cluster", "limit_by": "header", "header_name": "x-app"}`, 40)
}

// TestCluster_storeFails closes the store under the plugin.
func TestCluster_storeFails(t *testing.T) {
	for config, status := range map[string]int{`"fault_tolerant": true`: 200, `"fault_tolerant": false`: 500} {
		d := openStore(t, filepath.Join(t.TempDir(), "gateway.db"))
		g := plugintest.New(t)
		g.Counters = d
		g.Add("rate-limiting", `{"year": 3, "policy": "cluster", "limit_by": "ip", `+config+`}`)
		if r := g.Get("/"); r.StatusCode != 200 {
			t.Fatal(r.StatusCode)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if r := g.Get("/", plugintest.From("9.9.9.9:1")); r.StatusCode != status || headersOf(r.Header) != "" {
			t.Errorf("%s: got %d %s", config, r.StatusCode, headersOf(r.Header))
		}
	}
}

func BenchmarkCluster(b *testing.B) {
	g := plugintest.New(b)
	g.Counters = openStore(b, filepath.Join(b.TempDir(), "gateway.db"))
	g.Add("rate-limiting", `{"year": 1000000000, "policy": "cluster"}`)
	plugintest.Bench(b, g)
}
