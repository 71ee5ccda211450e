package balancer

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

var (
	leastUpstream   = &entity.Upstream{Algorithm: "least-connections"}
	latencyUpstream = &entity.Upstream{Algorithm: "latency"}
)

// TestLeastConnections_isTheSmallestLoad picks and releases at random, and
// compares each pick with all that could have been picked.
func TestLeastConnections_isTheSmallestLoad(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 300), 1, 8).Draw(r, "weights")
		p := pool(t, leastUpstream, targets(weights...)...)
		var busy []*Address
		open := map[*Address]int{}
		for range rapid.IntRange(1, 60).Draw(r, "steps") {
			switch k := rapid.IntRange(0, 5).Draw(r, "kind"); {
			case k == 0:
				a := rapid.SampledFrom(p.Addresses()).Draw(r, "address")
				a.Peer.SetAvailable(!a.Peer.Available())
			case k <= 2 && len(busy) > 0:
				i := rapid.IntRange(0, len(busy)-1).Draw(r, "which")
				busy[i].Peer.Release(0)
				open[busy[i]]--
				busy = append(busy[:i], busy[i+1:]...)
			default:
				got, err := p.Pick(t.Context(), 0, new(RetrySet))
				least := math.Inf(1)
				for _, a := range p.Addresses() {
					if a.Peer.Available() {
						least = min(least, float64(open[a]+1)/float64(a.Weight))
					}
				}
				if err != nil {
					if !math.IsInf(least, 1) {
						r.Fatalf("no peer, although some are available")
					}
					continue
				}
				if load := float64(open[got]+1) / float64(got.Weight); load > least {
					r.Fatalf("picked %s with load %v, there was one with %v", name(got), load, least)
				}
				open[got]++
				busy = append(busy, got)
			}
		}
	})
}

func TestLeastConnections_equalsTakeTurns(t *testing.T) {
	p, got := pool(t, leastUpstream, targets(5, 5, 5)...), map[string]int{}
	for range 30 {
		a, _ := p.Pick(t.Context(), 0, new(RetrySet))
		got[name(a)]++
		a.Peer.Release(0)
	}
	if got["t0"] != 10 || got["t1"] != 10 || got["t2"] != 10 {
		t.Errorf("got %v, want 10 each", got)
	}
}

func TestAverage_decays(t *testing.T) {
	var a average
	if !a.fresh() || a.read(time.Second) != 0 {
		t.Error("an average of nothing is not 0")
	}
	a.addAt(2*time.Second, 100*time.Second) // the first one counts in full
	want := func(at time.Duration, seconds float64) {
		t.Helper()
		if got := a.read(at); math.Abs(got-seconds) > 1e-9 {
			t.Errorf("at %v: got %v, want %v", at, got, seconds)
		}
	}
	want(100*time.Second, 2)
	want(110*time.Second, 2/math.E)
	a.addAt(time.Second, 110*time.Second)
	want(110*time.Second, 2/math.E+1*(1-1/math.E))
	want(90*time.Second, 2/math.E+1*(1-1/math.E)) // time does not go back
}

func TestLatency_prefersTheFast(t *testing.T) {
	p := pool(t, latencyUpstream, targets(1, 1, 1)...)
	now := time.Since(epoch)
	for who, d := range map[string]time.Duration{"t0": time.Second, "t1": 100 * time.Millisecond, "t2": time.Second} {
		peer(t, p, who).latency.addAt(d, now)
	}
	got := map[string]int{}
	for range 3000 {
		got[pick(t, p, 0, new(RetrySet))]++
	}
	// It is among the two in two cases of three, and always the better one.
	if got["t1"] < 1850 || got["t1"] > 2150 || got["t0"] < 350 || got["t2"] < 350 {
		t.Errorf("got %v, want about 2000 for t1 and 500 for the others", got)
	}
}

func TestLatency_countsByWeight(t *testing.T) {
	p := pool(t, latencyUpstream, targets(1, 10)...)
	now := time.Since(epoch)
	peer(t, p, "t0").latency.addAt(200*time.Millisecond, now)
	peer(t, p, "t1").latency.addAt(time.Second, now) // a tenth of it counts
	for range 100 {
		if got := pick(t, p, 0, new(RetrySet)); got != "t1" {
			t.Fatalf("got %s, want the heavier one", got)
		}
	}
}

func TestLatency_newcomerStartsAtTheMean(t *testing.T) {
	p := pool(t, latencyUpstream, targets(1, 1)...)
	now := time.Since(epoch)
	peer(t, p, "t0").latency.addAt(time.Second, now)
	peer(t, p, "t1").latency.addAt(3*time.Second, now)
	p.Follow(plan(t, latencyUpstream, targets(1, 1, 1)...))
	if got := peer(t, p, "t2").latency.read(now); got < 1.9 || got > 2.1 {
		t.Errorf("the newcomer starts at %v s, want about 2", got)
	}
}

func TestRelease_measuresForLatencyAlone(t *testing.T) {
	for _, u := range algorithms {
		p := pool(t, u, targets(1)...)
		a, _ := p.Pick(t.Context(), 0, new(RetrySet))
		a.Peer.Release(time.Second)
		if measured := !a.Peer.latency.fresh(); measured != (u.Algorithm == "latency") {
			t.Errorf("%s: measured is %t", u.Algorithm, measured)
		}
	}
}

func BenchmarkLeastConnections(b *testing.B) { benchmarkPick(b, leastUpstream) }
func BenchmarkLatency(b *testing.B)          { benchmarkPick(b, latencyUpstream) }
