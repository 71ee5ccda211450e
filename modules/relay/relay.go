// Package relay copies bytes between two connections until both have ended:
// through the kernel where that is possible, with half-close and reset passed
// on, and with limits for silence.
package relay

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Relay joins a client and an upstream. The fields must not change once Run was
// called, apart from the counters.
type Relay struct {
	Client, Upstream net.Conn

	// First is what was read from the client already; it is passed on before
	// everything else.
	First []byte

	// Silence is how long no byte may come from either side, and Stall how long
	// one side may take none of those that wait for it; 0 is without limit.
	Silence, Stall time.Duration

	// Up and Down are how many bytes were passed on, to the upstream and to the
	// client. They may be read at any time.
	Up, Down atomic.Int64

	// TotalUp and TotalDown, if they are set, count the same along with others.
	TotalUp, TotalDown *atomic.Int64

	moved  atomic.Int64 // when bytes were passed on last
	halves [2]half      // client to upstream, upstream to client

	halfOver atomic.Bool // whether one half has ended in order
	once     sync.Once   // for cause
	cause    error       // why the relay was cut
	cutOff   atomic.Bool // whether cause is set

	mu    sync.Mutex
	timer *time.Timer // protected by mu; nil without limits
	over  bool        // protected by mu
}

// Errors with which Run ends.
var (
	// ErrSilence is that no side has sent anything for too long.
	ErrSilence = errors.New("no byte was sent by either side for too long")

	// ErrStall is that a side did not take what the other one sent.
	ErrStall = errors.New("one side took no byte of what the other one sent for too long")
)

// A SideError is an error of one of the two connections.
type SideError struct {
	Upstream bool // whose connection it is
	Err      error
}

func (e *SideError) Error() string { return e.side() + ": " + e.Err.Error() }
func (e *SideError) Unwrap() error { return e.Err }

func (e *SideError) side() string {
	if e.Upstream {
		return "upstream"
	}
	return "client"
}

// epoch is what times of the relays count from.
var epoch = time.Now()

func now() int64 { return int64(time.Since(epoch)) }

// A half copies in one direction.
type half struct {
	relay        *Relay
	src, dst     net.Conn
	count, total *atomic.Int64
	up           bool
	stalled      atomic.Int64 // since when a write waits; 0: none does
}

// Run copies until both sides have ended, and closes both. It answers nil if
// both have ended in order. What one side does is passed on to the other: an end
// of its bytes as such, an error as a reset.
func (r *Relay) Run() error {
	r.halves[0] = half{relay: r, src: r.Client, dst: r.Upstream, count: &r.Up, total: r.TotalUp, up: true}
	r.halves[1] = half{relay: r, src: r.Upstream, dst: r.Client, count: &r.Down, total: r.TotalDown}
	r.moved.Store(now())
	r.mu.Lock()
	if limit := (limits{r.Silence, r.Stall}).shortest(); limit > 0 {
		r.timer = time.AfterFunc(limit, r.watch)
	}
	r.mu.Unlock()
	down := make(chan struct{})
	go func() {
		defer close(down)
		r.halves[1].run(nil)
	}()
	r.halves[0].run(r.First)
	<-down
	r.mu.Lock()
	r.over = true
	if r.timer != nil {
		r.timer.Stop()
	}
	r.mu.Unlock()
	r.Client.Close()
	r.Upstream.Close()
	if r.cutOff.Load() {
		return r.cause
	}
	return nil
}

// Cut ends the relay for the reason given, which Run answers: both connections
// are closed.
func (r *Relay) Cut(cause error) { r.cut(cause, net.Conn.Close) }

// reset does the same in a way that both sides notice.
func (r *Relay) reset(cause error) {
	r.cut(cause, func(c net.Conn) error { Reset(c); return nil })
}

func (r *Relay) cut(cause error, end func(net.Conn) error) {
	r.once.Do(func() {
		r.cause = cause
		r.cutOff.Store(true)
		for _, c := range []net.Conn{r.Client, r.Upstream} {
			_ = end(c)
		}
	})
}

// Reset closes a connection so that the other side learns that something went
// wrong: with a reset, and over TLS without a close_notify.
func Reset(c net.Conn) {
	for inner := c; ; {
		switch known := inner.(type) {
		case *net.TCPConn:
			_ = known.SetLinger(0)
			known.Close()
			return
		case interface{ NetConn() net.Conn }:
			inner = known.NetConn()
			continue
		}
		c.Close()
		return
	}
}

// watch cuts the relay if a limit has passed, or sets the timer anew. Bytes do
// not touch the timer.
func (r *Relay) watch() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return
	}
	next, err := limits{r.Silence, r.Stall}.judge(now(), r.moved.Load(), r.halves[0].stalled.Load(), r.halves[1].stalled.Load())
	switch {
	case err == ErrStall:
		r.reset(err)
	case err != nil:
		r.Cut(err)
	default:
		r.timer.Reset(next)
	}
}

// passed counts bytes.
func (h *half) passed(n int) {
	h.count.Add(int64(n))
	if h.total != nil {
		h.total.Add(int64(n))
	}
	h.relay.moved.Store(now())
}

// run copies until the source has ended, and passes that on.
func (h *half) run(first []byte) {
	var err error
	if len(first) > 0 {
		err = h.write(first)
	}
	if err == nil {
		err = h.copy()
	}
	if err == nil && h.relay.halfOver.Swap(true) {
		return // both have ended, and Run closes the connections
	}
	if err == nil {
		if c, ok := h.dst.(interface{ CloseWrite() error }); ok {
			if err = c.CloseWrite(); err != nil {
				err = h.ofDestination(err)
			}
		}
	}
	if err != nil && !(gone(err) && h.relay.cutOff.Load()) {
		h.relay.reset(err)
	}
}

// gone reports whether an error is about a connection that was closed here.
func gone(err error) bool { return errors.Is(err, net.ErrClosed) }

func (h *half) ofSource(err error) error      { return &SideError{Upstream: !h.up, Err: err} }
func (h *half) ofDestination(err error) error { return &SideError{Upstream: h.up, Err: err} }

// buffers are for copying what the kernel cannot copy.
var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// copyPlain copies through a buffer.
func (h *half) copyPlain() error {
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	for {
		n, err := h.src.Read(*b)
		if n > 0 {
			if err := h.write((*b)[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == nil:
		case err == io.EOF:
			return nil
		default:
			return h.ofSource(err)
		}
	}
}

// write passes bytes on.
func (h *half) write(b []byte) error {
	h.stalled.Store(now())
	n, err := h.dst.Write(b)
	h.stalled.Store(0)
	h.passed(n)
	if err != nil {
		return h.ofDestination(err)
	}
	return nil
}

// IsReset reports whether an error is a connection's sudden end by its other
// side.
func IsReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
