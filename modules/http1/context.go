package http1

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A requestContext ends when the client is gone or the handler has returned.
// Only somebody who asks for its channel makes the connection be watched, which
// takes a goroutine.
type requestContext struct {
	conn     *conn
	exchange *exchange
	atEnd    atomic.Bool // the body has been read

	mu       sync.Mutex
	done     chan struct{} // protected by mu; nil: nobody has asked
	err      error         // protected by mu
	watching chan struct{} // protected by mu; closed when the watch is over; nil: there is none
	sealed   bool          // protected by mu; no watch may begin any more
}

// Deadline implements context.Context: there is none.
func (x *requestContext) Deadline() (t time.Time, ok bool) { return }

// Value implements context.Context.
func (x *requestContext) Value(key any) any { return x.conn.ctx.Value(key) }

// Err implements context.Context.
func (x *requestContext) Err() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

// Done implements context.Context.
func (x *requestContext) Done() <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.done == nil {
		x.done = make(chan struct{})
		if x.err != nil {
			close(x.done)
		}
	}
	x.watch()
	return x.done
}

// bodyEnded says that what comes next on the connection is not the body.
func (x *requestContext) bodyEnded() {
	if x.atEnd.Swap(true) {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.done != nil {
		x.watch()
	}
}

// watch waits for the client to go, if it can be told. The caller holds mu.
func (x *requestContext) watch() {
	c := x.conn
	if x.watching != nil || x.sealed || x.err != nil || !x.atEnd.Load() || len(c.buffered()) > 0 {
		return
	}
	over := make(chan struct{})
	x.watching = over
	go func() {
		defer close(over)
		if c.departed() {
			x.finish(context.Canceled)
		}
	}()
}

// unwatch ends the watch for good, before the connection is read for something
// else.
func (x *requestContext) unwatch() {
	x.mu.Lock()
	x.sealed = true
	over := x.watching
	x.mu.Unlock()
	if over == nil {
		return
	}
	select {
	case <-over:
	default:
		_ = x.conn.rwc.SetReadDeadline(longAgo)
		<-over
	}
	_ = x.conn.rwc.SetReadDeadline(time.Time{})
}

// unasked reports whether nobody has asked for the channel.
func (x *requestContext) unasked() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.done == nil
}

// cancel ends the context.
func (x *requestContext) cancel() { x.finish(context.Canceled) }

func (x *requestContext) finish(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err != nil {
		return
	}
	x.err = err
	if x.done != nil {
		close(x.done)
	}
}

// departed waits until the client is gone, or until there is something else to
// read, or the wait is interrupted. Where bytes must be read to know, one is, and
// put into the buffer.
func (c *conn) departed() bool {
	if c.sock != nil {
		return c.sock.gone()
	}
	var one [1]byte
	n, err := c.rwc.Read(one[:])
	if n > 0 {
		if c.buf == nil {
			c.buf = newBuffer()
		}
		(*c.buf)[0], c.r, c.w = one[0], 0, 1
		return false
	}
	return err != nil && !isTimeout(err)
}

// Interface guards
var _ context.Context = (*requestContext)(nil)
