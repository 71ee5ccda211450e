package balancer

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

func targets(weights ...int) []*entity.Target {
	var ts []*entity.Target
	for i, w := range weights {
		ts = append(ts, &entity.Target{
			ID:     uuid.UUID{15: byte(i), 14: byte(i >> 8)},
			Target: fmt.Sprintf("t%d:8000", i),
			Weight: w,
		})
	}
	return ts
}

func ring(t testing.TB, weights ...int) *Ring {
	t.Helper()
	r, err := NewRing(&entity.Upstream{}, targets(weights...))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func pick(t testing.TB, r *Ring, s *State, tried *RetrySet) string {
	t.Helper()
	target, ok := r.Pick(s, tried)
	if !ok {
		t.Fatal("no target")
	}
	return target.Host
}

func TestPick_shareIsExactOverEveryCycle(t *testing.T) {
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
			r, s := ring(t, tt.weights...), new(State)
			for cycle := range 3 {
				got := map[string]int{}
				for range tt.cycle {
					got[pick(t, r, s, new(RetrySet))]++
				}
				if !reflect.DeepEqual(got, tt.want) {
					t.Errorf("cycle %d: got %v, want %v", cycle, got, tt.want)
				}
			}
		})
	}
}

func TestPick_turnsOfAHeavyTargetAreSpread(t *testing.T) {
	r, s := ring(t, 50, 25, 25), new(State)
	last, run := "", 0
	for range 40 {
		if h := pick(t, r, s, new(RetrySet)); h == last {
			run++
		} else {
			last, run = h, 1
		}
		if run > 2 {
			t.Fatalf("%s had %d turns in a row with half of the weight", last, run)
		}
	}
}

func TestPick_sameTargetsGiveTheSameOrder(t *testing.T) {
	es := targets(3, 1, 2)
	a, _ := NewRing(&entity.Upstream{}, es)
	es[0], es[2] = es[2], es[0]
	b, _ := NewRing(&entity.Upstream{}, es)
	sa, sb := new(State), new(State)
	for i := range 12 {
		if x, y := pick(t, a, sa, new(RetrySet)), pick(t, b, sb, new(RetrySet)); x != y {
			t.Fatalf("pick %d: %s, and %s after the targets were listed in another order", i, x, y)
		}
	}
}

func TestPick_fairUnderConcurrency(t *testing.T) {
	r, s := ring(t, 1, 2, 3), new(State)
	var mu sync.Mutex
	got := map[string]int{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			mine := map[string]int{}
			for range 600 {
				target, _ := r.Pick(s, new(RetrySet))
				mine[target.Host]++
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

func TestPick_retryAvoidsTheTriedUntilAllWere(t *testing.T) {
	r, s := ring(t, 1, 1000, 1, 0), new(State)
	for range 50 {
		tried := new(RetrySet)
		seen := map[string]bool{}
		for range 3 {
			h := pick(t, r, s, tried)
			if seen[h] {
				t.Fatalf("%s was tried twice before all were tried", h)
			}
			seen[h] = true
		}
		fourth, fifth := pick(t, r, s, tried), pick(t, r, s, tried)
		if fourth == fifth {
			t.Fatalf("in the second round %s was tried twice", fourth)
		}
	}
}

func TestPick_shareOfADeadTargetFallsOnAllOthersByWeight(t *testing.T) {
	r, s := ring(t, 10, 10, 20, 40), new(State)
	got := map[string]int{}
	for range 8 * 700 {
		tried := new(RetrySet)
		if h := pick(t, r, s, tried); h == "t0" {
			got[pick(t, r, s, tried)]++
		}
	}
	for h, want := range map[string]int{"t1": 100, "t2": 200, "t3": 400} {
		if n := got[h]; n < want-5 || n > want+5 {
			t.Errorf("%s got %d of 700 retries, want about %d", h, n, want)
		}
	}
}

func TestPick_moreTriesThanTheSetHoldsInline(t *testing.T) {
	weights := make([]int, 300)
	for i := range weights {
		weights[i] = i + 1
	}
	r, s, tried := ring(t, weights...), new(State), new(RetrySet)
	seen := map[string]bool{}
	for range weights {
		seen[pick(t, r, s, tried)] = true
	}
	if len(seen) != len(weights) {
		t.Errorf("%d tries reached %d targets, want each once", len(weights), len(seen))
	}
}

func TestPick_noTarget(t *testing.T) {
	for _, weights := range [][]int{nil, {0}, {0, 0}} {
		if target, ok := ring(t, weights...).Pick(new(State), new(RetrySet)); ok {
			t.Errorf("weights %v: got %v, want none", weights, target)
		}
	}
}

func TestState_survivesAChangeOfTargets(t *testing.T) {
	var states States
	id := uuid.UUID{1}
	r := ring(t, 1, 1)
	first := pick(t, r, states.Of(id), new(RetrySet))
	if second := pick(t, ring(t, 1, 1), states.Of(id), new(RetrySet)); second == first {
		t.Errorf("a rebuilt ring started over with %s", first)
	}
}

func TestStates_sweepForgetsTheUnused(t *testing.T) {
	var states States
	used, idle := uuid.UUID{1}, uuid.UUID{2}
	before, gone := states.Of(used), states.Of(idle)
	states.Sweep()
	states.Of(used)
	states.Sweep()
	if states.Of(used) != before {
		t.Error("a state in use was forgotten")
	}
	if states.Of(idle) == gone {
		t.Error("an idle state was kept")
	}
}

func TestNewRing_badTargetIsReportedAndLeftOut(t *testing.T) {
	r, err := NewRing(&entity.Upstream{}, append(targets(1), &entity.Target{Target: "nowhere", Weight: 1}))
	if err == nil || !strings.Contains(err.Error(), `target "nowhere"`) {
		t.Errorf("got error %v, want one that names the target", err)
	}
	if got := pick(t, r, new(State), new(RetrySet)); got != "t0" {
		t.Errorf("got %s", got)
	}
}

func TestNewTarget(t *testing.T) {
	for _, tt := range []struct {
		in, host string
		port     int
		address  string // empty: refused
	}{
		{"api.internal:8000", "api.internal", 8000, "api.internal:8000"},
		{"10.0.0.1:80", "10.0.0.1", 80, "10.0.0.1:80"},
		{"[0000:0000:0000:0000:0000:0000:0000:0001]:80", "0000:0000:0000:0000:0000:0000:0000:0001", 80, "[0000:0000:0000:0000:0000:0000:0000:0001]:80"},
		{"api.internal", "", 0, ""},
		{"api.internal:99999", "", 0, ""},
		{":80", "", 0, ""},
	} {
		got, err := NewTarget(&entity.Target{Target: tt.in})
		if tt.address == "" {
			if err == nil {
				t.Errorf("%q: got %+v, want an error", tt.in, got)
			}
			continue
		}
		if err != nil || got.Host != tt.host || got.Port != tt.port || got.Address != tt.address {
			t.Errorf("%q: got %+v, %v", tt.in, got, err)
		}
	}
}

func TestUnhonoured(t *testing.T) {
	plain := &entity.Upstream{Algorithm: "round-robin", HashOn: "none", HashFallback: "none"}
	if r, _ := NewRing(plain, nil); len(r.Unhonoured()) != 0 {
		t.Errorf("an upstream with Kong's defaults has unhonoured wishes %v", r.Unhonoured())
	}
	wild := &entity.Upstream{Algorithm: "consistent-hashing", HashOn: "header", HashFallback: "ip", UseSRVName: true}
	wild.Healthchecks.Active.Healthy.Interval = 1
	wild.Healthchecks.Passive.Unhealthy.HTTPFailures = 3
	r, _ := NewRing(wild, nil)
	want := []string{
		"algorithm=consistent-hashing", "hash_on=header", "hash_fallback=ip",
		"healthchecks.active", "healthchecks.passive", "use_srv_name",
	}
	if !reflect.DeepEqual(r.Unhonoured(), want) {
		t.Errorf("got %v, want %v", r.Unhonoured(), want)
	}
}

func TestPick_doesNotAllocate(t *testing.T) {
	r, s, tried := ring(t, 1, 2, 3), new(State), new(RetrySet)
	if n := testing.AllocsPerRun(100, func() {
		*tried = RetrySet{}
		r.Pick(s, tried)
		r.Pick(s, tried)
	}); n != 0 {
		t.Errorf("a pick and a retry allocate %v times", n)
	}
}

func BenchmarkPick(b *testing.B) {
	for _, n := range []int{1, 10, 1000} {
		b.Run(fmt.Sprintf("targets=%d", n), func(b *testing.B) {
			weights := make([]int, n)
			for i := range weights {
				weights[i] = 100 + i
			}
			r, s := ring(b, weights...), new(State)
			b.ReportAllocs()
			for b.Loop() {
				var tried RetrySet
				r.Pick(s, &tried)
			}
		})
	}
}
