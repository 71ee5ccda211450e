package plugin

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"reflect"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/http1"
)

// TestUpstreamHeader_editsAreLikeAMap makes the same changes through an exchange and
// to a map, and looks at every header after each.
func TestUpstreamHeader_editsAreLikeAMap(t *testing.T) {
	names := []string{"X-Consumer-Id", "x-consumer-id", "X-Other", "Via", "X-Forwarded-For", "Apikey"}
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		client := http.Header{"X-Consumer-Id": {"forged", "twice"}, "Via": {"1.1 a"}, "Apikey": {"k"}}
		want := maps.Clone(client)
		x := new(Exchange)
		if seed%2 == 0 {
			x.Accept(&http.Request{Header: maps.Clone(client)}, nil)
		} else { // the header is not made yet
			x.Accept(new(http.Request), &http1.Head{Fields: http1.Fields{}.AppendHeader(client)})
		}
		for step := range 12 {
			name := names[random.IntN(len(names))]
			key := http.CanonicalHeaderKey(name)
			did := "looked"
			switch random.IntN(8) {
			case 0, 1, 2:
				value := fmt.Sprint("v", step)
				x.SetUpstreamHeader(name, value)
				want[key] = []string{value}
				did = "set " + name
			case 3, 4:
				x.SetUpstreamHeader(name, "")
				delete(want, key)
				did = "deleted " + name
			case 5:
				x.UpstreamHeader()[key] = []string{"a", "b"}
				want[key] = []string{"a", "b"}
				did = "put " + name
			}
			for _, name := range names {
				key := http.CanonicalHeaderKey(name)
				if got := x.Values(key); !reflect.DeepEqual(got, want[key]) && len(got)+len(want[key]) > 0 {
					t.Fatalf("seed %d, step %d, %s: %s is %q, want %q", seed, step, did, key, got, want[key])
				}
				if first, has := x.First(key), x.Has(key); first != want.Get(key) || has != (len(want[key]) > 0) {
					t.Fatalf("seed %d, step %d, %s: %s is first %q, is there: %v, want %q", seed, step, did, key, first, has, want[key])
				}
			}
			if step%5 == 4 {
				if got := x.Header(); !reflect.DeepEqual(got, want) {
					t.Fatalf("seed %d, step %d, %s: %v, want %v", seed, step, did, got, want)
				}
			}
		}
		if got := x.Request().Header; !reflect.DeepEqual(got, client) {
			t.Fatalf("seed %d: the request was changed to %v", seed, got)
		}
	}
}

// TestSetUpstreamHeader_takesNoMemory of requests that come after the first.
func TestSetUpstreamHeader_takesNoMemory(t *testing.T) {
	x := new(Exchange)
	x.Accept(new(http.Request), &http1.Head{Fields: http1.Fields{{Name: "X-Consumer-Id", Value: "forged"}}})
	edit := func() {
		x.upstream.edits = x.upstream.edits[:0]
		x.SetUpstreamHeader("X-Consumer-Id", "1")
		x.SetUpstreamHeader("X-Consumer-Username", "anna")
		x.SetUpstreamHeader("X-Anonymous-Consumer", "")
	}
	edit()
	if n := testing.AllocsPerRun(100, edit); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
