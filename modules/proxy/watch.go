package proxy

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Why a watch ended a try.
var (
	errReadTimeout   = errors.New("timeout while waiting for the upstream to send")
	errWriteTimeout  = errors.New("timeout while waiting for the upstream to receive")
	errClientTimeout = errors.New("timeout while waiting for the client to send its body")
	errSendTimeout   = errors.New("timeout while waiting for the client to receive")
)

// A watch limits how long each single step of a try may take: between two reads
// from the upstream or two writes to it, two reads of the client's body or two
// writes to the client, as nginx's proxy_read_timeout, proxy_send_timeout,
// client_body_timeout and send_timeout do. The total time has no limit.
//
// A step only notes when it must be over. The round, which goes past all tries of
// the process, finds it late by two rounds at most.
type watch struct {
	limits [steps]time.Duration
	ends   [steps]atomic.Int64 // on the round's clock; 0: the step is not under way
}

type step int

const (
	reading  step = iota // from the upstream
	writing              // to the upstream
	awaiting             // the client's body
	sending              // to the client
	steps
)

var stepErrors = [steps]error{errReadTimeout, errWriteTimeout, errClientTimeout, errSendTimeout}

// begin says that a step is under way from now on; said again, that it has
// made progress.
func (w *watch) begin(s step) {
	w.ends[s].Store(rounds.now.Load() + int64(w.limits[s]+roundTime))
}

// finish says that a step is over.
func (w *watch) finish(s step) { w.ends[s].Store(0) }

// late is the step that is overdue, if one is.
func (w *watch) late(now int64) error {
	for s := range w.ends {
		if end := w.ends[s].Load(); end != 0 && end < now {
			return stepErrors[s]
		}
	}
	return nil
}

// roundTime is how often the round goes past the tries. It is short for a timeout
// and long for a request.
const roundTime = 25 * time.Millisecond

// rounds looks after the tries that are under way.
//
// Most tries are over before it comes by, and those cost two lines in a list. Only
// what is still there the second time is worth a timer's attention, and the
// client's: whether it still waits is found out from then on.
var rounds round

type round struct {
	now atomic.Int64 // nanoseconds since begun, as of the last round

	mu      sync.Mutex
	begun   time.Time // protected by mu
	first   *try      // protected by mu, as are the links of all tries
	walking bool      // protected by mu
}

// add takes a try into the round.
func (r *round) add(t *try) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.next = r.first; t.next != nil {
		t.next.prev = t
	}
	r.first = t
	if r.walking {
		return
	}
	if r.begun.IsZero() {
		r.begun = time.Now()
	}
	r.walking = true
	r.now.Store(int64(time.Since(r.begun)))
	go r.walk()
}

// remove takes it out. The round may still be at it.
func (r *round) remove(t *try) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case t.prev != nil:
		t.prev.next = t.next
	case r.first == t:
		r.first = t.next
	default:
		return // it is out already
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	t.next, t.prev = nil, nil
}

// restTime is for how long the round waits for new tries when there are none. To
// start again for each would cost more than to walk on.
const restTime = time.Second

// walk goes on while there are tries.
func (r *round) walk() {
	ticker := time.NewTicker(roundTime)
	defer ticker.Stop()
	idle := 0
	for range ticker.C {
		var late, slow []*try
		r.mu.Lock()
		now := int64(time.Since(r.begun))
		r.now.Store(now)
		for t := r.first; t != nil; t = t.next {
			if t.watch.late(now) != nil {
				late, t.picked = append(late, t), true
			} else if t.rounds++; t.rounds == 2 {
				slow, t.picked = append(slow, t), true
			}
		}
		if r.first != nil {
			idle = 0
		} else if idle++; idle > int(restTime/roundTime) {
			r.walking = false
		}
		walking := r.walking
		r.mu.Unlock()
		for _, t := range late {
			if err := t.watch.late(now); err != nil {
				t.abort(err)
			}
		}
		for _, t := range slow {
			t.follow()
		}
		if !walking {
			return
		}
	}
}
