package http1

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// responseBody is the body of a response. At its end the connection goes back
// to the transport.
type responseBody struct {
	conn   *clientConn // nil: it has gone back, or is closed
	call   Call
	reply  *Reply
	reader bodyReader
}

// Read implements io.Reader.
func (b *responseBody) Read(p []byte) (int, error) {
	if b.conn == nil {
		if b.reader.err != nil {
			return 0, b.reader.err
		}
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.reader.Read(p)
	if err == nil {
		return n, nil
	}
	if err == io.EOF {
		b.finish()
		return n, err
	}
	if cause := b.conn.cause(err); err != cause && !errors.Is(err, io.ErrUnexpectedEOF) {
		err = cause
	}
	b.drop()
	return n, err
}

// Close ends a body that need not be read to its end.
func (b *responseBody) Close() error {
	if b.conn != nil {
		b.drop()
	}
	return nil
}

// finish gives the connection back, if another request can follow.
func (b *responseBody) finish() {
	c := b.conn
	ok := !b.reply.Close && len(c.buffered()) == 0
	if ok && c.sending != nil {
		select {
		case <-c.sending:
			ok = c.sent == nil
		default:
			ok = false // the request is still on its way
		}
	}
	if !ok {
		b.drop()
		return
	}
	b.conn = nil
	b.call.Detach() // nobody interrupts it from here on
	if c.interrupted.Load() {
		c.rwc.Close()
		return
	}
	c.release()
	if c.idleSince = c.begunAt; b.reply.ContentLength > bufferSize || b.reply.ContentLength < 0 {
		c.idleSince = time.Now() // else it did not take long, or may count as idle for longer
	}
	c.transport.put(c)
}

// drop closes the connection.
func (b *responseBody) drop() {
	c := b.conn
	b.conn = nil
	c.close(b.call)
}

// trailer gives the response the trailer fields.
func (b *responseBody) trailer(h http.Header) error { return addTrailer(&b.reply.Trailer, h) }

// A tunnel is what is left of a connection that no longer speaks HTTP.
type tunnel struct {
	conn *clientConn
	call Call
}

// Read implements io.Reader.
func (t *tunnel) Read(p []byte) (int, error) { return t.conn.inbox.Read(p) }

// Write implements io.Writer.
func (t *tunnel) Write(p []byte) (int, error) { return t.conn.rwc.Write(p) }

// CloseWrite tells the server that nothing more comes.
func (t *tunnel) CloseWrite() error {
	if half, ok := t.conn.rwc.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close implements io.Closer.
func (t *tunnel) Close() error {
	t.call.Detach()
	return t.conn.rwc.Close()
}

// Interface guards
var (
	_ io.ReadCloser      = (*responseBody)(nil)
	_ io.ReadWriteCloser = (*tunnel)(nil)
)
