package http1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// response is the answer to one request. What a handler writes is kept in a
// buffer as long as it is small, so that head and body leave in one write; the
// rest goes straight to the connection.
type response struct {
	conn     *conn
	exchange *exchange

	head    *Head // of the answer, besides what is in Header; nil: only that
	status  int   // 0: WriteHeader has not been called
	length  int64 // that the handler announced; lengthUnsaid
	written int64 // bytes of the body that the handler gave

	buf  *[]byte // body that is waiting; nil: none ever was
	held int     // how much of buf waits

	keep    bool // the connection may go on after this answer
	sent    bool // the head has left
	chunked bool
	bare    bool // no body: 204, 304, or the answer to HEAD
	over    bool // the handler has returned, or has taken the connection
	recycle bool // the handler keeps nothing of the request
	err     error

	// Whoever reads the body lets the client send it, which may be another
	// goroutine than the handler's.
	expected   bool // the client expects 100 Continue
	continuing sync.Mutex
	waiting    bool // protected by continuing: it has not been told yet
}

// begin is called with what the request says about the connection.
func (w *response) begin(keep bool) {
	w.keep = keep
	w.length = lengthUnsaid
	if w.conn.header == nil {
		w.conn.header = make(http.Header)
	} else {
		clear(w.conn.header)
	}
}

// A Recycler is a ResponseWriter whose request is made of memory that can be used
// again.
type Recycler interface {
	// Recycle says that nobody will touch the request, its header, its URL or its
	// context once the handler has returned; with texts, also that nobody has kept a
	// text that was in them.
	Recycle(texts bool)
}

// Recycle implements Recycler.
func (w *response) Recycle(texts bool) {
	if w.recycle = true; !texts {
		w.exchange.text = nil
	}
}

// recyclable reports whether nothing is left of the exchange outside of it, as
// far as the server knows: nobody waits for its context, or reads its body.
func (x *exchange) recyclable() bool {
	return !x.body.any() && x.request.MultipartForm == nil && x.ctx.unasked()
}

// RequestHead implements HeadReader.
func (w *response) RequestHead() *Head { return &w.exchange.head }

// WriteHead implements HeadWriter.
func (w *response) WriteHead(status int, head *Head) {
	first := !w.over && w.status == 0
	w.WriteHeader(status)
	if !first {
		return
	}
	w.head = head
	if n, ok := number(head.Get("Content-Length")); ok {
		w.length = n
	}
}

// Header implements http.ResponseWriter.
func (w *response) Header() http.Header {
	h := w.conn.header
	if w.head != nil {
		w.head.Expose(h)
		w.head = nil
	}
	return h
}

// WriteHeader implements http.ResponseWriter. Statuses below 200, but 101, are
// sent at once, as often as they come.
func (w *response) WriteHeader(status int) {
	switch {
	case w.over, w.status != 0:
		w.conn.server.logf("http1: superfluous WriteHeader(%d)", status)
		return
	case status < 100 || status > 999:
		panic(fmt.Sprintf("http1: invalid status %d", status))
	case status < 200 && status != http.StatusSwitchingProtocols:
		w.inform(status)
		return
	}
	w.status = status
	w.bare = w.exchange.request.Method == http.MethodHead || !bodyAllowed(status)
	if v := w.conn.header["Content-Length"]; len(v) > 0 {
		if n, ok := number(v[0]); ok && len(v) == 1 {
			w.length = n
		} else {
			w.conn.server.logf("http1: invalid Content-Length of %q", v)
			delete(w.conn.header, "Content-Length")
		}
	}
}

// inform sends an informational response (RFC 9110, section 15.2).
func (w *response) inform(status int) {
	if w.exchange.request.ProtoMinor == 0 {
		return
	}
	if status == http.StatusContinue {
		w.told()
	}
	out := appendStatusLine(nil, status, 1)
	out = appendHeader(out, w.conn.header, informational)
	w.write(append(out, "\r\n"...))
}

// goOn tells a client that waits for it to send the body.
func (w *response) goOn() error {
	if !w.expected {
		return nil
	}
	w.continuing.Lock()
	defer w.continuing.Unlock()
	if !w.waiting {
		return nil
	}
	w.waiting = false
	_, err := io.WriteString(w.conn.rwc, "HTTP/1.1 100 Continue\r\n\r\n")
	return err
}

// told notes that the client waits no longer for 100 Continue, and reports
// whether it did.
func (w *response) told() (waited bool) {
	if !w.expected {
		return false
	}
	w.continuing.Lock()
	defer w.continuing.Unlock()
	waited, w.waiting = w.waiting, false
	return waited
}

// bodyAllowed reports whether an answer of the status can have a body (RFC
// 9110, section 6.4.1).
func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) {
	if err := w.admit(len(p)); err != nil {
		return 0, err
	}
	if w.bare || len(p) == 0 {
		return len(p), nil
	}
	if w.held+len(p) <= bufferSize {
		if w.buf == nil {
			w.buf = newBuffer()
		}
		w.held += copy((*w.buf)[w.held:], p)
		return len(p), nil
	}
	w.send(p, false)
	if w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

// WriteString implements io.StringWriter.
func (w *response) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

// admit checks that n more bytes may be written, and counts them.
func (w *response) admit(n int) error {
	if w.over {
		if w.conn.hijacked {
			return http.ErrHijacked
		}
		return errOver
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if n == 0 {
		return w.err
	}
	if !bodyAllowed(w.status) {
		return http.ErrBodyNotAllowed
	}
	w.written += int64(n)
	if w.length >= 0 && w.written > w.length {
		return http.ErrContentLength
	}
	return w.err
}

var errOver = errors.New("http1: write after the handler has returned")

// ReadFrom implements io.ReaderFrom: where both ends are sockets, the kernel
// copies.
func (w *response) ReadFrom(src io.Reader) (n int64, err error) {
	to, ok := w.conn.rwc.(io.ReaderFrom)
	if w.status == 0 && !w.over {
		w.WriteHeader(http.StatusOK)
	}
	if !ok || w.over || w.length < 0 || w.bare || !bodyAllowed(w.status) || w.err != nil {
		return copyTo(w, src)
	}
	if w.length-w.written <= bufferSize {
		return copyTo(w, src) // leaves with the head
	}
	w.send(nil, false)
	if w.err != nil {
		return 0, w.err
	}
	n, err = to.ReadFrom(io.LimitReader(src, w.length-w.written))
	w.written += n
	return n, err
}

// copyTo copies without ReadFrom, which would come back here.
func copyTo(w io.Writer, src io.Reader) (int64, error) {
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{w}, src, *buf)
}

// Flush implements http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is what http.ResponseController calls.
func (w *response) FlushError() error {
	if w.over {
		return errOver
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.send(nil, false)
	return w.err
}

// send sends the head, if it has not been, what is held, and p; last tells that
// nothing follows.
func (w *response) send(p []byte, last bool) {
	space := outBuffers.Get().(*[]byte)
	defer outBuffers.Put(space)
	out := (*space)[:0]
	if !w.sent {
		w.sent = true
		out = w.appendHead(out, p, last)
	}
	var held []byte
	if w.held > 0 {
		held = (*w.buf)[:w.held]
		w.held = 0
	}
	if w.bare {
		held, p = nil, nil
	}
	var end []byte
	if w.chunked {
		if n := len(held) + len(p); n > 0 {
			out = append(appendHex(out, int64(n)), "\r\n"...)
			end = crlf
		}
		if last {
			end = w.lastChunk(len(end) > 0)
		}
	}
	if len(out)+len(held)+len(end)+len(p) <= maxCopy {
		out = append(append(append(out, held...), p...), end...)
		w.write(out)
		return
	}
	if w.err == nil {
		pieces := make(net.Buffers, 0, 4)
		for _, piece := range [][]byte{out, held, p, end} {
			if len(piece) > 0 {
				pieces = append(pieces, piece)
			}
		}
		_, w.err = pieces.WriteTo(w.conn.plain())
		w.broke()
	}
}

// maxCopy is up to which size it is cheaper to copy bytes than to gather them.
const maxCopy = 2*bufferSize + 1024

// outBuffers are where answers are put together.
var outBuffers = sync.Pool{New: func() any { b := make([]byte, maxCopy); return &b }}

var crlf = []byte("\r\n")

func (w *response) write(p []byte) {
	if w.err == nil && len(p) > 0 {
		_, w.err = w.conn.inbox.write(p)
		w.broke()
	}
}

// broke ends the request when its answer cannot be written.
func (w *response) broke() {
	if w.err != nil {
		w.exchange.ctx.cancel()
	}
}

// finish ends the answer, and reports whether the connection can go on.
func (x *exchange) finish() (again bool) {
	w, c := &x.response, x.response.conn
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	short := !w.bare && bodyAllowed(w.status) && w.length >= 0 && w.written != w.length
	if short && w.length == 0 {
		short = false
	}
	if !w.sent || w.held > 0 || w.chunked {
		w.send(nil, true)
	}
	w.over = true
	w.free()
	x.ctx.unwatch()
	if w.err != nil {
		return false
	}
	if short {
		return false // the client still waits for the rest
	}
	if x.body.any() && !(w.keep && x.body.discard()) {
		x.body.end()
		c.lingering = true
		return false
	}
	if !w.keep {
		// A client that has asked for this sends nothing more.
		c.lingering = !x.request.Close || len(c.buffered()) > 0
	}
	return w.keep
}

// abandon ends an answer that the handler has given up. What it has written is
// sent, and then the connection is broken, so that nobody takes it for whole.
func (x *exchange) abandon() {
	x.response.over = true
	x.response.free()
	x.ctx.unwatch()
	x.ctx.cancel()
	if x.body.any() {
		x.body.end()
	}
}

func (w *response) free() {
	if w.buf != nil {
		freeBuffer(w.buf)
		w.buf, w.held = nil, 0
	}
}

// SetReadDeadline is what http.ResponseController calls.
func (w *response) SetReadDeadline(t time.Time) error {
	w.conn.deadlines.Store(true)
	return w.conn.rwc.SetReadDeadline(t)
}

// SetWriteDeadline is what http.ResponseController calls.
func (w *response) SetWriteDeadline(t time.Time) error {
	w.conn.deadlines.Store(true)
	return w.conn.rwc.SetWriteDeadline(t)
}

// EnableFullDuplex is what http.ResponseController calls. Reading and writing
// are independent here anyway.
func (w *response) EnableFullDuplex() error { return nil }

// Hijack implements http.Hijacker.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c := w.conn
	if w.over {
		return nil, nil, http.ErrHijacked
	}
	if w.status != 0 {
		w.send(nil, false) // what the handler has said so far, such as a 101
		if w.err != nil {
			return nil, nil, w.err
		}
	}
	w.free()
	w.exchange.ctx.unwatch()
	w.over, c.hijacked = true, true
	data := c.takeAll()
	in := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(data), c.rwc), max(len(data), bufferSize))
	_, _ = in.Peek(len(data)) // so that they count as buffered
	if c.deadlines.Load() {
		_ = c.rwc.SetDeadline(time.Time{})
	}
	c.setState(http.StateHijacked)
	return c.rwc, bufio.NewReadWriter(in, bufio.NewWriter(c.rwc)), nil
}

// Interface guards
var (
	_ http.Flusher    = (*response)(nil)
	_ http.Hijacker   = (*response)(nil)
	_ HeadReader      = (*response)(nil)
	_ HeadWriter      = (*response)(nil)
	_ io.ReaderFrom   = (*response)(nil)
	_ io.StringWriter = (*response)(nil)
	_ Recycler        = (*response)(nil)
)
