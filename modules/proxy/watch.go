package proxy

import (
	"errors"
	"slices"
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

// A watch limits how long each single step may take: between two reads from
// the upstream or two writes to it, two reads of the client's body or two writes
// to the client, as nginx's proxy_read_timeout, proxy_send_timeout,
// client_body_timeout and send_timeout do. The total time has no limit.
//
// A step only notes when it must be over; one timer looks every now and then.
// It looks as often as the shortest limit is long, so no step is found late by
// more than that. Safe for concurrent use.
type watch struct {
	limits [steps]time.Duration
	ends   [steps]atomic.Int64 // since start, in nanoseconds; 0: the step is not under way
	late   func(error)
	start  time.Time
	every  time.Duration

	mu      sync.Mutex
	timer   *time.Timer // protected by mu
	stopped bool        // protected by mu
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

// arm starts the watch. When a step takes too long it calls late with the
// step's error, and ends.
func (w *watch) arm(late func(error), limits [steps]time.Duration) {
	w.limits = limits
	w.every = slices.Min(limits[:])
	w.late = late
	w.start = time.Now()
	w.mu.Lock() // the first look may come before AfterFunc returns
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(w.every, w.look)
}

// begin says that a step is under way from now on; said again, that it has
// made progress.
func (w *watch) begin(s step) { w.ends[s].Store(int64(time.Since(w.start) + w.limits[s])) }

// finish says that a step is over.
func (w *watch) finish(s step) { w.ends[s].Store(0) }

// disarm ends the watch. A look that is under way is the last one.
func (w *watch) disarm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.timer.Stop()
}

func (w *watch) look() {
	now, next := time.Since(w.start), w.every
	for s := range w.ends {
		switch left := time.Duration(w.ends[s].Load()) - now; {
		case left == -now: // not under way
		case left <= 0:
			w.late(stepErrors[s])
			return
		default:
			next = min(next, left)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.timer.Reset(next)
	}
}
