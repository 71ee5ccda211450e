package http1

import (
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Transport sends requests to servers, each on the goroutine of its caller, and
// keeps the connections for the next ones. The zero value keeps none. Set its
// fields before its first use.
type Transport struct {
	// MaxIdle and MaxIdlePerKey are how many idle connections are kept, in all
	// and for each key.
	MaxIdle, MaxIdlePerKey int

	// IdleTimeout is how long one is kept.
	IdleTimeout time.Duration

	// MaxRequests is how many requests a connection gets. Default: without
	// limit.
	MaxRequests int

	// MaxHeaderBytes bounds the head of a response. Default: 32 KiB.
	MaxHeaderBytes int

	mu       sync.Mutex
	idle     map[Key][]*clientConn // protected by mu; the latest one last
	count    int                   // protected by mu; how many those are
	sweeping bool                  // protected by mu
	closed   bool                  // protected by mu
	wake     chan struct{}         // protected by mu; closed by CloseIdle
}

// Key says which connections can take each other's place.
type Key struct {
	// Address is "host:port".
	Address string

	// Identity is what else makes a difference, such as the names and keys of
	// TLS, or the source address.
	Identity string
}

// A Call is one request's side of a Transport. Its methods are called by
// RoundTrip before it returns, but Wrote and Detach, which may come later and
// from another goroutine.
type Call interface {
	// Dial makes a connection.
	Dial() (net.Conn, error)

	// Attach tells which connection the request goes to; it may be the second
	// one, if the first was closed at the other end before it could answer.
	// Until Detach, to interrupt it ends all reads and writes.
	Attach(Interrupter)

	// Detach tells that the connection is no longer the request's.
	Detach()

	// Wrote tells that the request has been written, or that it will not be.
	Wrote()

	// Began is when the call did. To read the clock takes time, so the transport
	// asks.
	Began() time.Time

	// Answers tells that a response begins, also after informational ones, and
	// answers when that is.
	Answers() time.Time

	// Inform passes an informational response on.
	Inform(status int, header http.Header)

	// Reply is memory for the response. It is the transport's until the response's
	// body has been read to its end or closed, or the call has failed.
	Reply() *Reply
}

// An Interrupter is a connection. Interrupt may be called from any goroutine.
type Interrupter interface{ Interrupt() }

// RoundTrip sends a request and reads the head of its response. Of the request,
// Method, Host, Header, Trailer, Body, ContentLength and the request target in
// RequestURI count, and fields are sent behind its Header. A request whose GetBody
// is set or that has no body is sent a second time, on a new connection, if an
// old one was closed at the other end and to do it twice does no harm (RFC 9110,
// section 9.2.2).
//
// The response has no Header: its fields are in the call's Reply. Its Body must be read to its end or closed. That of a 101 is an
// io.ReadWriteCloser with the method CloseWrite.
func (t *Transport) RoundTrip(r *http.Request, fields Fields, key Key, call Call) (*http.Response, error) {
	repeatable := r.Body == nil || r.GetBody != nil
	harmless := idempotent(r.Method) && repeatable
	c := t.take(key, harmless, call.Began())
	for {
		fresh := c == nil
		if fresh {
			nc, err := call.Dial()
			if err != nil {
				return nil, err
			}
			c = newClientConn(t, key, nc)
		}
		call.Attach(c)
		resp, err := c.roundTrip(r, fields, call)
		if err == nil {
			return resp, nil
		}
		again := !fresh && !c.begun && harmless && !c.interrupted.Load()
		c.close(call)
		if !again {
			return nil, err
		}
		c = nil
		if r.GetBody != nil {
			if r.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// idempotent reports whether to do it twice is to do it once.
func idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// freshness is for how long after its last use an idle connection is taken for
// open without a look, if the request could be sent twice. Behind a response that
// may not have a body one is looked for all the same: it would be taken for the
// next response.
const freshness = 50 * time.Millisecond

// take takes the connection that was used last, if the other end has not closed
// it; nil if there is none.
func (t *Transport) take(key Key, harmless bool, now time.Time) *clientConn {
	for {
		t.mu.Lock()
		list := t.idle[key]
		if len(list) == 0 {
			t.mu.Unlock()
			return nil
		}
		c := list[len(list)-1]
		list[len(list)-1] = nil
		t.idle[key] = list[:len(list)-1]
		t.count--
		t.mu.Unlock()
		since := now.Sub(c.idleSince)
		if since < t.IdleTimeout && (harmless && since < freshness && !c.wary || c.open()) {
			return c
		}
		c.rwc.Close()
	}
}

// put keeps a connection, or closes it.
func (t *Transport) put(c *clientConn) {
	t.mu.Lock()
	list := t.idle[c.key]
	if t.closed || t.count >= t.MaxIdle || len(list) >= t.MaxIdlePerKey || t.MaxRequests > 0 && c.requests >= t.MaxRequests {
		t.mu.Unlock()
		c.rwc.Close()
		return
	}
	if t.idle == nil {
		t.idle = make(map[Key][]*clientConn)
	}
	t.idle[c.key] = append(list, c)
	t.count++
	if !t.sweeping {
		t.sweeping, t.wake = true, make(chan struct{})
		go t.sweep(t.wake)
	}
	t.mu.Unlock()
}

// sweep closes connections that have been idle for too long. It ends when there
// are none.
func (t *Transport) sweep(wake <-chan struct{}) {
	ticker := time.NewTicker(max(t.IdleTimeout/4, 10*time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-wake:
			return
		}
		var old []*clientConn
		t.mu.Lock()
		for key, list := range t.idle {
			n := 0 // the oldest are the first
			for n < len(list) && time.Since(list[n].idleSince) >= t.IdleTimeout {
				n++
			}
			old = append(old, list[:n]...)
			t.count -= n
			if n == len(list) {
				delete(t.idle, key)
			} else {
				t.idle[key] = append([]*clientConn(nil), list[n:]...)
			}
		}
		done := t.count == 0 && t.wake == wake
		if done {
			t.sweeping = false
		}
		t.mu.Unlock()
		for _, c := range old {
			c.rwc.Close()
		}
		if done {
			return
		}
	}
}

// CloseIdle closes the idle connections; those in use are closed when they are
// done. After it the transport keeps none.
func (t *Transport) CloseIdle() {
	t.mu.Lock()
	idle := t.idle
	t.idle, t.count, t.closed = nil, 0, true
	if t.sweeping {
		t.sweeping = false
		close(t.wake)
	}
	t.mu.Unlock()
	for _, list := range idle {
		for _, c := range list {
			c.rwc.Close()
		}
	}
}

var _ io.Reader = (*responseBody)(nil)
