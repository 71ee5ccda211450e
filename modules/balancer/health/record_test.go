package health

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// A step is one report, as s, h, t or o (success, http failure, tcp failure,
// timeout), and what the record says after it.
func TestRecord_behaviour(t *testing.T) {
	limits := [4]int{2, 3, 2, 2} // successes, http failures, tcp failures, timeouts
	for _, tt := range []struct {
		name   string
		limits [4]int
		steps  string
		want   string // state after each step
		counts [4]int // after the last: successes, http, tcp, timeouts
	}{
		{"success of the healthy is not counted", limits, "s s s", "healthy healthy healthy", [4]int{}},
		{"failures up to the limit", limits, "h h h", "mostly_healthy mostly_healthy unhealthy", [4]int{0, 3, 0, 0}},
		{"kinds of failures do not zero each other", limits, "h t h o h", "mostly_healthy mostly_healthy mostly_healthy mostly_healthy unhealthy", [4]int{0, 3, 1, 1}},
		{"kinds are not added up", limits, "h t o", "mostly_healthy mostly_healthy mostly_healthy", [4]int{0, 1, 1, 1}},
		{"success zeroes all failures", limits, "h t o s", "mostly_healthy mostly_healthy mostly_healthy mostly_healthy", [4]int{1, 0, 0, 0}},
		{"failure zeroes successes", limits, "h s h s h", "mostly_healthy mostly_healthy mostly_healthy mostly_healthy mostly_healthy", [4]int{0, 1, 0, 0}},
		{"healthy again after enough successes", limits, "h s s", "mostly_healthy mostly_healthy healthy", [4]int{2, 0, 0, 0}},
		{"failure of the unhealthy is not counted", limits, "t t t h o", "mostly_healthy unhealthy unhealthy unhealthy unhealthy", [4]int{0, 0, 2, 0}},
		{"recovery", limits, "o o s s", "mostly_healthy unhealthy mostly_unhealthy healthy", [4]int{2, 0, 0, 0}},
		{"a relapse needs as many failures", limits, "o o s h h h", "mostly_healthy unhealthy mostly_unhealthy mostly_unhealthy mostly_unhealthy unhealthy", [4]int{0, 3, 0, 0}},
		{"limit of one", [4]int{1, 1, 1, 1}, "h s t s o s", "unhealthy healthy unhealthy healthy unhealthy healthy", [4]int{1, 0, 0, 0}},
		{"limit of zero is not counted", [4]int{2, 0, 2, 0}, "h h h h o o o o", strings.TrimSpace(strings.Repeat("healthy ", 8)), [4]int{}},
		{"without successes failures add up for ever", [4]int{0, 3, 0, 0}, "h s s h s s h", "mostly_healthy mostly_healthy mostly_healthy mostly_healthy mostly_healthy mostly_healthy unhealthy", [4]int{0, 3, 0, 0}},
		{"without successes nobody recovers", [4]int{0, 1, 1, 1}, "o s s s s", "unhealthy unhealthy unhealthy unhealthy unhealthy", [4]int{0, 0, 0, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r record
			var got []string
			for _, step := range strings.Fields(tt.steps) {
				kind := Kind(strings.Index("shto", step))
				r.report(kind, tt.limits[kind])
				got = append(got, r.state().String())
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("steps %s\n got %s\nwant %s", tt.steps, s, tt.want)
			}
			if n := r.counters(); n != tt.counts {
				t.Errorf("steps %s: counters are %v, want %v", tt.steps, n, tt.counts)
			}
		})
	}
}

// model says the same as record in words that are too simple to be wrong: it
// follows the description of lua-resty-healthcheck line by line.
type model struct {
	state                    string
	success, http, tcp, time int
}

func (m *model) report(kind Kind, limit int) {
	if limit == 0 {
		return
	}
	if kind == Success {
		if m.state == "healthy" {
			return
		}
		m.http, m.tcp, m.time = 0, 0, 0
		m.success++
		if m.success >= limit {
			m.state = "healthy"
		} else if m.state == "unhealthy" {
			m.state = "mostly_unhealthy"
		}
		return
	}
	if m.state == "unhealthy" {
		return
	}
	m.success = 0
	n := 0
	switch kind {
	case HTTPFailure:
		m.http++
		n = m.http
	case TCPFailure:
		m.tcp++
		n = m.tcp
	case Timeout:
		m.time++
		n = m.time
	}
	if n >= limit {
		m.state = "unhealthy"
	} else if m.state == "healthy" {
		m.state = "mostly_healthy"
	}
}

func TestRecord_agreesWithTheModel(t *testing.T) {
	for seed := range uint64(2000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var limits [2][4]int // of probes and of traffic: they share the counters
		for i := range limits {
			for kind := range limits[i] {
				limits[i][kind] = rnd.IntN(5)
			}
		}
		if seed%100 == 0 {
			limits[0] = [4]int{255, 255, 255, 255}
		}
		var r record
		m := model{state: "healthy"}
		for step := range 400 {
			kind, by := Kind(rnd.IntN(4)), rnd.IntN(2)
			if seed%100 == 0 {
				kind, by = Kind(step/300%2+1), 0
			}
			was := r.state().Available()
			changed := r.report(kind, limits[by][kind])
			m.report(kind, limits[by][kind])
			got := fmt.Sprint(r.state().String(), r.counters())
			want := fmt.Sprint(m.state, [4]int{m.success, m.http, m.tcp, m.time})
			if got != want {
				t.Fatalf("seed %d, step %d, %s with limits %v: got %s, want %s", seed, step, kind, limits, got, want)
			}
			if now := r.state().Available(); changed != (was != now) || now != (m.state == "healthy" || m.state == "mostly_healthy") {
				t.Fatalf("seed %d, step %d: availability went from %t to %t, reported as %t", seed, step, was, now, changed)
			}
		}
	}
}

func TestRecord_setForgetsCounters(t *testing.T) {
	var r record
	r.report(HTTPFailure, 9)
	r.set(Unhealthy)
	if r.state() != Unhealthy || r.counters() != [4]int{} {
		t.Errorf("state %s with counters %v", r.state(), r.counters())
	}
}

func TestRecord_concurrentReportsAreAllCounted(t *testing.T) {
	var r record
	done := make(chan bool)
	for range 4 {
		go func() {
			for range 50 {
				r.report(HTTPFailure, 255)
			}
			done <- true
		}()
	}
	for range 4 {
		<-done
	}
	if n := r.counters(); n[HTTPFailure] != 200 {
		t.Errorf("counted %d of 200", n[HTTPFailure])
	}
}

func BenchmarkRecord_successOfTheHealthy(b *testing.B) {
	var r record
	b.ReportAllocs()
	for b.Loop() {
		r.report(Success, 5)
	}
}
