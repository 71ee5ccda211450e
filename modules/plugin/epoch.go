package plugin

import (
	"math"
	"sync"
	"sync/atomic"
)

// An Epoch is the time between two changes that took modules out of use.
// Requests enter the epoch that they find and leave it when they are over; a
// module that a change took out of use is released when all requests of that
// epoch and of those before have left.
type Epoch struct {
	users atomic.Int64 // below zero: closed

	mu      sync.Mutex
	drained bool      // protected by mu
	passed  bool      // protected by mu: this one and all before have drained
	doomed  []*module // protected by mu
	next    *Epoch    // protected by mu
}

// NewEpoch begins the first epoch.
func NewEpoch() *Epoch { return &Epoch{passed: true} }

const closedEpoch = math.MinInt64 / 2

// Enter counts a request in. If the epoch has ended it answers false; a newer
// one has begun then, or the configuration is at its end.
func (e *Epoch) Enter() bool {
	if e.users.Add(1) > 0 {
		return true
	}
	e.Leave()
	return false
}

// Leave counts a request out.
func (e *Epoch) Leave() {
	if e.users.Add(-1) == closedEpoch {
		e.drain()
	}
}

// end closes the epoch; the modules are released when it and those before have
// drained. The epoch next waits for it; nil: there is none.
func (e *Epoch) end(doomed []*module, next *Epoch) {
	e.mu.Lock()
	e.doomed, e.next = doomed, next
	e.mu.Unlock()
	if e.users.Add(closedEpoch) == closedEpoch {
		e.drain()
	}
}

func (e *Epoch) drain() {
	e.mu.Lock()
	e.drained = true
	e.mu.Unlock()
	e.settle()
}

// settle releases what may be, and goes on to the next epoch.
func (e *Epoch) settle() {
	for e != nil {
		e.mu.Lock()
		if !e.drained || !e.passed {
			e.mu.Unlock()
			return
		}
		doomed, next := e.doomed, e.next
		e.doomed = nil
		e.mu.Unlock()
		for _, m := range doomed {
			m.close()
		}
		if next != nil {
			next.mu.Lock()
			next.passed = true
			next.mu.Unlock()
		}
		e = next
	}
}
