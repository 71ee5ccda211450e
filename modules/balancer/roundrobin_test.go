package balancer

import (
	"fmt"
	"reflect"
	"sync"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

func TestRoundRobin_shareIsExactOverEveryCycle(t *testing.T) {
	for _, tt := range []struct {
		name    string
		weights []int
		cycle   int
		want    map[string]int
	}{
		{"one target", []int{100}, 1, map[string]int{"t0": 1}},
		{"equal weights", []int{100, 100, 100}, 3, map[string]int{"t0": 1, "t1": 1, "t2": 1}},
		{"divided by the gcd", []int{100, 50, 150}, 6, map[string]int{"t0": 2, "t1": 1, "t2": 3}},
		{"weight 0 gets none", []int{10, 0, 10}, 2, map[string]int{"t0": 1, "t2": 1}},
		{"coprime and large", []int{65535, 65534, 1}, 131070, map[string]int{"t0": 65535, "t1": 65534, "t2": 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := pool(t, roundRobinUpstream, targets(tt.weights...)...)
			for cycle := range 3 {
				got := map[string]int{}
				for range tt.cycle {
					got[pick(t, p, 0, new(RetrySet))]++
				}
				if !reflect.DeepEqual(got, tt.want) {
					t.Errorf("cycle %d: got %v, want %v", cycle, got, tt.want)
				}
			}
		})
	}
}

func TestRoundRobin_sameTargetsGiveTheSameOrder(t *testing.T) {
	es := targets(3, 1, 2)
	a := pool(t, roundRobinUpstream, es...)
	es[0], es[2] = es[2], es[0]
	b := pool(t, roundRobinUpstream, es...)
	for i := range 12 {
		if x, y := pick(t, a, 0, new(RetrySet)), pick(t, b, 0, new(RetrySet)); x != y {
			t.Fatalf("pick %d: %s, and %s after the targets were listed in another order", i, x, y)
		}
	}
}

func TestRoundRobin_fairUnderConcurrency(t *testing.T) {
	p := pool(t, roundRobinUpstream, targets(1, 2, 3)...)
	var mu sync.Mutex
	got := map[string]int{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			mine := map[string]int{}
			for range 600 {
				a, _ := p.Pick(t.Context(), 0, new(RetrySet))
				mine[name(a)]++
			}
			mu.Lock()
			defer mu.Unlock()
			for h, n := range mine {
				got[h] += n
			}
		})
	}
	wg.Wait()
	if want := map[string]int{"t0": 800, "t1": 1600, "t2": 2400}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The share of one that is tried in vain, and of one that is not available, is
// divided among all others.
func TestRoundRobin_shareOfADeadTargetFallsOnAllOthersByWeight(t *testing.T) {
	for _, how := range []string{"retry", "unavailable"} {
		t.Run(how, func(t *testing.T) {
			p := pool(t, roundRobinUpstream, targets(10, 10, 20, 40)...)
			if how == "unavailable" {
				peer(t, p, "t0").SetAvailable(false)
			}
			got := map[string]int{}
			for range 8 * 700 {
				tried := new(RetrySet)
				h := pick(t, p, 0, tried)
				if h == "t0" {
					h = pick(t, p, 0, tried)
				}
				got[h]++
			}
			// Of 5600 turns, 700 are those of t0; the others have 700, 1400 and
			// 2800 of their own.
			for h, want := range map[string]int{"t1": 800, "t2": 1600, "t3": 3200} {
				if n := got[h]; n < want-5 || n > want+5 {
					t.Errorf("%s got %d of 5600, want about %d", h, n, want)
				}
			}
		})
	}
}

func TestRoundRobin_changeOfTargetsGoesOnFromTheSamePosition(t *testing.T) {
	p := pool(t, roundRobinUpstream, targets(1, 1)...)
	first := pick(t, p, 0, new(RetrySet))
	p.Follow(plan(t, &entity.Upstream{Algorithm: "round-robin", Slots: 11}, targets(1, 1)...))
	if second := pick(t, p, 0, new(RetrySet)); second == first {
		t.Errorf("after a change it started over with %s", first)
	}
}

func BenchmarkRoundRobin(b *testing.B) { benchmarkPick(b, roundRobinUpstream) }

// benchmarkPick is one pick and its release, with different numbers of
// targets.
func benchmarkPick(b *testing.B, u *entity.Upstream) {
	for _, n := range []int{1, 10, 1000} {
		b.Run(fmt.Sprintf("targets=%d", n), func(b *testing.B) {
			weights := make([]int, n)
			for i := range weights {
				weights[i] = 100 + i
			}
			p := pool(b, u, targets(weights...)...)
			ctx := b.Context()
			key, tried := uint32(0), new(RetrySet)
			b.ReportAllocs()
			for b.Loop() {
				*tried = RetrySet{}
				key += 2654435761
				a, _ := p.Pick(ctx, key, tried)
				a.Peer.Release(1)
			}
		})
	}
}
