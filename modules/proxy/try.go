package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/http1"
)

// A try is one attempt to get an answer from one address. It is the context of
// the request that it sends, and the transport's other side. Transports may touch
// it after they have answered, so it is used again only if it is forgotten.
type try struct {
	dial     destination
	watch    watch
	request  http.Request // that it sends, but for the headers
	fields   http1.Fields // those; a request of net/http gets a copy
	reply    http1.Reply  // of transports for HTTP/1
	start    time.Time
	begunAt  time.Time    // when the response began; zero: not known
	target   string       // for the log
	streams  bool         // the client's body, on a goroutine of the transport
	informs  bool         // whether the client knows informational responses
	received atomic.Int64 // bytes of it that have been read
	sent     atomic.Bool
	begun    atomic.Bool           // the upstream began to answer, whatever it is
	bodyErr  atomic.Pointer[error] // what reading the client's body failed with

	next, prev *try // protected by rounds.mu
	rounds     int  // protected by rounds.mu; how many it has seen
	picked     bool // protected by rounds.mu; a round may still touch it

	informing sync.Mutex // held, before mu, while an informational response is sent

	mu       sync.Mutex
	parent   context.Context     // of the client's request
	conn     http1.Interrupter   // protected by mu; nil: none can be interrupted
	done     chan struct{}       // protected by mu; nil: nobody has asked
	cause    error               // protected by mu; why it has ended
	unfollow func() bool         // protected by mu; nil: the client is not followed
	answered bool                // protected by mu; the transport has returned
	over     bool                // protected by mu; the client is not to be touched any more
	client   http.ResponseWriter // protected by mu, until over
}

// errClientGone is why a try ends when nobody waits for its answer any more.
var errClientGone = errors.New("the client is gone")

// Deadline implements context.Context: there is none.
func (t *try) Deadline() (deadline time.Time, ok bool) { return }

// Value answers the dial to the transports.
func (t *try) Value(key any) any {
	if key == (dialKey{}) {
		return &t.dial
	}
	return t.parent.Value(key)
}

// Done implements context.Context. Who asks wants to know of the client, too.
func (t *try) Done() <-chan struct{} {
	t.follow()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done == nil {
		t.done = make(chan struct{})
		if t.cause != nil {
			close(t.done)
		}
	}
	return t.done
}

// Err implements context.Context.
func (t *try) Err() error {
	if t.why() != nil {
		return context.Canceled
	}
	return nil
}

// why is the reason for which the try has ended; nil if it has not.
func (t *try) why() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cause
}

// follow ends the try when the client goes.
func (t *try) follow() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.unfollow == nil && t.cause == nil {
		t.unfollow = context.AfterFunc(t.parent, func() { t.abort(errClientGone) })
	}
}

// newTry prepares a try to reach d, and the request to send.
func (x *exchange) newTry(d destination, start time.Time, host, path string) (*try, *http.Request) {
	s := x.match.Service
	t := x.spare
	if x.spare = nil; t == nil {
		t = new(try)
	}
	*t = try{
		reply: t.reply, parent: x.r.Context(), dial: d, start: start, target: d.address, client: x.w,
		streams: x.body.stream != nil, informs: x.r.ProtoAtLeast(1, 1),
		watch: watch{limits: [steps]time.Duration{
			reading: milli(s.ReadTimeout), writing: milli(s.WriteTimeout),
			awaiting: time.Duration(x.timeouts.Body), sending: time.Duration(x.timeouts.Send),
		}},
	}
	rounds.add(t)

	req := &t.request
	req.Method, req.Proto, req.ProtoMajor, req.ProtoMinor = x.r.Method, "HTTP/1.1", 1, 1
	req.Host, req.RequestURI = host, path+x.query
	x.outgoing = x.upstreamFields(x.outgoing[:0])
	t.fields = x.outgoing
	if x.plugins != nil {
		if m := x.plugins.Changes().Method; m != "" {
			req.Method = m
		}
	}
	if !x.body.none {
		req.Trailer = x.r.Trailer
	}
	switch b := &x.body; {
	case b.none:
	case b.stream != nil:
		req.Body, req.ContentLength = &sentBody{from: b.stream, try: t}, b.length
	default:
		small := b.small
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(small)), b.length
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(small)), nil }
	}
	return t, req
}

// The next ones are called by transports: those of net/http call them on
// goroutines of theirs, possibly after the try is over.

// Dial connects.
func (t *try) Dial() (net.Conn, error) {
	if t.dial.tls != nil {
		return dialTLS(t, "", "")
	}
	return dialPlain(t, "", "")
}

// Attach says which connection the request goes to.
func (t *try) Attach(c http1.Interrupter) {
	t.sent.Store(true)
	t.watch.begin(writing)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conn = c
	if t.cause != nil {
		c.Interrupt()
	}
}

// Detach says that the connection serves others.
func (t *try) Detach() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conn = nil
}

// Reply is where the response goes.
func (t *try) Reply() *http1.Reply { return &t.reply }

// Began says when the try did.
func (t *try) Began() time.Time { return t.start }

// Answers says that the upstream answers.
func (t *try) Answers() time.Time {
	t.begun.Store(true)
	t.begunAt = time.Now()
	return t.begunAt
}

// Wrote says that the upstream is to answer now.
func (t *try) Wrote() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watch.finish(writing)
	if !t.answered {
		t.watch.begin(reading)
	}
}

// trace makes a transport of net/http call the same.
func (t *try) trace(req *http.Request) *http.Request {
	return req.WithContext(httptrace.WithClientTrace(t, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) {
			t.sent.Store(true)
			t.watch.begin(writing)
		},
		WroteRequest:         func(httptrace.WroteRequestInfo) { t.Wrote() },
		GotFirstResponseByte: func() { t.begun.Store(true) },
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			t.Inform(code, http.Header(header))
			return nil
		},
	}))
}

// Inform passes an informational response on; the server says 100 Continue
// for itself, and HTTP/1.0 has none (RFC 9110, section 15.2).
func (t *try) Inform(code int, header http.Header) {
	t.informing.Lock() // makes settle wait, but not abort
	defer t.informing.Unlock()
	t.mu.Lock()
	answered, client := t.answered, t.client
	t.mu.Unlock()
	if answered {
		return
	}
	if !t.informs || code == http.StatusContinue || code == http.StatusSwitchingProtocols {
		t.watch.begin(reading)
		return
	}
	connection := header["Connection"]
	maps.DeleteFunc(header, func(name string, _ []string) bool {
		return endsHere(name) || name == "Upgrade" || listsName(connection, name)
	})
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

// abort ends the try because a step of it took too long, or the client is gone.
// It wakes whoever waits for the client as well, since a context does not:
// http.Transport, for one, does not return before it is done with the body.
func (t *try) abort(cause error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over || !t.finish(cause) {
		return
	}
	control := http.NewResponseController(t.client)
	switch {
	case cause == errSendTimeout:
		_ = control.SetWriteDeadline(time.Now())
	case t.streams && cause != errClientGone:
		_ = control.SetReadDeadline(time.Now())
	}
}

// finish ends the try for a reason, if it has not ended. The caller holds mu.
func (t *try) finish(cause error) bool {
	if t.cause != nil {
		return false
	}
	t.cause = cause
	if t.done != nil {
		close(t.done)
	}
	if t.conn != nil {
		t.conn.Interrupt()
	}
	if t.unfollow != nil {
		t.unfollow()
	}
	return true
}

// end releases what the try holds. Its response must have been read.
func (t *try) end() {
	rounds.remove(t)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over, t.client = true, nil
	t.finish(context.Canceled)
}

// forgotten reports whether nobody but the exchange knows the try any more, now
// that it has ended: no round, nobody who waits for it, and no transport of
// net/http.
func (t *try) forgotten() bool {
	rounds.mu.Lock()
	picked := t.picked
	rounds.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	return !picked && t.over && t.done == nil && t.unfollow == nil && !t.dial.http2
}

// milli is a duration of so many milliseconds.
func milli(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// Interface guards
var (
	_ context.Context = (*try)(nil)
	_ http1.Call      = (*try)(nil)
)
