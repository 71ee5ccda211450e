package health

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// probes counts those of a schedule whose probes take so long.
type probes struct {
	mu      sync.Mutex
	of      map[*target]int
	running map[*upstream]int
	most    map[*upstream]int
	all     int
	mostAll int
}

func newProbes(took time.Duration) (*probes, *schedule) {
	p := &probes{of: make(map[*target]int), running: make(map[*upstream]int), most: make(map[*upstream]int)}
	return p, newSchedule(func(t *target) {
		p.mu.Lock()
		p.of[t]++
		p.running[t.up]++
		p.all++
		p.most[t.up], p.mostAll = max(p.most[t.up], p.running[t.up]), max(p.mostAll, p.all)
		p.mu.Unlock()
		time.Sleep(took) // the bubble's time
		p.mu.Lock()
		p.running[t.up]--
		p.all--
		p.mu.Unlock()
	})
}

func (p *probes) count(t *target) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.of[t]
}

func timed(healthy, unhealthy time.Duration, concurrency int) *upstream {
	u := new(upstream)
	u.rules.Store(&rules{intervals: [2]time.Duration{healthy, unhealthy}, concurrency: concurrency})
	return u
}

func (u *upstream) some(s *schedule, n int) []*target {
	list := make([]*target, n)
	for i := range list {
		list[i] = &target{place: place{at: -1}, up: u}
		s.begin(list[i])
	}
	return list
}

func TestSchedule_eachSideHasItsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := newProbes(0)
		defer s.close()
		a := timed(time.Second, 100*time.Millisecond, 10).some(s, 1)[0]
		time.Sleep(100 * time.Second)
		if n := p.count(a); n < 95 || n > 106 {
			t.Errorf("%d probes in 100 s at an interval of 1 s", n)
		}
		a.set(Unhealthy)
		s.begin(a)
		before := p.count(a)
		time.Sleep(10 * time.Second)
		if n := p.count(a) - before; n < 95 || n > 106 {
			t.Errorf("%d probes in 10 s at an interval of 0.1 s", n)
		}
	})
}

func TestSchedule_sideWithoutIntervalIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := newProbes(0)
		defer s.close()
		a := timed(time.Second, 0, 10).some(s, 1)[0]
		time.Sleep(10 * time.Second)
		a.set(Unhealthy)
		s.begin(a)
		before := p.count(a)
		if before == 0 {
			t.Error("the healthy are not probed")
		}
		time.Sleep(time.Hour)
		if n := p.count(a) - before; n != 0 {
			t.Errorf("%d probes without an interval", n)
		}
	})
}

func TestSchedule_beginsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := newProbes(0)
		defer s.close()
		list := timed(10*time.Second, 0, 1<<20).some(s, 10000)
		for second := 1; second < 10; second++ {
			time.Sleep(time.Second)
			seen := 0
			for _, a := range list {
				seen += p.count(a)
			}
			if want := 1000 * second; seen < want-200 || seen > want+200 {
				t.Errorf("after %d s %d of 10000 targets were probed, want about %d", second, seen, want)
			}
		}
	})
}

func TestSchedule_isBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := newProbes(2 * time.Second)
		defer s.close()
		slow := timed(time.Second, 0, 7)
		slow.some(s, 1000)
		var others []*upstream
		for range 100 {
			u := timed(time.Second, 0, 100)
			u.some(s, 20)
			others = append(others, u)
		}
		small := timed(time.Second, 0, 10)
		lonely := small.some(s, 1)[0]
		time.Sleep(2 * time.Minute)
		p.mu.Lock()
		if p.most[slow] != 7 {
			t.Errorf("an upstream with a concurrency of 7 had %d probes at once", p.most[slow])
		}
		if p.mostAll != most {
			t.Errorf("%d probes at once, want %d", p.mostAll, most)
		}
		p.mu.Unlock()
		// 3001 targets at 128 probes a second; upstreams take turns, so one with
		// a single target waits for a round of the line and not for all targets.
		if n := p.count(lonely); n < 30 {
			t.Errorf("the target of a small upstream was probed %d times in 2 minutes", n)
		}
		_ = others
	})
}

func TestSchedule_neverTheSameTargetTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := newProbes(5 * time.Second)
		defer s.close()
		u := timed(time.Second, time.Second, 10)
		a := u.some(s, 1)[0]
		for range 60 {
			time.Sleep(time.Second)
			s.begin(a)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.most[u] != 1 {
			t.Errorf("%d probes of one target at once", p.most[u])
		}
	})
}

func TestSchedule_end(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := newProbes(0)
		defer s.close()
		a := timed(time.Second, 0, 1).some(s, 1)[0]
		time.Sleep(5 * time.Second)
		s.end(a)
		before := p.count(a)
		time.Sleep(time.Minute)
		if n := p.count(a) - before; n != 0 {
			t.Errorf("%d probes after the end", n)
		}
		s.resume(a)
		time.Sleep(time.Minute)
		if p.count(a) == before {
			t.Error("no probe after it was taken in again")
		}
	})
}

func TestEnabled(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*entity.Healthchecks)
		want bool
	}{
		{"nothing", func(*entity.Healthchecks) {}, false},
		{"interval of the healthy", func(h *entity.Healthchecks) { h.Active.Healthy.Interval = 0.5 }, true},
		{"interval of the unhealthy", func(h *entity.Healthchecks) { h.Active.Unhealthy.Interval = 1 }, true},
		{"tcp failures of traffic", func(h *entity.Healthchecks) { h.Passive.Unhealthy.TCPFailures = 1 }, true},
		{"timeouts of traffic", func(h *entity.Healthchecks) { h.Passive.Unhealthy.Timeouts = 1 }, true},
		{"http failures of traffic", func(h *entity.Healthchecks) { h.Passive.Unhealthy.HTTPFailures = 1 }, true},
		{"successes of traffic alone", func(h *entity.Healthchecks) { h.Passive.Healthy.Successes = 1 }, false},
		{"limits of probes alone", func(h *entity.Healthchecks) { h.Active.Unhealthy.TCPFailures = 1 }, false},
	} {
		u := new(entity.Upstream)
		tt.set(&u.Healthchecks)
		if got := Enabled(u); got != tt.want {
			t.Errorf("%s: got %t, want %t", tt.name, got, tt.want)
		}
	}
}
