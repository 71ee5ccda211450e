package ratelimiting

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A model remembers each request that was let in, and looks at all of them to
// decide about the next.
type model struct {
	limits [periods]*float64
	passed []event
}

type event struct {
	client string
	at     time.Time
}

var layouts = [periods]string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02 15", "2006-01-02", "2006-01", "2006"}

func (m *model) take(client string, now time.Time) (used counts, ok bool) {
	ok = true
	for p, limit := range m.limits {
		if limit == nil {
			continue
		}
		for _, e := range m.passed {
			if e.client == client && e.at.UTC().Format(layouts[p]) == now.UTC().Format(layouts[p]) {
				used[p]++
			}
		}
		ok = ok && float64(used[p]) < *limit
	}
	if ok {
		m.passed = append(m.passed, event{client, now})
	}
	return used, ok
}

// agrees makes random requests, at times that move on, and compares what c and
// the model say of each. The function between may do something before each.
func agrees(t *testing.T, make func() counters, steps []time.Duration, from int, between func(time.Time)) {
	t.Helper()
	for round := range 20 {
		r := rand.New(rand.NewPCG(1, uint64(round)))
		m := new(model)
		limit := 0.0
		for p := from; p < periods; p++ {
			if r.IntN(2) == 0 || p == hour {
				limit += float64(r.IntN(8)) + float64(r.IntN(2))/2 + 0.5
				m.limits[p] = new(limit)
			}
		}
		c, l := make(), newLimits(m.limits, true)
		now := time.Date(2026, 11, 24, 20, 0, 0, 0, time.UTC)
		for i := range 400 {
			now = now.Add(steps[r.IntN(len(steps))])
			if between != nil {
				between(now)
			}
			client := fmt.Sprintf("client %d of round %d", r.IntN(3), round)
			want, pass := m.take(client, now)
			got, err := c.take([]byte(client), now, &tickAt(now).windows, l)
			if err != nil {
				t.Fatal(err)
			}
			if got != want || l.full(&got) == pass {
				t.Fatalf("round %d, request %d, %s at %s: got %v, want %v", round, i, client, now, got, want)
			}
		}
	}
}

var anyStep = []time.Duration{0, 0, 0, 0, 0, 100 * time.Millisecond, time.Second, 7 * time.Second, time.Minute, 11 * time.Minute, time.Hour, 9 * time.Hour, 20 * 24 * time.Hour}

func TestTable_agreesWithModel(t *testing.T) {
	var tab *table
	agrees(t, func() counters { tab = newTable(nil, 0); return tab }, anyStep, second, func(now time.Time) {
		if rand.IntN(5) == 0 {
			tab.sweep(now)
		}
	})
}

// memory is a source that others share.
type memory struct {
	mu     sync.Mutex
	counts map[string]int64 // protected by mu
	fails  atomic.Bool
	lost   string // the client whose counters are out of reach; protected by mu
	asked  atomic.Int64
}

func (m *memory) add(list []delta) ([]int64, error) {
	m.asked.Add(1)
	if m.fails.Load() {
		return nil, errors.New("out of order")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	totals := make([]int64, len(list))
	var err error
	for i, d := range list {
		if d.client == m.lost {
			totals[i], err = -1, errors.New("out of reach")
			continue
		}
		k := key("", d, false)
		m.counts[k] += d.n
		totals[i] = m.counts[k]
	}
	return totals, err
}

func (m *memory) lose(client string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lost = client
}

func (m *memory) end() error { return nil }

func (m *memory) sum(period int) (n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, v := range m.counts {
		if strings.HasSuffix(k, ":"+names[period]) {
			n += v
		}
	}
	return n
}

// TestTable_agreesWithModelBehindSource does so with a source that is told now
// and then, and forgets nothing; the table is replaced by a new one at times, as
// at a restart.
func TestTable_agreesWithModelBehindSource(t *testing.T) {
	tab := new(restarted)
	agrees(t, func() counters {
		tab.source = &memory{counts: map[string]int64{}}
		tab.table = newTable(tab.source, time.Second)
		return tab
	}, anyStep, second, func(now time.Time) {
		switch rand.IntN(8) {
		case 0, 1:
			tab.flush()
		case 2:
			tab.sweep(now)
		case 3:
			if err := tab.Destruct(); err != nil {
				t.Error(err)
			}
			tab.table = newTable(tab.source, time.Second)
		}
	})
}

type restarted struct {
	*table
	source *memory
}

// TestTable_exactWithSource counts who passes on one node while it tells the
// source all the time.
func TestTable_exactWithSource(t *testing.T) {
	m := &memory{counts: map[string]int64{}}
	tab := newTable(m, time.Millisecond)
	l := newLimits([periods]*float64{hour: new(500.0), day: new(600.0)}, true)
	now := time.Date(2026, 11, 24, 20, 0, 0, 0, time.UTC)
	var passed [3]atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var flusher sync.WaitGroup
	flusher.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				tab.flush()
			}
		}
	})
	for range 10 {
		wg.Go(func() {
			for i := range 600 {
				client := i % 3
				used, err := tab.take([]byte{byte('a' + client)}, now.Add(time.Duration(i)*time.Millisecond), &tickAt(now).windows, l)
				if err != nil {
					t.Error(err)
				}
				if !l.full(&used) {
					passed[client].Add(1)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	flusher.Wait()
	if err := tab.Destruct(); err != nil {
		t.Fatal(err)
	}
	var all int64
	for c := range passed {
		if n := passed[c].Load(); n != 500 {
			t.Errorf("client %d: %d passed, want 500", c, n)
		}
		all += passed[c].Load()
	}
	if h, d := m.sum(hour), m.sum(day); h != all || d != all {
		t.Errorf("the source counted %d and %d, want %d", h, d, all)
	}
}

// TestTable_nodesShareSource lets two tables count for one source.
func TestTable_nodesShareSource(t *testing.T) {
	m := &memory{counts: map[string]int64{}}
	a, b := newTable(m, time.Second), newTable(m, time.Second)
	l := newLimits([periods]*float64{year: new(10.0)}, true)
	now := time.Now()
	used := func(tab *table) int64 {
		t.Helper()
		c, err := tab.take([]byte("x"), now, &tickAt(now).windows, l)
		if err != nil {
			t.Fatal(err)
		}
		return c[year]
	}
	for i := range int64(3) {
		if n := used(a); n != i {
			t.Errorf("got %d, want %d", n, i)
		}
	}
	a.flush()
	if n := used(b); n != 3 {
		t.Errorf("the other node starts with %d, want 3", n)
	}
	b.flush()
	if n := used(a); n != 3 {
		t.Errorf("got %d before the next exchange is due, want 3", n)
	}
	a.flush()
	now = now.Add(2 * time.Second)
	if n := used(b); n != 5 {
		t.Errorf("got %d, want 5", n)
	}
}

// TestTable_sourceFails keeps what could not be sent, and says so of requests
// that need the source.
func TestTable_sourceFails(t *testing.T) {
	m := &memory{counts: map[string]int64{}}
	tab := newTable(m, time.Hour)
	defer tab.ended.Store(true)
	l := newLimits([periods]*float64{day: new(10.0)}, true)
	now := time.Now()
	take := func(client string) error {
		_, err := tab.take([]byte(client), now, &tickAt(now).windows, l)
		return err
	}
	if err := take("a"); err != nil {
		t.Fatal(err)
	}
	m.fails.Store(true)
	tab.flush()
	if take("b") == nil {
		t.Error("a client that nothing is known of was counted")
	}
	if m.sum(day) != 0 {
		t.Error("the source counted")
	}
	m.fails.Store(false)
	if err := take("b"); err != nil {
		t.Error(err)
	}
	tab.flush()
	if n := m.sum(day); n != 2 {
		t.Errorf("the source counted %d, want 2", n)
	}
}

// TestTable_sourceFailsInPart sends again what could not be added, and only that,
// as when one of several servers is away.
func TestTable_sourceFailsInPart(t *testing.T) {
	m := &memory{counts: map[string]int64{}}
	tab := newTable(m, time.Nanosecond)
	tab.flushing.Store(true) // here
	l := newLimits([periods]*float64{day: new(10.0), year: new(20.0)}, true)
	now := time.Now()
	take := func(client string) error {
		now = now.Add(time.Microsecond)
		_, err := tab.take([]byte(client), now, &tickAt(now).windows, l)
		return err
	}
	for _, client := range []string{"a", "b"} {
		if err := take(client); err != nil {
			t.Fatal(err)
		}
	}
	m.lose("b")
	for range 3 {
		tab.flush()
	}
	if d, y := m.sum(day), m.sum(year); d != 1 || y != 1 {
		t.Errorf("the source counted %d and %d, want 1: a's", d, y)
	}
	if err := take("a"); err != nil {
		t.Errorf("a is out of reach: %v", err)
	}
	if take("b") == nil {
		t.Error("b was counted without being asked for")
	}
	m.lose("")
	tab.flush()
	if d, y := m.sum(day), m.sum(year); d != 3 || y != 3 {
		t.Errorf("then the source counted %d and %d, want 3", d, y)
	}
}

// TestTable_waitersHearOfFailure lets many requests of a new client wait for one
// question that fails.
func TestTable_waitersHearOfFailure(t *testing.T) {
	m := &slow{memory: memory{counts: map[string]int64{}}, entered: make(chan struct{}, 1), release: make(chan struct{})}
	m.fails.Store(true)
	tab := newTable(m, time.Second)
	l := newLimits([periods]*float64{day: new(10.0)}, true)
	now := time.Now()
	var failed atomic.Int64
	var wg sync.WaitGroup
	ask := func() {
		if _, err := tab.take([]byte("a"), now, &tickAt(now).windows, l); err != nil {
			failed.Add(1)
		}
	}
	wg.Go(ask)
	<-m.entered
	for range 20 {
		wg.Go(ask)
	}
	close(m.release)
	wg.Wait()
	if n := failed.Load(); n != 21 {
		t.Errorf("%d of 21 requests heard of the failure", n)
	}
}

type slow struct {
	memory
	entered chan struct{}
	release chan struct{}
}

func (s *slow) add(list []delta) ([]int64, error) {
	select {
	case s.entered <- struct{}{}:
	default:
	}
	<-s.release
	return s.memory.add(list)
}

func TestTable_forgets(t *testing.T) {
	tab := newTable(nil, 0)
	l := newLimits([periods]*float64{second: new(1.0), minute: new(2.0)}, true)
	now := time.Date(2026, 11, 24, 20, 0, 30, 0, time.UTC)
	for i := range 1000 {
		if _, err := tab.take(fmt.Appendf(nil, "%d", i), now, &tickAt(now).windows, l); err != nil {
			t.Fatal(err)
		}
	}
	if left := tab.sweep(now.Add(29 * time.Second)); left != 1000 {
		t.Errorf("%d clients are left within the minute, want 1000", left)
	}
	if left := tab.sweep(now.Add(30 * time.Second)); left != 0 {
		t.Errorf("%d clients are left after the minute", left)
	}
}

func TestTable_isBounded(t *testing.T) {
	tab := newTable(nil, 0)
	l := newLimits([periods]*float64{year: new(1.0)}, true)
	now := time.Date(2026, 11, 24, 20, 0, 30, 0, time.UTC)
	for i := range most + most/2 {
		at := now.Add(time.Duration(i/1000) * time.Second)
		if _, err := tab.take(fmt.Appendf(nil, "%d", i), at, &tickAt(at).windows, l); err != nil {
			t.Fatal(err)
		}
	}
	if left := tab.sweep(now); left > most {
		t.Errorf("%d clients are remembered, want at most %d", left, most)
	}
	// those that came last are there
	at := now.Add(time.Hour)
	kept := 0
	for i := most + most/2 - 1000; i < most+most/2; i++ {
		if used, _ := tab.take(fmt.Appendf(nil, "%d", i), at, &tickAt(at).windows, l); used[year] == 1 {
			kept++
		}
	}
	if kept < 990 {
		t.Errorf("%d of the last 1000 clients are remembered", kept)
	}
}

func TestEnd(t *testing.T) {
	for _, tt := range []struct{ at, ends string }{
		{"2024-02-29T23:59:59Z", "2024-02-29T23:59:59Z 2024-02-29T23:59:00Z 2024-02-29T23:00:00Z 2024-02-29T00:00:00Z 2024-02-01T00:00:00Z 2024-01-01T00:00:00Z"},
	} {
		now, _ := time.Parse(time.RFC3339, tt.at)
		var got []string
		for p, start := range &tickAt(now).windows {
			got = append(got, time.Unix(start, 0).UTC().Format(time.RFC3339))
			over := time.Unix(end(p, start), 0)
			if before := &tickAt(over.Add(-time.Second)).windows; before[p] != start {
				t.Errorf("%s: the window ended before its end", names[p])
			}
			if after := &tickAt(over).windows; after[p] != over.Unix() {
				t.Errorf("%s: no window begins at the end", names[p])
			}
		}
		if strings.Join(got, " ") != tt.ends {
			t.Errorf("got %s", got)
		}
	}
}

// BenchmarkTake is what counting costs: of one client, and of many by as many
// goroutines as there are cores.
func BenchmarkTake(b *testing.B) {
	l := newLimits([periods]*float64{second: new(1e12), minute: new(1e12), hour: new(1e12)}, true)
	now := time.Now()
	at := &tickAt(now).windows
	names := make([][]byte, 10_000)
	for i := range names {
		names[i] = fmt.Appendf(nil, "192.0.2.%d", i)
	}
	for _, bm := range []struct {
		name   string
		source source
	}{{"local", nil}, {"source", &memory{counts: map[string]int64{}}}} {
		b.Run(bm.name+"/one client", func(b *testing.B) {
			tab := newTable(bm.source, time.Minute)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = tab.take(names[0], now, at, l)
			}
		})
		b.Run(bm.name+"/many clients", func(b *testing.B) {
			tab := newTable(bm.source, time.Minute)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					_, _ = tab.take(names[i%len(names)], now, at, l)
				}
			})
		})
	}
}
