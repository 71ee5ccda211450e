package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/plugin"
)

// bufferSize is up to which size, in bytes, a request's body is read before
// its first try, so that others can follow. Kong buffers whole bodies; this
// gateway streams the larger ones, which are then sent once.
const bufferSize = 64 << 10

// body is the request's body, as tries need it.
type body struct {
	none   bool
	small  []byte        // all of it, if it was buffered
	stream io.ReadCloser // else what is to be streamed: the buffered part comes first
	length int64         // in bytes; -1: unknown
}

// replayable reports whether another try can send the body after this one may
// have begun to.
func (b *body) replayable() bool { return b.stream == nil }

// takeBody looks at the request's body and, if the route asks for buffering,
// reads a small one. The error is the client's doing.
func (x *exchange) takeBody() error {
	r, b := x.r, &x.body
	if x.plugins != nil {
		if own, ok := x.plugins.Changes().Body(); ok {
			b.none, b.small, b.length = len(own) == 0, own, int64(len(own))
			return nil
		}
	}
	b.length = r.ContentLength
	// HTTP/2 can say that there is nothing, and send it all the same; it is read,
	// so that such a request is not passed on.
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 && r.ProtoMajor == 1 {
		b.none = true
		return nil
	}
	// gRPC is a conversation; nginx does not buffer it either.
	if !x.match.Route.RequestBuffering || r.ContentLength > bufferSize || overHTTP2(x.match.Service.Protocol) {
		x.streamBody(r.Body)
		return nil
	}
	var buf bytes.Buffer
	if r.ContentLength > 0 {
		buf.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	control := http.NewResponseController(x.w)
	slow := false // whether a read deadline is set
	limited := &io.LimitedReader{R: readerFunc(func(p []byte) (int, error) {
		// Not every ResponseWriter has deadlines; then there are none.
		slow = control.SetReadDeadline(time.Now().Add(time.Duration(x.timeouts.Body))) == nil
		return r.Body.Read(p)
	}), N: bufferSize + 1}
	_, err := buf.ReadFrom(limited)
	if slow {
		_ = control.SetReadDeadline(time.Time{})
	}
	if err != nil {
		return err
	}
	if limited.N == 0 { // larger than that, of unknown length
		x.streamBody(struct {
			io.Reader
			io.Closer
		}{io.MultiReader(&buf, r.Body), r.Body})
		return nil
	}
	b.small = buf.Bytes()
	b.none = len(b.small) == 0 && len(r.Trailer) == 0 && r.ContentLength >= 0
	if len(r.Trailer) == 0 { // those go with a chunked body only
		b.length = int64(buf.Len())
	}
	return nil
}

func (x *exchange) streamBody(from io.ReadCloser) {
	x.body.stream = from
	// Without this an HTTP/1 server reads the rest of the body for itself when
	// the answer begins before its end.
	_ = http.NewResponseController(x.w).EnableFullDuplex()
}

// failBody answers a client whose body could not be read.
func (x *exchange) failBody(err error) {
	var refused *plugin.Answer
	if errors.As(err, &refused) { // a plugin has seen enough of it
		if x.r.ProtoMajor == 1 {
			x.w.Header()["Connection"] = []string{"close"}
		}
		x.answerFor(refused)
		return
	}
	// The rest of the body is not worth waiting for.
	_ = http.NewResponseController(x.w).SetReadDeadline(time.Now())
	var tooLarge *http.MaxBytesError
	status := http.StatusBadRequest
	switch {
	case isTimeout(err): // comes first: net/http takes such a client for gone
		status = http.StatusRequestTimeout
	case x.clientGone(), err == errSendTimeout, err == errClientGone:
		panic(http.ErrAbortHandler)
	case errors.As(err, &tooLarge):
		status = http.StatusRequestEntityTooLarge
	}
	if x.r.ProtoMajor == 1 {
		x.w.Header()["Connection"] = []string{"close"}
	}
	x.fail(status)
}

// lingering is how long a client that still sends its body may go on after the
// answer. To hang up at once would reset the connection, and the answer might
// never be read.
const lingering = 2 * time.Second

// linger reads and drops what is left of a streamed body.
func (x *exchange) linger() {
	if x.body.stream == nil || x.r.ProtoMajor > 1 {
		return
	}
	control := http.NewResponseController(x.w)
	_ = control.Flush()
	if control.SetReadDeadline(time.Now().Add(lingering)) == nil {
		_, _ = io.Copy(io.Discard, x.r.Body)
	}
}

// A sentBody is a streamed body on its way to the upstream. The transport reads
// it, on a goroutine of its own.
type sentBody struct {
	from io.Reader
	try  *try
}

func (b *sentBody) Read(p []byte) (int, error) {
	w := &b.try.watch
	// Being asked for more, the transport has written what it got before.
	w.finish(writing)
	w.begin(awaiting)
	n, err := b.from.Read(p)
	b.try.received.Add(int64(n))
	w.finish(awaiting)
	w.begin(writing)
	if err != nil && err != io.EOF {
		b.try.bodyErr.CompareAndSwap(nil, &err)
	}
	return n, err
}

// Close leaves the client's body open: another try may need it, and the server
// closes it in the end.
func (b *sentBody) Close() error { return nil }

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
