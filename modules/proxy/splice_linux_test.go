package proxy

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand"
	"net/http"
	"strconv"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/modules/relay"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// Large bodies go through the kernel, and come out as they went in; the connections
// serve the next requests.
func TestSplice_largeBodies(t *testing.T) { testSplice(t) }

// So they do where plugins look at the head, or at the response when it is over.
func TestSplice_behindPlugins(t *testing.T) { testSplice(t, "correlation-id", "reporter") }

func testSplice(t *testing.T, plugins ...string) {
	g := start(t, gateway.Settings{})
	for _, name := range plugins {
		g.insert("plugins", schema.Object{"name": name})
	}
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		size, _ := strconv.Atoi(r.URL.Query().Get("size"))
		body := make([]byte, size)
		seed, _ := strconv.ParseInt(r.URL.Query().Get("seed"), 10, 64)
		rand.New(rand.NewSource(seed)).Read(body)
		sum := sha256.Sum256(body)
		w.Header().Set("Sum", hex.EncodeToString(sum[:]))
		w.Header().Set("Content-Length", strconv.Itoa(size))
		for len(body) > 0 { // in pieces, so that it does not come as one
			n := min(len(body), 300_000)
			_, _ = w.Write(body[:n])
			body = body[n:]
		}
	})
	g.route(to(up), schema.Object{"paths": []any{"/"}})
	url := g.direct()
	client := plainClient(t)
	before := relay.Spliced()
	var total int64
	for seed, size := range []int{5 << 20, 100, 70_000, 3<<20 + 1, 64 << 10, 1 << 20} {
		req, _ := http.NewRequest("GET", url+"/?size="+strconv.Itoa(size)+"&seed="+strconv.Itoa(seed), nil)
		resp, body := send(t, client, req)
		sum := sha256.Sum256([]byte(body))
		if len(body) != size || hex.EncodeToString(sum[:]) != resp.Header.Get("Sum") {
			t.Errorf("%d bytes: got %d, with the sum %x instead of %s", size, len(body), sum, resp.Header.Get("Sum"))
		}
		total += int64(size)
		if plugins != nil {
			patient.Until(t, "the bytes of the body are counted", func() bool { return reported.Load() == int64(size) })
		}
	}
	if n := relay.Spliced() - before; n < total/2 || n > total {
		t.Errorf("%d of %d bytes were spliced", n, total)
	}
}

// A body that breaks off in the middle is not taken for whole, and the log says
// whose doing it was.
func TestSplice_upstreamBreaksOff(t *testing.T) {
	g := start(t, gateway.Settings{})
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(8<<20))
		_, _ = w.Write(make([]byte, 4<<20))
		panic(http.ErrAbortHandler)
	})
	g.route(to(up), schema.Object{"paths": []any{"/"}})
	url := g.direct()
	resp, err := plainClient(t).Get(url + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Errorf("got %d bytes and no error", n)
	}
	if got := g.logged("response body of upstream broke off"); len(got) != 1 {
		t.Errorf("got %d lines about it, want 1", len(got))
	}
}
