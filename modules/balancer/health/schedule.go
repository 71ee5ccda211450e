package health

import (
	"container/heap"
	"math/rand/v2"
	"sync"
	"time"
)

// most is how many probes of all upstreams are under way at the same time.
const most = 256

// A schedule says whose turn it is to be probed. Targets do not come in rounds,
// but each at its own time, so that many of them are not asked at one moment. It
// has no goroutine but those that probe.
type schedule struct {
	probe func(*target) // set once

	mu      sync.Mutex
	queue   queue       // protected by mu
	line    []*upstream // protected by mu: those whose turn it is, see enqueue
	running int         // protected by mu
	timer   *time.Timer // protected by mu
	closed  bool        // protected by mu
	tasks   sync.WaitGroup
}

// A place is a target's in the schedule, whose mu protects it.
type place struct {
	due  time.Time
	at   int  // in the queue; -1: not there
	busy bool // due, or being probed
	gone bool // is not to be probed any more
}

// turns are an upstream's part of the schedule, whose mu protects them.
type turns struct {
	waiting []*target // due
	running int
	inLine  bool
}

func newSchedule(probe func(*target)) *schedule {
	s := &schedule{probe: probe}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(time.Hour, s.tick)
	return s
}

func (s *schedule) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pump()
}

// begin gives a target a turn at any moment of the interval from now on, which
// depends on how it is: for one that is new, or has just become well or unwell.
func (s *schedule) begin(t *target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.busy || t.gone {
		return // it will get its turn when the probe is over
	}
	s.put(t, rand.Float64())
	s.pump()
}

// end takes a target out.
func (s *schedule) end(t *target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.gone = true
	if t.at >= 0 {
		heap.Remove(&s.queue, t.at)
	}
}

// resume lets a target that was taken out back in.
func (s *schedule) resume(t *target) {
	s.mu.Lock()
	t.gone = false
	s.mu.Unlock()
	s.begin(t)
}

// put sets when a target is due: after so much of its interval. The caller holds
// mu.
func (s *schedule) put(t *target, share float64) {
	if t.at >= 0 {
		heap.Remove(&s.queue, t.at)
	}
	interval := t.up.rules.Load().interval(t.state().Available())
	if interval <= 0 || s.closed {
		return
	}
	t.due = time.Now().Add(time.Duration(float64(interval) * share))
	heap.Push(&s.queue, t)
}

// pump starts what is due, as far as the limits allow, and sets the timer for
// what will be next. The caller holds mu.
func (s *schedule) pump() {
	if s.closed {
		return
	}
	now := time.Now()
	for len(s.queue) > 0 && !s.queue[0].due.After(now) {
		t := heap.Pop(&s.queue).(*target)
		t.busy = true
		t.up.waiting = append(t.up.waiting, t)
		s.enqueue(t.up)
	}
	for s.running < most && len(s.line) > 0 {
		u := s.line[0]
		s.line = s.line[1:]
		u.inLine = false
		t := u.waiting[0]
		u.waiting = u.waiting[1:]
		if t.gone {
			t.busy = false
		} else {
			u.running++
			s.running++
			s.tasks.Go(func() {
				s.probe(t)
				s.done(t)
			})
		}
		s.enqueue(u)
	}
	if len(s.queue) > 0 {
		s.timer.Reset(time.Until(s.queue[0].due))
	}
}

// enqueue lets an upstream stand in line if it has a target to probe and does
// not probe as many as it may. Upstreams take turns, so that one with a thousand
// slow targets holds up itself. The caller holds mu.
func (s *schedule) enqueue(u *upstream) {
	if !u.inLine && len(u.waiting) > 0 && u.running < u.rules.Load().concurrency {
		u.inLine = true
		s.line = append(s.line, u)
	}
}

func (s *schedule) done(t *target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	t.up.running--
	t.busy = false
	if !t.gone {
		s.put(t, 0.95+0.1*rand.Float64())
	}
	s.enqueue(t.up)
	s.pump()
}

// close starts no more probes, and waits for those that are under way.
func (s *schedule) close() {
	s.mu.Lock()
	s.closed = true
	s.timer.Stop()
	s.mu.Unlock()
	s.tasks.Wait()
}

// A queue is a heap of targets, the next one first.
type queue []*target

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

func (q *queue) Push(x any) {
	t := x.(*target)
	t.at = len(*q)
	*q = append(*q, t)
}

func (q *queue) Pop() any {
	old := *q
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	t.at = -1
	return t
}

// Interface guard
var _ heap.Interface = (*queue)(nil)
