package http1

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// A conn is one connection, and the goroutine that serves it.
type conn struct {
	server *Server
	rwc    net.Conn
	inbox

	tls    *tls.ConnectionState // nil without TLS
	remote string
	ctx    context.Context

	began int64 // when the server's clock first saw the connection
	state atomic.Int32
	spare atomic.Pointer[exchange] // its memory may be used again; nil: none
	until atomic.Int64             // when the read that is under way has to be over; 0: no limit

	header    http.Header // of the answers; its memory is used again
	hijacked  bool
	lingering bool        // the client may still be sending
	deadlines atomic.Bool // a handler has set deadlines, or the server's own are set
	one       [1]byte     // where the first byte of a request is read to
}

// serve reads requests and answers them, one after the other.
func (c *conn) serve() {
	s := c.server
	defer c.end()
	c.began = s.clock.now.Load()
	c.setState(http.StateNew)
	c.remote = c.rwc.RemoteAddr().String()
	c.ctx = connContext{c}
	if s.ConnContext != nil {
		c.ctx = s.ConnContext(c.ctx, c.rwc)
	}
	c.inbox = inbox{conn: c.rwc, sock: socketOf(c.rwc), max: max(headLimit(s.MaxHeaderBytes), 2*maxOverhead)}
	c.limit(s.ReadHeaderTimeout)
	if !c.handshake() {
		return
	}
	for first := true; ; first = false {
		if !first {
			c.setState(http.StateIdle)
			c.limit(s.IdleTimeout)
			if s.stopping.Load() {
				return
			}
		}
		if c.await() != nil {
			return
		}
		if !first {
			if !c.unlimit() {
				return
			}
			c.limit(s.ReadHeaderTimeout)
		}
		c.setState(http.StateActive)
		end, err := c.readHead()
		if !c.unlimit() {
			return
		}
		if err == errPreface {
			c.hijacked = true // by the server of HTTP/2
			s.forget(c)
			s.HTTP2(replay(c.rwc, c.takeAll()))
			return
		}
		if err != nil {
			c.refuse(err)
			return
		}
		r, err := c.readRequest(end)
		if err != nil {
			c.refuse(err)
			return
		}
		if !c.answer(r) {
			return
		}
		if len(c.buffered()) == 0 {
			c.release()
		}
	}
}

// handshake is TLS's. It reports whether HTTP/1 is to be served.
func (c *conn) handshake() bool {
	t, ok := c.rwc.(*tls.Conn)
	if !ok {
		return true
	}
	if err := t.HandshakeContext(c.ctx); err != nil {
		c.server.logf("http1: TLS handshake error from %s: %v", c.remote, err)
		var plain tls.RecordHeaderError
		if errors.As(err, &plain) && plain.Conn != nil && looksLikeHTTP(plain.RecordHeader[:]) {
			_, _ = io.WriteString(plain.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
			plain.Conn.Close()
		}
		return false
	}
	state := t.ConnectionState()
	c.tls = &state
	if state.NegotiatedProtocol == "h2" && c.server.HTTP2 != nil {
		if c.unlimit() {
			c.hijacked = true
			c.server.forget(c)
			c.server.HTTP2(c.rwc)
		}
		return false
	}
	return true
}

// looksLikeHTTP reports whether bytes that are no TLS record are the beginning
// of a request.
func looksLikeHTTP(b []byte) bool {
	switch string(b) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET", "PATCH":
		return true
	}
	return false
}

// await waits for the first byte of a request.
func (c *conn) await() error {
	if len(c.buffered()) > 0 {
		return nil
	}
	c.release()
	// On a busy machine the next request is here when the others have had their
	// turn. To look for it at once would be a system call in vain.
	runtime.Gosched()
	if c.sock != nil {
		return c.fill()
	}
	// One byte does not need a buffer.
	n, err := c.rwc.Read(c.one[:])
	if n == 0 {
		if err == nil {
			err = io.ErrNoProgress
		}
		return err
	}
	c.buf = newBuffer()
	(*c.buf)[0], c.r, c.w = c.one[0], 0, 1
	return nil
}

// errPreface says that a connection speaks HTTP/2.
var errPreface = errors.New("the preface of HTTP/2")

const preface = "PRI * HTTP/2.0\r\n\r\n"

// readHead reads until a head is complete, and answers where it ends.
func (c *conn) readHead() (end int, err error) {
	limit := headLimit(c.server.MaxHeaderBytes)
	skipped := false
	for from := 0; ; {
		data := c.buffered()
		// A client may send an empty line behind a body (RFC 9112, section 2.2).
		if len(data) >= 2 && data[0] == '\r' && data[1] == '\n' && !skipped {
			c.take(2)
			skipped = true
			continue
		}
		if end = headEnd(data, from); end >= 0 {
			if end > limit {
				return 0, errHeadTooLarge
			}
			if c.server.H2C && c.tls == nil && string(data[:end]) == preface {
				return 0, errPreface
			}
			return end, nil
		}
		if len(data) >= limit {
			return 0, errHeadTooLarge
		}
		if err := hopeless(data, from); err != nil {
			return 0, err
		}
		from = len(data)
		if err := c.fill(); err != nil {
			if len(data) > 0 && err == io.EOF {
				err = errUnexpectedEnd
			}
			return 0, err
		}
	}
}

// hopeless reports a head that cannot become one, however it goes on: who waits
// for its end might wait for ever.
func hopeless(data []byte, from int) error {
	for i := max(1, from); i < len(data); i++ {
		if data[i] == '\n' && data[i-1] != '\r' {
			return bad("a line ends in a bare LF")
		}
	}
	if len(data) > 0 && data[0] == '\n' {
		return bad("a line ends in a bare LF")
	}
	return nil
}

func (c *conn) takeAll() []byte {
	data := append([]byte(nil), c.buffered()...)
	c.take(len(data))
	c.release()
	return data
}

// answer calls the handler, and reports whether the connection can go on.
func (c *conn) answer(r *exchange) (again bool) {
	s := c.server
	if s.ReadTimeout > 0 || s.WriteTimeout > 0 {
		c.deadlines.Store(true)
		now := time.Now()
		if s.ReadTimeout > 0 {
			_ = c.rwc.SetReadDeadline(now.Add(s.ReadTimeout))
		}
		if s.WriteTimeout > 0 {
			_ = c.rwc.SetWriteDeadline(now.Add(s.WriteTimeout))
		}
	}
	if !c.handle(r) {
		return false
	}
	if c.hijacked {
		return false
	}
	ok := r.finish()
	r.ctx.cancel()
	if form := r.request.MultipartForm; form != nil {
		_ = form.RemoveAll()
	}
	if r.response.recycle && r.recyclable() {
		r.text.spoil()
		r.head.spoil()
		c.spare.Store(r)
	}
	if !ok {
		return false
	}
	if c.deadlines.Load() {
		c.deadlines.Store(false)
		_ = c.rwc.SetDeadline(time.Time{})
	}
	return true
}

// handle calls the handler, and reports whether it returned.
func (c *conn) handle(r *exchange) (returned bool) {
	defer func() {
		if returned {
			return
		}
		p := recover()
		if p != nil && p != http.ErrAbortHandler {
			c.server.logf("http: panic serving %s: %v\n%s", c.remote, p, debug.Stack())
		}
		r.abandon()
	}()
	c.server.Handler.ServeHTTP(&r.response, r.request)
	return true
}

// refuse answers what is not a request, and does not try to read another.
func (c *conn) refuse(err error) {
	var p *parseError
	if !errors.As(err, &p) {
		return // the connection is broken, or its time is over
	}
	c.server.logf("http1: request from %s refused: %s", c.remote, p.reason)
	text := http.StatusText(p.status)
	kind, body := "text/plain; charset=utf-8", text
	if c.server.Refusal != nil {
		kind, body = c.server.Refusal(p.status)
	}
	out := appendStatusLine(nil, p.status, 1)
	out = append(out, *c.server.clock.date.Load()...)
	out = appendField(out, "Content-Type", kind)
	out = appendLength(out, int64(len(body)))
	out = append(out, "Connection: close\r\n\r\n"...)
	out = append(out, body...)
	_ = c.rwc.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.rwc.Write(out)
	c.lingering = true
}

// end closes the connection, if it is still the server's.
func (c *conn) end() {
	if c.hijacked {
		c.server.forget(c)
		return
	}
	if c.lingering {
		c.linger()
	}
	c.rwc.Close()
	if c.buf != nil {
		freeBuffer(c.buf)
		c.buf = nil
	}
	if x := c.spare.Swap(nil); x != nil {
		x.free()
	}
	c.setState(http.StateClosed)
	c.server.forget(c)
}

// Closing a connection whose client still sends would reset it, and the client
// might lose the answer. So half of it is closed, and what comes is dropped.
const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 256 << 10
)

func (c *conn) linger() {
	half, ok := c.rwc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.rwc.SetReadDeadline(time.Now().Add(lingerTime))
	buf := newBuffer()
	defer freeBuffer(buf)
	for n := 0; n < lingerBytes; {
		m, err := c.rwc.Read(*buf)
		if err != nil {
			return
		}
		n += m
	}
}

func (c *conn) setState(state http.ConnState) {
	c.state.Store(int32(state))
	if hook := c.server.ConnState; hook != nil {
		hook(c.rwc, state)
	}
}

// limit bounds the reads to come.
func (c *conn) limit(d time.Duration) { c.until.Store(c.server.clock.after(d)) }

// unlimit ends that, and reports whether it was in time.
func (c *conn) unlimit() bool { return c.until.Swap(0) != expired }

// expire wakes the connection if its time is over, and lets go of what an idle one
// need not hold. The server calls it, now and then.
func (c *conn) expire(now int64) {
	if c.state.Load() == int32(http.StateIdle) {
		c.spare.Store(nil)
	}
	if t := c.until.Load(); t > 0 && t < now && c.until.CompareAndSwap(t, expired) {
		_ = c.rwc.SetReadDeadline(longAgo)
	}
}

// A connContext is the context of a connection. It tells what net/http's does.
type connContext struct{ conn *conn }

func (connContext) Deadline() (t time.Time, ok bool) { return }
func (connContext) Done() <-chan struct{}            { return nil }
func (connContext) Err() error                       { return nil }

// Value answers the local address to net/http's key for it.
func (c connContext) Value(key any) any {
	if key == http.LocalAddrContextKey {
		return c.conn.rwc.LocalAddr()
	}
	return nil
}

// replayed is a connection of which some bytes have been read already.
type replayed struct {
	net.Conn
	data []byte
}

func replay(c net.Conn, data []byte) net.Conn { return &replayed{c, data} }

func (r *replayed) Read(p []byte) (int, error) {
	if len(r.data) > 0 {
		n := copy(p, r.data)
		r.data = r.data[n:]
		return n, nil
	}
	return r.Conn.Read(p)
}

// NetConn is the connection itself.
func (r *replayed) NetConn() net.Conn { return r.Conn }

// plain is the connection as net.Buffers knows it: a *net.TCPConn can write
// several pieces at once, whatever is wrapped around it.
func (c *conn) plain() net.Conn {
	switch nc := c.rwc.(type) {
	case interface{ Socket() *net.TCPConn }:
		return nc.Socket()
	}
	return c.rwc
}
