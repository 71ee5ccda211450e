package http1

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// body is the body of a request. Handlers may give it to other goroutines,
// which may read it after the handler has returned: they get an error then.
type body struct {
	conn     *conn
	exchange *exchange

	mu     sync.Mutex
	reader bodyReader
	closed bool // protected by mu
}

// any reports whether the client sends a body, whatever handlers have made of the
// request's.
func (b *body) any() bool { return b.conn != nil }

// Read implements io.Reader. The first one tells a client that waits for that
// to send.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	if err := b.exchange.response.goOn(); err != nil {
		return 0, err
	}
	n, err := b.reader.Read(p)
	if err == io.EOF {
		b.exchange.ctx.bodyEnded()
	} else if broken(err) {
		b.exchange.ctx.cancel()
	}
	return n, err
}

// broken reports an error after which nobody is there to be answered. A body
// that is none, or is cut short, can still be answered.
func broken(err error) bool {
	return err != nil && err != io.ErrUnexpectedEOF && !isTimeout(err) && !errors.As(err, new(*parseError))
}

// Close lets nobody read any more.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

// end lets nobody read any more, and wakes whoever still does: it might wait for
// the client for ever. It reports whether nobody did.
func (b *body) end() (quiet bool) {
	if quiet = b.mu.TryLock(); !quiet {
		_ = b.conn.rwc.SetReadDeadline(longAgo)
		b.mu.Lock()
	}
	b.closed = true
	b.mu.Unlock()
	return quiet
}

// discardTime is how long a client may take to send what the handler has left.
const discardTime = 2 * time.Second

// discard reads what the handler has left, and reports whether the next request
// begins behind it. More than a little is not worth it.
func (b *body) discard() bool {
	if !b.end() {
		return false
	}
	if b.reader.err == io.EOF {
		return true
	}
	if b.reader.err != nil || b.reader.left > lingerBytes {
		return false
	}
	b.conn.limit(discardTime)
	defer b.conn.unlimit()
	buf := newBuffer()
	defer freeBuffer(buf)
	for n := 0; n <= lingerBytes; {
		m, err := b.reader.Read(*buf)
		if err == io.EOF {
			return b.conn.unlimit()
		}
		if err != nil {
			return false
		}
		n += m
	}
	return false
}

// trailer gives the request the trailer fields. Fields that were not announced
// are passed on, too: chunked coding has lost its Trailer on the way before.
func (b *body) trailer(h http.Header) error { return addTrailer(&b.exchange.request.Trailer, h) }
