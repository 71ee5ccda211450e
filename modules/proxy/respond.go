package proxy

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/http1"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/relay"
)

// respond passes an upstream's response to the client, and ends the try.
func (x *exchange) respond(t *try, resp *http.Response) {
	defer t.end()
	x.askedAt = t.start
	if x.waited = t.begunAt.Sub(t.start); t.begunAt.IsZero() {
		x.waited = time.Since(t.start)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		x.upgrade(t, resp)
		return
	}
	defer resp.Body.Close()
	head := x.clientHead(t, resp)
	if t.request.Method == http.MethodHead && x.r.Method != http.MethodHead { // a plugin's doing
		head.Fields = head.Without("Content-Length")
	}

	// A client that does not know of trailers is not sent any.
	trailers := x.isGRPC() || hasToken(x.head.Fields, "Te", "trailers")
	announced := 0
	if trailers {
		announced = len(resp.Trailer)
	}
	if announced == 0 {
		x.started, x.status = true, resp.StatusCode
		http1.WriteHead(x.w, resp.StatusCode, head)
	} else {
		h := x.w.Header()
		head.Expose(h)
		h["Trailer"] = []string{strings.Join(slices.Collect(maps.Keys(resp.Trailer)), ", ")}
		x.writeHead(resp.StatusCode)
	}
	if x.r.Method == http.MethodHead {
		return
	}
	x.copyBody(t, resp)
	if trailers {
		x.copyTrailers(resp, announced)
	}
}

// writeHead begins the answer.
func (x *exchange) writeHead(status int) {
	x.started, x.status = true, status
	x.w.WriteHeader(status)
}

// buffers and largeBuffers are for copying bodies. One that is known to be large
// costs fewer system calls in larger pieces.
var (
	buffers      = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}
	largeBuffers = sync.Pool{New: func() any { b := make([]byte, 128<<10); return &b }}
)

func buffersFor(resp *http.Response) *sync.Pool {
	if resp.ContentLength > 32<<10 {
		return &largeBuffers
	}
	return &buffers
}

// copyBody streams the body. A body that breaks off breaks the connection to
// the client off as well, so that it cannot be taken for whole.
func (x *exchange) copyBody(t *try, resp *http.Response) {
	control := http.NewResponseController(x.w)
	flush := x.streams(t, resp)
	if flush {
		_ = control.Flush() // the client need not wait for the first byte to read the head
	}
	pool := buffersFor(resp)
	buf := pool.Get().(*[]byte)
	defer pool.Put(buf)
	var pipe *relay.Pipe // nil for a small body
	if pool == &largeBuffers {
		pipe = new(relay.Pipe)
		defer pipe.Close()
	}
	for {
		t.watch.begin(reading)
		if pipe != nil && x.splice(t, resp, pipe) {
			continue
		}
		n, err := resp.Body.Read(*buf)
		t.watch.finish(reading)
		t.watch.begin(sending)
		if n > 0 {
			written, err := x.w.Write((*buf)[:n])
			x.sent += int64(written)
			if err != nil {
				panic(http.ErrAbortHandler) // the client is gone
			}
		}
		// What is in the server's buffer would be sent anyway at the end, but
		// then nobody would watch.
		if n > 0 && flush || err == io.EOF && x.r.ProtoMajor == 1 && resp.ContentLength >= 0 {
			_ = control.Flush()
			x.whole = err == io.EOF && !flush
		}
		t.watch.finish(sending)
		if err == io.EOF {
			return
		}
		if err != nil {
			x.brokenBody(t, err)
		}
	}
}

// splice passes a piece of the body on inside of the kernel, and reports whether it
// could.
func (x *exchange) splice(t *try, resp *http.Response, pipe *relay.Pipe) bool {
	w := x.w
	filter, filtered := w.(*plugin.Writer)
	if filtered {
		if w = filter.Direct(); w == nil {
			return false
		}
	}
	n, err := http1.Splice(w, resp.Body, pipe,
		func() {
			t.watch.finish(reading)
			t.watch.begin(sending)
		},
		func(n int) {
			x.sent += int64(n)
			if filtered {
				filter.Count(n)
			}
			t.watch.begin(sending)
		})
	t.watch.finish(sending)
	var side *relay.SideError
	if errors.As(err, &side) {
		if side.Upstream {
			x.brokenBody(t, side.Err)
		}
		panic(http.ErrAbortHandler) // the client is gone
	}
	return n > 0
}

// brokenBody ends the exchange when the upstream's body broke off. The client
// gets what had come, as from nginx: the head tells more than no answer.
func (x *exchange) brokenBody(t *try, err error) {
	if !x.clientGone() {
		x.logger.Error("response body of upstream broke off",
			x.fields(zap.String("target", t.target), zap.Duration("duration", time.Since(t.start)), zap.Error(err))...)
	}
	t.watch.begin(sending)
	_ = http.NewResponseController(x.w).Flush()
	panic(http.ErrAbortHandler)
}

// streams reports whether each piece of the body is passed on at once, rather
// than when a buffer is full.
func (x *exchange) streams(t *try, resp *http.Response) bool {
	return resp.ContentLength < 0 || !x.match.Route.ResponseBuffering ||
		strings.HasPrefix(t.reply.Head.Get("Content-Type"), "text/event-stream")
}

// copyTrailers passes trailers on: those that were announced by their names,
// others in the way that net/http knows.
func (x *exchange) copyTrailers(resp *http.Response, announced int) {
	if len(resp.Trailer) == 0 {
		return
	}
	// Makes an HTTP/1 body chunked, which alone can have trailers.
	_ = http.NewResponseController(x.w).Flush()
	h := x.w.Header()
	prefix := ""
	if len(resp.Trailer) != announced {
		prefix = http.TrailerPrefix
	}
	for name, values := range resp.Trailer {
		h[prefix+name] = values
	}
}
