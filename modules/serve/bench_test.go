package serve

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/listen"
)

// BenchmarkServeHTTP is what the choice of the generation adds to a request.
func BenchmarkServeHTTP(b *testing.B) {
	l, err := Open(b.Context(), Config{Option: b.Name(), Bind: listen.Bind{Address: "127.0.0.1"}},
		Generation{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
	if err != nil {
		b.Fatal(err)
	}
	defer end(l)
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
	b.ReportAllocs()
	for b.Loop() {
		l.server.ServeHTTP(w, r)
	}
}

// BenchmarkSwap is one reload as a server sees it.
func BenchmarkSwap(b *testing.B) {
	g := Generation{Handler: http.NotFoundHandler()}
	f := start(b, "", g)
	below := f.first
	b.ReportAllocs()
	for b.Loop() {
		l, err := Open(b.Context(), f.cfg, g)
		if err != nil {
			b.Fatal(err)
		}
		end(below)
		below = l
	}
	end(below)
}
