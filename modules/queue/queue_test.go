package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/portcullis-gateway/portcullis/modules/patient"
)

// usual are the settings of a plugin that says nothing.
func usual() Settings {
	return Settings{MaxBatchSize: 1, MaxCoalescingDelay: 1, MaxEntries: 10000, MaxRetryTime: 60,
		InitialRetryDelay: 0.01, MaxRetryDelay: 60, ConcurrencyLimit: 1}
}

// A receiver notes what it gets, and when, since it was made.
type receiver struct {
	mu      sync.Mutex
	began   time.Time
	batches []string
	times   []time.Duration
	down    bool
	tries   int
}

func newReceiver() *receiver { return &receiver{began: time.Now()} }

func (r *receiver) send(_ context.Context, batch [][]byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tries++
	r.times = append(r.times, time.Since(r.began).Round(time.Millisecond))
	if r.down {
		return errors.New("away")
	}
	var texts []string
	for _, e := range batch {
		texts = append(texts, string(e))
	}
	r.batches = append(r.batches, strings.Join(texts, " "))
	return nil
}

func (r *receiver) setDown(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
}

func (r *receiver) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.batches)
}

func add(q *Queue, from, to int) {
	for i := from; i < to; i++ {
		q.Add([]byte(fmt.Sprint(i)))
	}
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestQueue_batches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newReceiver(), usual()
		s.MaxBatchSize, s.MaxCoalescingDelay = 3, 2
		q := New("test", s, r.send)
		defer q.Close(nil)
		add(q, 0, 4)
		synctest.Wait()
		want(t, r.got(), "0 1 2")
		time.Sleep(time.Second)
		add(q, 4, 5)
		time.Sleep(999 * time.Millisecond)
		synctest.Wait()
		want(t, r.got(), "0 1 2")
		time.Sleep(time.Millisecond)
		synctest.Wait()
		want(t, r.got(), "0 1 2", "3 4")
	})
}

func TestQueue_oneByOneWithoutDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver()
		q := New("test", usual(), r.send)
		defer q.Close(nil)
		add(q, 0, 3)
		synctest.Wait()
		want(t, r.got(), "0", "1", "2")
		if r.times[2] != 0 {
			t.Errorf("they took %v", r.times)
		}
	})
}

func TestQueue_retriesWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newReceiver(), usual()
		s.InitialRetryDelay, s.MaxRetryDelay, s.MaxRetryTime = 1, 5, 20
		core, logs := observer.New(zap.InfoLevel)
		q := New("test", s, r.send)
		q.Use(zap.New(core))
		defer q.Close(nil)
		r.setDown(true)
		add(q, 0, 1)
		time.Sleep(time.Minute)
		synctest.Wait()
		sec := time.Second
		// Given up at the first failure after 20 seconds.
		if want := []time.Duration{0, sec, 3 * sec, 7 * sec, 12 * sec, 17 * sec, 22 * sec}; !slices.Equal(r.times, want) {
			t.Errorf("tries at %v, want %v", r.times, want)
		}
		if logs.FilterMessage("entries were lost, since the receiver did not take them in time").Len() != 1 {
			t.Errorf("logged %v", logs.All())
		}
		r.setDown(false)
		add(q, 1, 2)
		synctest.Wait()
		want(t, r.got(), "1")
		if logs.FilterMessage("receiver takes entries again").Len() != 1 {
			t.Errorf("logged %v", logs.All())
		}
	})
}

func TestQueue_keepsOrderWhenTheReceiverReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver()
		q := New("test", usual(), r.send)
		defer q.Close(nil)
		r.setDown(true)
		add(q, 0, 3)
		time.Sleep(5 * time.Second)
		r.setDown(false)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		want(t, r.got(), "0", "1", "2")
	})
}

func TestQueue_noRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newReceiver(), usual()
		s.MaxRetryTime = -1
		q := New("test", s, r.send)
		defer q.Close(nil)
		r.setDown(true)
		add(q, 0, 1)
		time.Sleep(time.Minute)
		synctest.Wait()
		if r.tries != 1 {
			t.Errorf("%d tries", r.tries)
		}
	})
}

func TestQueue_dropsTheOldest(t *testing.T) {
	for _, tt := range []struct {
		name  string
		limit func(*Settings)
		want  string
	}{
		{"entries", func(s *Settings) { s.MaxEntries = 3 }, "7 8 9"},
		{"bytes", func(s *Settings) { s.MaxBytes = 4 }, "6 7 8 9"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, s := newReceiver(), usual()
				tt.limit(&s)
				core, logs := observer.New(zap.InfoLevel)
				q := New("test", s, r.send)
				q.Use(zap.New(core))
				r.setDown(true)
				q.Add([]byte("f"))
				synctest.Wait() // it is on its way, and no longer in the queue
				q.Add([]byte("far too large for the limit"))
				add(q, 0, 10)
				r.setDown(false)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				got := r.got()
				want(t, []string{strings.Join(got[len(got)-strings.Count(tt.want, " ")-1:], " ")}, tt.want)
				if n := logs.FilterMessage("queue is full, entries were dropped").Len(); n != 1 {
					t.Errorf("drops were told of %d times", n)
				}
				q.Close(nil)
			})
		})
	}
}

func TestQueue_closeSendsWhatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newReceiver(), usual()
		s.MaxBatchSize, s.MaxCoalescingDelay = 10, 3600
		q := New("test", s, r.send)
		add(q, 0, 3)
		synctest.Wait()
		over := false
		q.Close(func() { over = len(r.got()) == 1 })
		q.Close(nil)
		Drain(t.Context())
		want(t, r.got(), "0 1 2")
		if !over {
			t.Error("what was to come then did not")
		}
		q.Add([]byte("late"))
		synctest.Wait()
		want(t, r.got(), "0 1 2")
	})
}

func TestQueue_closeDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New("test", usual(), func(ctx context.Context, _ [][]byte) error {
			<-ctx.Done()
			return ctx.Err()
		})
		add(q, 0, 3)
		synctest.Wait()
		began := time.Now()
		q.Close(nil)
		Drain(t.Context())
		if took := time.Since(began); took != DrainTime {
			t.Errorf("it took %v", took)
		}
	})
}

func TestQueue_allAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most := 0, 0
		s := usual()
		s.ConcurrencyLimit, s.MaxEntries = -1, 20
		q := New("test", s, func(ctx context.Context, batch [][]byte) error {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			return nil
		})
		add(q, 0, 50)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if most != 20 {
			t.Errorf("%d at the same time", most)
		}
		q.Close(nil)
	})
}

// TestQueue_manyWriters compares what many goroutines add with what arrives.
func TestQueue_manyWriters(t *testing.T) {
	r, s := newReceiver(), usual()
	s.MaxBatchSize, s.MaxCoalescingDelay, s.MaxEntries = 7, 0.1, 1000000
	q := New("test", s, r.send)
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() { add(q, w*1000, (w+1)*1000) })
	}
	writers.Wait()
	q.Close(nil)
	ctx, cancel := context.WithTimeout(t.Context(), patient.Limit)
	defer cancel()
	Drain(ctx)
	last := map[string]string{}
	n := 0
	for _, b := range r.got() {
		for _, e := range strings.Fields(b) {
			writer := "0"
			if len(e) == 4 {
				writer = e[:1]
			}
			if before := last[writer]; len(e) == len(before) && e <= before {
				t.Fatalf("%s came after %s", e, before)
			}
			last[writer] = e
			n++
		}
	}
	if n != 8000 {
		t.Errorf("%d entries arrived", n)
	}
}

func BenchmarkAdd(b *testing.B) {
	s := usual()
	s.MaxBatchSize, s.MaxCoalescingDelay = 500, 0
	q := New("bench", s, func(context.Context, [][]byte) error { return nil })
	defer q.Close(nil)
	entry := make([]byte, 1500)
	b.ReportAllocs()
	for b.Loop() {
		q.Add(entry)
	}
}
