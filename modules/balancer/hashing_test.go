package balancer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

func hashUpstream(slots int) *entity.Upstream {
	return &entity.Upstream{Algorithm: "consistent-hashing", HashOn: "ip", Slots: slots}
}

// naiveRing is the ring with its empty slots.
func naiveRing(slots int, addresses []*Address) []*Address {
	slots = max(slots, 1000)
	ring := make([]*Address, slots)
	total, hosts := 0, map[*Target]bool{}
	for _, a := range addresses {
		total += a.Weight
		hosts[a.Target] = true
	}
	sorted := slices.Clone(addresses)
	slices.SortFunc(sorted, byName)
	for _, a := range sorted {
		entries := max(1, a.Weight*len(hosts)*min(160, max(1, slots/2/len(hosts)))/total)
		for i := 1; i <= entries && i <= slots; i++ {
			slot := xxHash32(fmt.Sprintf("%s::%d %d", a.Addr.Addr(), a.Addr.Port(), i)) % uint32(slots)
			if ring[slot] == nil {
				ring[slot] = a
			} else {
				entries++
			}
		}
	}
	return ring
}

// naive answers the address of a key as Kong's text says it: walk down the ring
// from the key's slot, one slot at a time.
func naive(ring []*Address, key uint32, tried *RetrySet) *Address {
	for step := range ring {
		slot := (int(key%uint32(len(ring))) - step + len(ring)) % len(ring)
		if a := ring[slot]; a != nil && a.Peer.Available() && !tried.has(a.Peer) {
			return a
		}
	}
	return nil
}

func TestHashing_isWhatTheNaiveRingSays(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(0, 1000), 1, 12).Draw(r, "weights")
		slots := rapid.SampledFrom([]int{10, 1000, 1009, 5000}).Draw(r, "slots")
		p := pool(t, hashUpstream(slots), targets(weights...)...)
		for _, a := range p.Addresses() {
			a.Peer.SetAvailable(rapid.IntRange(0, 3).Draw(r, "available") > 0)
		}
		ring := naiveRing(slots, p.Addresses())
		for range 20 {
			key := rapid.Uint32().Draw(r, "key")
			tried, model := new(RetrySet), new(RetrySet)
			for try := range 3 {
				want := naive(ring, key, model)
				got, err := p.Pick(t.Context(), key, tried)
				if want == nil {
					if err == nil && try == 0 {
						r.Fatalf("key %d: got %v, want none", key, got)
					}
					break // Pick starts over
				}
				if got != want {
					r.Fatalf("key %d, try %d: got %v, %v, want %v", key, try, got, err, want)
				}
				model.add(want.Peer)
			}
		}
	})
}

// owners tells to whom each of many keys goes.
func owners(t *testing.T, p *Pool) []string {
	list := make([]string, 10000)
	for i := range list {
		list[i] = pick(t, p, xxHash32(fmt.Sprint("key ", i)), new(RetrySet))
	}
	return list
}

func TestHashing_addingOneOfManyMovesItsShareOfTheKeys(t *testing.T) {
	for _, n := range []int{3, 10, 30} {
		for _, weight := range []int{100, 300} {
			t.Run(fmt.Sprintf("targets=%d weight=%d", n, weight), func(t *testing.T) {
				weights := slices.Repeat([]int{100}, n)
				more := append(slices.Clone(weights), weight)
				p := pool(t, hashUpstream(1<<16), targets(weights...)...)
				before := owners(t, p)
				p.Follow(plan(t, hashUpstream(1<<16), targets(more...)...))
				after := owners(t, p)
				p.Follow(plan(t, hashUpstream(1<<16), targets(weights...)...))
				again := owners(t, p)

				newcomer := fmt.Sprint("t", n)
				moved, astray := 0, 0
				for i := range before {
					if before[i] != after[i] {
						moved++
						if after[i] != newcomer {
							astray++
						}
					}
					if before[i] != again[i] {
						t.Fatalf("key %d does not return when the newcomer leaves", i)
					}
				}
				share := float64(weight) / float64(100*n+weight)
				got := float64(moved) / float64(len(before))
				t.Logf("%.1f %% of the keys moved, the newcomer's share is %.1f %%; %d went astray", got*100, share*100, astray)
				if got < share*0.7 || got > share*1.3+0.03 {
					t.Errorf("%.3f of the keys moved, want about %.3f", got, share)
				}
				// Kong gives points by the share of the weight, so a heavy
				// newcomer takes some points from the others.
				if weight == 100 && float64(astray) > 0.02*float64(len(before)) {
					t.Errorf("%d of %d keys moved between targets that were there before", astray, len(before))
				}
			})
		}
	}
}

// The default of slots is few for many targets.
func TestHashing_manyTargetsHaveTheirShare(t *testing.T) {
	p, got := pool(t, hashUpstream(10000), targets(slices.Repeat([]int{100}, 200)...)...), map[string]int{}
	for _, owner := range owners(t, p) {
		got[owner]++
	}
	for i := range 200 { // each has about 50 keys
		if n := got[fmt.Sprint("t", i)]; n < 10 || n > 150 {
			t.Errorf("t%d has %d of 10000 keys", i, n)
		}
	}
}

func TestHashing_sharesFollowTheWeights(t *testing.T) {
	p := pool(t, hashUpstream(1<<16), targets(100, 200, 300, 400)...)
	got := map[string]int{}
	for _, owner := range owners(t, p) {
		got[owner]++
	}
	for i, percent := range []int{10, 20, 30, 40} {
		n := got[fmt.Sprint("t", i)] * 100 / 10000
		if n < percent*7/10 || n > percent*13/10 {
			t.Errorf("t%d has %d percent of the keys, want about %d", i, n, percent)
		}
	}
}

// While one is unavailable only its own keys move, each to one place.
func TestHashing_unavailableMovesItsOwnKeysAlone(t *testing.T) {
	p := pool(t, hashUpstream(10000), targets(1, 1, 1, 1)...)
	before := owners(t, p)
	peer(t, p, "t2").SetAvailable(false)
	during := owners(t, p)
	peer(t, p, "t2").SetAvailable(true)
	after := owners(t, p)
	for i := range before {
		if after[i] != before[i] {
			t.Fatalf("key %d did not return", i)
		}
		if before[i] != "t2" && during[i] != before[i] || during[i] == "t2" {
			t.Fatalf("key %d went from %s to %s while t2 was unavailable", i, before[i], during[i])
		}
	}
}

func TestHashing_orderOfTargetsDoesNotMatter(t *testing.T) {
	es := targets(5, 6, 7, 8, 9)
	a := owners(t, pool(t, hashUpstream(1000), es...))
	for i := range es { // other ids: another order within the plan
		es[i].ID[0] = byte(rand.IntN(255))
	}
	if b := owners(t, pool(t, hashUpstream(1000), es...)); !slices.Equal(a, b) {
		t.Error("the same addresses have other keys")
	}
}

// Where addresses outnumber the slots, those without a point are reached when no
// other is left.
func TestHashing_moreAddressesThanSlots(t *testing.T) {
	p := pool(t, hashUpstream(10), targets(slices.Repeat([]int{1}, 1100)...)...)
	points := map[*Address]bool{}
	for _, a := range p.table.Load().picker.(*hashing).points {
		points[a] = true
	}
	if len(points) != 1000 {
		t.Errorf("%d addresses have a point, want one for each slot", len(points))
	}
	for a := range points {
		a.Peer.SetAvailable(false)
	}
	if a, err := p.Pick(t.Context(), 12345, new(RetrySet)); err != nil || points[a] {
		t.Errorf("got %v, %v, want an address without a point", a, err)
	}
}

func TestKey(t *testing.T) {
	header := &entity.Upstream{Algorithm: "consistent-hashing", HashOn: "header", HashOnHeader: "X-A", HashFallback: "ip"}
	for _, tt := range []struct {
		name  string
		u     *entity.Upstream
		facts facts
		want  uint32
	}{
		{"the first", header, facts{{"header", "X-A"}: "one", {On: "ip"}: "two"}, xxHash32("one")},
		{"an empty one is one", header, facts{{"header", "X-A"}: "", {On: "ip"}: "two"}, xxHash32("")},
		{"the fallback", header, facts{{On: "ip"}: "two"}, xxHash32("two")},
		{"neither", header, nil, xxHash32("")},
		{"another algorithm", &entity.Upstream{Algorithm: "round-robin", HashOn: "ip"}, facts{{On: "ip"}: "two"}, 0},
		{"cookie", &entity.Upstream{Algorithm: "consistent-hashing", HashOn: "cookie", HashOnCookie: "c"}, facts{{"cookie", "c"}: "v"}, xxHash32("v")},
		{"fallback of a kind", &entity.Upstream{
			Algorithm: "consistent-hashing", HashOn: "query_arg", HashOnQueryArg: "a",
			HashFallback: "uri_capture", HashFallbackURICapture: "2",
		}, facts{{"uri_capture", "2"}: "v"}, xxHash32("v")},
	} {
		if got := pool(t, tt.u, targets(1)...).Key(tt.facts); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

type facts map[KeySource]string

func (f facts) HashValue(k KeySource) (string, bool) {
	v, ok := f[k]
	return v, ok
}

func BenchmarkHashing(b *testing.B) { benchmarkPick(b, hashUpstream(10000)) }

// BenchmarkFollow is a change of an upstream: what a write costs.
func BenchmarkFollow(b *testing.B) {
	for _, u := range algorithms {
		for _, n := range []int{10, 1000} {
			b.Run(fmt.Sprintf("%s/targets=%d", u.Algorithm, n), func(b *testing.B) {
				p := pool(b, u)
				one, other := plan(b, u, targets(slices.Repeat([]int{100}, n)...)...), plan(b, u, targets(slices.Repeat([]int{100}, n+1)...)...)
				b.ReportAllocs()
				for b.Loop() {
					p.Follow(one)
					p.Follow(other)
				}
			})
		}
	}
}
