package proxy

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// A try is one attempt to get an answer from one address. It is the context of
// the request that it sends, which saves a few allocations. Transports may
// touch it after they have answered, so it is never used again.
type try struct {
	context.Context // of the client's request; ends when the watch or the try does

	cancel   context.CancelCauseFunc
	dial     destination
	watch    watch
	start    time.Time
	target   string       // for the log
	streams  bool         // the client's body, on a goroutine of the transport
	informs  bool         // whether the client knows informational responses
	received atomic.Int64 // bytes of it that have been read
	sent     atomic.Bool
	begun    atomic.Bool           // the upstream began to answer, whatever it is
	bodyErr  atomic.Pointer[error] // what reading the client's body failed with

	informing sync.Mutex // held, before mu, while an informational response is sent

	mu       sync.Mutex
	answered bool                // protected by mu; the transport has returned
	over     bool                // protected by mu; the client is not to be touched any more
	client   http.ResponseWriter // protected by mu, until over
}

// Value answers the dial to the transports.
func (t *try) Value(key any) any {
	if key == (dialKey{}) {
		return &t.dial
	}
	return t.Context.Value(key)
}

// newTry prepares a try to reach d, and the request to send.
func (x *exchange) newTry(d destination, scheme, host, path string) (*try, *http.Request) {
	t := &try{dial: d, start: time.Now(), target: d.address, client: x.w, streams: x.body.stream != nil, informs: x.r.ProtoAtLeast(1, 1)}
	ctx, cancel := context.WithCancelCause(x.r.Context())
	t.cancel = cancel
	t.Context = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:              t.gotConn,
		WroteRequest:         t.wroteRequest,
		GotFirstResponseByte: func() { t.begun.Store(true) },
		Got1xxResponse:       t.got1xx,
	})
	s := x.match.Service
	t.watch.arm(t.abort, [steps]time.Duration{
		reading: milli(s.ReadTimeout), writing: milli(s.WriteTimeout),
		awaiting: time.Duration(x.timeouts.Body), sending: time.Duration(x.timeouts.Send),
	})

	req := x.r.WithContext(t) // a copy, of which most is replaced
	req.URL = &url.URL{Scheme: scheme, Host: d.authority(), Opaque: path}
	if x.query != "" {
		req.URL.RawQuery = x.query[1:]
		req.URL.ForceQuery = true // a bare "?" stays
	}
	req.Proto, req.ProtoMajor, req.ProtoMinor = "HTTP/1.1", 1, 1
	req.Host, req.RequestURI, req.TLS, req.RemoteAddr = host, "", nil, ""
	req.Close, req.TransferEncoding = false, nil
	req.Header = x.upstreamHeader()
	req.GetBody = nil
	switch b := &x.body; {
	case b.none:
		req.Body, req.ContentLength, req.Trailer = nil, 0, nil
	case b.stream != nil:
		req.Body, req.ContentLength = &sentBody{from: b.stream, try: t}, b.length
	default:
		small := b.small
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(small)), b.length
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(small)), nil }
	}
	return t, req
}

// The next three are called by transports, on goroutines of theirs, possibly
// after the try is over.

func (t *try) gotConn(httptrace.GotConnInfo) {
	t.sent.Store(true)
	t.watch.begin(writing)
}

func (t *try) wroteRequest(httptrace.WroteRequestInfo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watch.finish(writing)
	if !t.answered {
		t.watch.begin(reading)
	}
}

// got1xx passes an informational response on; the server says 100 Continue
// for itself, and HTTP/1.0 has none (RFC 9110, section 15.2).
func (t *try) got1xx(code int, header textproto.MIMEHeader) error {
	t.informing.Lock() // makes settle wait, but not abort
	defer t.informing.Unlock()
	t.mu.Lock()
	answered, client := t.answered, t.client
	t.mu.Unlock()
	if answered {
		return nil
	}
	if !t.informs || code == http.StatusContinue || code == http.StatusSwitchingProtocols {
		t.watch.begin(reading)
		return nil
	}
	endHop(http.Header(header))
	delete(header, "Upgrade")
	h := client.Header()
	own := maps.Clone(h)
	maps.Copy(h, header)
	t.watch.finish(reading)
	t.watch.begin(sending)
	client.WriteHeader(code)
	t.watch.finish(sending)
	t.watch.begin(reading)
	clear(h)
	maps.Copy(h, own)
	return nil
}

// settle says that the transport has returned: with a response, whose body is
// read from now on, or without.
func (t *try) settle() {
	t.informing.Lock()
	defer t.informing.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answered = true
	t.watch.finish(reading)
}

// abort ends the try because a step of it took too long. It wakes whoever waits
// for the client as well, since a context does not: http.Transport, for one,
// does not return before it is done with the body.
func (t *try) abort(cause error) {
	t.cancel(cause)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return
	}
	control := http.NewResponseController(t.client)
	if cause == errSendTimeout {
		_ = control.SetWriteDeadline(time.Now())
	} else if t.streams {
		_ = control.SetReadDeadline(time.Now())
	}
}

// end releases what the try holds. Its response must have been read.
func (t *try) end() {
	t.mu.Lock()
	t.over, t.client = true, nil
	t.mu.Unlock()
	t.watch.disarm()
	t.cancel(context.Canceled)
}

// milli is a duration of so many milliseconds.
func milli(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// Interface guards
var _ context.Context = (*try)(nil)
