package queue

import (
	"context"
	"sync"
	"time"
)

// A ring is a queue of entries in memory that is used again.
type ring struct {
	list  [][]byte
	first int
	count int
	bytes int64
}

func (r *ring) len() int { return r.count }

func (r *ring) push(e []byte) {
	if r.count == len(r.list) {
		grown := make([][]byte, max(16, 2*r.count))
		n := copy(grown, r.list[r.first:])
		copy(grown[n:], r.list[:r.first])
		r.list, r.first = grown, 0
	}
	r.list[(r.first+r.count)%len(r.list)] = e
	r.count++
	r.bytes += int64(len(e))
}

// pop answers the oldest entry. There must be one.
func (r *ring) pop() []byte {
	e := r.list[r.first]
	r.list[r.first] = nil
	r.first = (r.first + 1) % len(r.list)
	r.count--
	r.bytes -= int64(len(e))
	if r.count == 0 {
		*r = ring{list: r.list}
		if len(r.list) > 1024 { // it was a bad time
			r.list = nil
		}
	}
	return e
}

// seldom is how often a trouble that goes on is told of.
const seldom = 10 * time.Second

// A complaint counts what has not been told.
type complaint struct {
	mu   sync.Mutex
	n    int
	last time.Time
}

// add counts n more, and reports whether it is time to tell of them all.
func (c *complaint) add(n int) (all int, now bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += n
	if time.Since(c.last) < seldom {
		return 0, false
	}
	all = c.n
	c.n, c.last = 0, time.Now()
	return all, true
}

// reset answers what has not been told, and begins anew.
func (c *complaint) reset() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.n
	c.n, c.last = 0, time.Time{}
	return n
}

// busy counts the goroutines of all queues that send.
var busy count

type count struct {
	mu   sync.Mutex
	n    int
	idle chan struct{} // closed when n is 0; nil: nobody waits
}

func (c *count) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += n
	if c.n == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

// Drain waits until all queues that were closed have sent what they had, or the
// context ends. A process calls it before it exits, when it has closed them
// all.
func Drain(ctx context.Context) {
	busy.mu.Lock()
	if busy.n == 0 {
		busy.mu.Unlock()
		return
	}
	if busy.idle == nil {
		busy.idle = make(chan struct{})
	}
	idle := busy.idle
	busy.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}
