package plugin

import (
	"bufio"
	"io"
	"net"
	"net/http"

	"github.com/portcullis-gateway/portcullis/modules/http1"
)

// A Writer is a ResponseWriter that shows the response to the filters of a
// chain on its way to the client.
type Writer struct {
	to     http.ResponseWriter
	chain  *Chain
	x      *Exchange
	head   *http1.Head // of the response, besides what is in Header; nil: only that
	size   int64       // of the head, if it was sent as a list; 0: it was not
	status int
	begun  bool
	sent   int64            // bytes of the body, before filters
	passed int64            // bytes of the body, behind filters
	body   io.Writer        // through the filters to the client
	closer []io.WriteCloser // the filters, in the order of bytes
}

func (w *Writer) begin(c *Chain, x *Exchange, to http.ResponseWriter) *Writer {
	w.to, w.chain, w.x = to, c, x
	return w
}

func (w *Writer) reset() Writer {
	clear(w.closer)
	return Writer{closer: w.closer[:0]}
}

// Unwrap is for http.ResponseController.
func (w *Writer) Unwrap() http.ResponseWriter { return w.to }

// Header are the response's headers.
func (w *Writer) Header() http.Header {
	if w.to == nil {
		return nil
	}
	h := w.to.Header()
	if w.head != nil {
		w.head.Expose(h)
		w.head = nil
	}
	return h
}

// WriteHeader runs the header filters and sends the head.
func (w *Writer) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols {
		w.to.WriteHeader(status)
		return
	}
	if w.begun {
		return
	}
	w.x.host.Heading(status)
	w.Head(status)
	w.to.WriteHeader(w.status)
}

// WriteHead implements http1.HeadWriter: the same for a head that is a list, and
// stays one unless a filter wants a header.
func (w *Writer) WriteHead(status int, head *http1.Head) {
	if w.begun {
		return
	}
	w.head = head
	w.x.host.Heading(status)
	w.Head(status)
	if w.head == nil {
		w.to.WriteHeader(w.status)
		return
	}
	w.head = nil // it is the next writer's
	h := w.to.Header()
	if len(h) > 0 {
		for i := range head.Fields { // which take the place of others
			delete(h, head.Fields[i].Name)
		}
	}
	w.size = head.Size() + http1.HeaderSize(h)
	http1.WriteHead(w.to, w.status, head)
}

// Head runs the header filters on a response whose head somebody else sends.
func (w *Writer) Head(status int) {
	w.begun, w.status = true, status
	w.x.run.rest(w.chain, w.x.run.turns, w.x.Consumer) // middleware may answer before all had their turn
	w.chain.headerFilters(w.x)
	w.body = passing{w}
	for i := len(w.x.run.chosen) - 1; i >= 0; i-- {
		in := w.x.run.chosen[i]
		if in == nil || in.body == nil {
			continue
		}
		w.x.run.at = i
		if f := in.body.BodyFilter(w.x, w.body); f != nil {
			w.body = f
			w.closer = append(w.closer, f)
		}
	}
}

// Write passes a part of the body through the filters.
func (w *Writer) Write(p []byte) (int, error) {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	n, err := w.body.Write(p)
	w.sent += int64(n)
	return n, err
}

// Direct answers the writer that the body goes to as it is, or nil if a filter sees it.
// What is sent there must be told to Count.
func (w *Writer) Direct() http.ResponseWriter {
	if !w.begun || len(w.closer) > 0 {
		return nil
	}
	return w.to
}

// Count notes that so many bytes of the body were sent past the writer.
func (w *Writer) Count(n int) {
	w.sent += int64(n)
	w.passed += int64(n)
}

// FlushError sends what has passed the filters.
func (w *Writer) FlushError() error {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(w.to).Flush()
}

// Flush is for handlers that do not know of FlushError.
func (w *Writer) Flush() { _ = w.FlushError() }

// Hijack takes the connection over; the filters see none of it.
func (w *Writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.to).Hijack()
}

// Close tells the filters that the body is complete, in the order in which they
// see it.
func (w *Writer) Close() error {
	var first error
	for i := len(w.closer) - 1; i >= 0; i-- {
		if err := w.closer[i].Close(); err != nil && first == nil {
			first = err
		}
	}
	w.closer = w.closer[:0]
	return first
}

// passing is what the filters write to.
type passing struct{ w *Writer }

func (p passing) Write(b []byte) (int, error) {
	n, err := p.w.to.Write(b)
	p.w.passed += int64(n)
	return n, err
}

// Interface guards
var (
	_ http.Flusher     = (*Writer)(nil)
	_ http.Hijacker    = (*Writer)(nil)
	_ http1.HeadWriter = (*Writer)(nil)
)
