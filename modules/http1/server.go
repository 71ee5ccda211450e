// Package http1 speaks HTTP/1.1 (RFC 9112) with the types of net/http, on the
// goroutine of the connection.
//
// net/http starts a goroutine for each request, to notice a client that leaves,
// and two for each connection to an upstream. Here one goroutine reads a request,
// calls the handler and writes the answer; nobody else is woken. The head is read
// into one text, of which its fields are parts. It is used again only if the handler
// says that nobody has kept any of it: see Recycler.
//
// It takes only what it understands with certainty. Whatever could be read in
// two ways, and so be smuggled past one of two readers, is refused and the
// connection closed.
package http1

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Server serves connections. Set its fields before the first call of Serve.
//
// Durations of zero or less are without limit. They are kept with the precision
// of an eighth of the shortest one, or a second if that is less.
type Server struct {
	// Handler answers the requests, on the connection's goroutine.
	Handler http.Handler

	// Lists leaves the Header of requests nil, for a handler that takes it from a
	// HeadWriter or asks Expand for it.
	Lists bool

	// ReadHeaderTimeout bounds the time from a request's first byte to the end
	// of its head; on a new connection, from its beginning, with the TLS
	// handshake.
	ReadHeaderTimeout time.Duration

	// ReadTimeout bounds the time to read a whole request.
	ReadTimeout time.Duration

	// WriteTimeout bounds the time from the end of a request's head to the end
	// of its answer.
	WriteTimeout time.Duration

	// IdleTimeout bounds the time that a connection waits for its next request.
	IdleTimeout time.Duration

	// MaxHeaderBytes bounds a request's head, request line included. Default:
	// 32 KiB.
	MaxHeaderBytes int

	// ConnContext makes the context of a connection's requests.
	ConnContext func(context.Context, net.Conn) context.Context

	// ConnState hears of the life of connections, as net/http's does.
	ConnState func(net.Conn, http.ConnState)

	// HTTP2 gets the connections on which HTTP/2 was agreed upon in the TLS
	// handshake and, with H2C, those without TLS that begin with its preface.
	HTTP2 func(net.Conn)
	H2C   bool

	// Refusal is the answer to what is not a request: the type and the text of
	// the body for a status. Default: the status in words.
	Refusal func(status int) (contentType, body string)

	// ErrorLog gets what would otherwise go unsaid. Default: none of it is.
	ErrorLog *log.Logger

	stopping atomic.Bool
	clock    clock
	work     chan net.Conn // to goroutines that have served connections; set by Serve
	resting  atomic.Int32  // how many of them wait

	mu        sync.Mutex
	conns     map[*conn]struct{}        // protected by mu
	listeners map[net.Listener]struct{} // protected by mu
	ticking   bool                      // protected by mu; the clock runs
	stop      chan struct{}             // protected by mu; closed when stopping is set
}

// DefaultMaxHeaderBytes is what MaxHeaderBytes of zero means, and what nginx's
// large_client_header_buffers come to.
const DefaultMaxHeaderBytes = 32 << 10

// Serve serves the connections of a listener until that is closed, and answers
// why it ended.
func (s *Server) Serve(ln net.Listener) error {
	s.mu.Lock()
	if s.listeners == nil {
		s.listeners = make(map[net.Listener]struct{})
	}
	s.listeners[ln] = struct{}{}
	if s.work == nil {
		s.work = make(chan net.Conn)
	}
	stop := s.stopChannel()
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, ln)
		s.mu.Unlock()
	}()
	var pause time.Duration
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			pause = 0
			select {
			case s.work <- nc:
			default:
				go s.serveConns(nc, stop)
			}
		case s.stopping.Load():
			return http.ErrServerClosed
		case exhausted(err):
			// The connection is still in the queue; others may end meanwhile.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.logf("http1: accepting: %v; trying again in %v", err, pause)
			time.Sleep(pause)
		default:
			return err
		}
	}
}

// maxResting is how many goroutines may wait for connections.
const maxResting = 64

// serveConns serves one connection after the other: the stack of a goroutine grows
// several times before a request has been answered, which takes as long as some
// system calls do.
func (s *Server) serveConns(nc net.Conn, stop <-chan struct{}) {
	for {
		s.ServeConn(nc)
		if s.resting.Add(1) > maxResting {
			s.resting.Add(-1)
			return
		}
		select {
		case nc = <-s.work:
			s.resting.Add(-1)
		case <-stop:
			return
		}
	}
}

// exhausted reports whether the system lacks something that it will have again.
func exhausted(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary() || outOfMemory(err)
}

// ServeConn serves one connection to its end.
func (s *Server) ServeConn(nc net.Conn) {
	c := &conn{server: s, rwc: nc}
	if !s.track(c) {
		nc.Close()
		return
	}
	c.serve()
}

// track remembers an open connection. It fails when the server is closed.
func (s *Server) track(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		s.conns = make(map[*conn]struct{})
	}
	s.conns[c] = struct{}{}
	if !s.ticking {
		s.ticking = true
		s.clock.start(s.tick())
		go s.watch()
	}
	return true
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// tick is how often the clock is read.
func (s *Server) tick() time.Duration {
	tick := time.Second
	for _, d := range []time.Duration{s.ReadHeaderTimeout, s.IdleTimeout} {
		if d > 0 {
			tick = min(tick, d/8)
		}
	}
	return max(tick, 5*time.Millisecond)
}

// watch moves the clock, and wakes connections whose time is over. It ends when
// there is none left.
func (s *Server) watch() {
	ticker := time.NewTicker(s.tick())
	defer ticker.Stop()
	stop := s.stopped()
	for {
		select {
		case <-ticker.C:
		case <-stop: // the last connection will not be long
			stop = nil
			ticker.Reset(10 * time.Millisecond)
		}
		now := s.clock.advance()
		s.mu.Lock()
		if len(s.conns) == 0 {
			s.ticking = false
			s.mu.Unlock()
			return
		}
		for c := range s.conns {
			c.expire(now)
		}
		s.mu.Unlock()
	}
}

// stopped is closed when the server is to end.
func (s *Server) stopped() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopChannel()
}

func (s *Server) stopChannel() chan struct{} {
	if s.stop == nil {
		s.stop = make(chan struct{})
	}
	return s.stop
}

// Shutdown ends the server: it closes the listeners and the connections that
// wait for a request, and returns when the others have ended their last one, or
// with the context's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.beginEnd()
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		if s.closeIdle() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// Close closes the listeners and all connections but those that handlers have
// taken over.
func (s *Server) Close() error {
	s.beginEnd()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.rwc.Close()
	}
	return nil
}

// beginEnd begins the end: nothing new is accepted.
func (s *Server) beginEnd() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopping.Swap(true) {
		close(s.stopChannel())
	}
	for ln := range s.listeners {
		ln.Close()
	}
}

// newConnGrace is how long a connection may take to send anything at all when
// the server is to end.
const newConnGrace = 5 * time.Second

// closeIdle closes what waits, and reports whether nothing is left.
func (s *Server) closeIdle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.advance()
	for c := range s.conns {
		switch state := http.ConnState(c.state.Load()); {
		case state == http.StateIdle, state == http.StateNew && now-c.began > int64(newConnGrace):
			if c.until.Swap(expired) != expired {
				_ = c.rwc.SetReadDeadline(longAgo)
			}
		}
	}
	return len(s.conns) == 0
}

func (s *Server) logf(format string, args ...any) {
	if s.ErrorLog != nil {
		s.ErrorLog.Printf(format, args...)
	}
}
