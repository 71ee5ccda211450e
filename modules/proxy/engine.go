package proxy

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/textproto"
	"runtime/debug"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/http1"
	"github.com/portcullis-gateway/portcullis/modules/node"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/router"
	"github.com/portcullis-gateway/portcullis/modules/serve"
	"github.com/portcullis-gateway/portcullis/modules/snapshot"
)

// kongVersion is what the headers Server and Via say, for clients that read
// it.
const kongVersion = "kong/" + gateway.KongVersion

// A Source hands out the world as it is now. The value is immutable.
type Source interface{ View() *node.View }

// An Engine answers requests as Kong's proxy does. It is a plain handler that
// opens no sockets of its own, safe for concurrent use.
//
// It reads one snapshot of the world for each request, from match to the last
// byte. Connections to upstreams are shared by all engines of the process and
// stay open across a reload.
type Engine struct {
	source     Source
	resolver   balancer.Resolver
	options    *gateway.Options
	realIP     string // the header named by real_ip_header, as net/http spells it
	timeouts   serve.Timeouts
	logger     *zap.Logger
	access     *accessLog // nil: requests are not logged
	wire       *wire
	intercepts bool // a listener has the flag `transparent`
	closed     sync.Once

	// sender sends requests to services, by their protocol. What it must know
	// to connect is in the tries.
	sender func(protocol string) sender
}

// NewEngine makes an engine. Hosts of services that are no upstreams are looked
// up with the resolver. Close the engine when no more requests will come.
func NewEngine(source Source, resolver balancer.Resolver, options *gateway.Options, timeouts serve.Timeouts, logger *zap.Logger) *Engine {
	w := holdWire()
	return &Engine{
		source:   source,
		resolver: resolver,
		options:  options,
		realIP:   textproto.CanonicalMIMEHeaderKey(options.RealIPHeader),
		timeouts: timeouts.WithDefaults(),
		logger:   logger,
		wire:     w,
		sender:   w.sender,
	}
}

// Close gives the connections to upstreams back. Requests under way end
// undisturbed, unless this was the process's last engine.
func (e *Engine) Close() { e.closed.Do(dropWire) }

// ServeHTTP answers a request. Where no route matches, the answer is Kong's
// 404.
func (e *Engine) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.serve(w, r, false, nil) }

// serve answers a request and reports whether it did: with pass, one that no
// route matches is left alone. In a site of Caddy's, its access log gets to know
// what became of the request.
func (e *Engine) serve(w http.ResponseWriter, r *http.Request, pass bool, site *caddyhttp.ExtraLogFields) (answered bool) {
	x := exchanges.Get().(*exchange)
	x.begin(e, w, r)
	x.site = site
	defer x.end()
	return x.serve(pass)
}

// An exchange is one request on its way through the engine. It belongs to the
// goroutine of the handler; what other goroutines may touch, such as those of
// a transport, is in a try.
type exchange struct {
	*Engine
	w http.ResponseWriter
	r *http.Request

	head *http1.Head // of the request; r has a Header if somebody has asked for it
	own  http1.Head  // its memory, if the server has made a header already

	view     *node.View
	snapshot *snapshot.Snapshot
	start    time.Time
	id       string // of the request: 32 hexadecimal digits

	facts
	routing router.Request
	match   snapshot.Match

	body    body
	key     uint32 // for consistent hashing
	cookie  string // that was made up for the key; empty: none was
	tried   balancer.RetrySet
	chosen  *balancer.Peer // of the try under way; nil: none of an upstream
	sentAt  time.Time      // when the first try began; zero: no upstream was contacted
	askedAt time.Time      // when the try began that got the response
	started bool           // the response's head is on its way

	// What is written to upstreams. The memory is used again for the next request.
	outgoing, changed http1.Fields

	spare *try // its memory may be used again; nil: none
	whole bool // the answer has been sent to its end

	// For the log.
	status int                       // of the answer; 0: none has begun
	sent   int64                     // bytes of the answer's body
	last   *try                      // nil: there was none
	tries  int                       // how many there were
	waited time.Duration             // from the start of the last one to the response's head
	site   *caddyhttp.ExtraLogFields // nil outside of Caddy's sites

	acting
	upstreamStatus int // of the response, if plugins log
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

func (x *exchange) begin(e *Engine, w http.ResponseWriter, r *http.Request) {
	x.Engine, x.w, x.r = e, w, r
	x.start = time.Now()
	if hr, ok := w.(http1.HeadReader); ok && r.Header == nil {
		x.head = hr.RequestHead()
	} else {
		x.readHeader()
	}
	x.view = e.source.View()
	x.snapshot = x.view.Snapshot
	x.id = requestID()
}

// readHeader makes the head of the request's header.
func (x *exchange) readHeader() {
	x.own.Fields = x.own.Fields[:0].AppendHeader(x.r.Header)
	x.head = &x.own
}

// header is the request's header as net/http has it.
func (x *exchange) header() http.Header {
	if x.r.Header == nil {
		x.r.Header = x.head.Header()
	}
	return x.r.Header
}

// end gives the exchange back to the pool. Nothing of the request may stay in
// it.
func (x *exchange) end() {
	if p := recover(); p != nil {
		err, _ := p.(error)
		abort := x.started
		if !errors.Is(err, http.ErrAbortHandler) {
			x.logger.Error("panic while serving", x.fields(zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))...)
			if !abort {
				x.fail(http.StatusInternalServerError)
			}
		} else {
			abort = true
		}
		if abort {
			defer panic(http.ErrAbortHandler) // ends the connection, and no more than that
		}
	}
	x.release(0)                      // a try that was broken off
	if x.status != 0 || x.tries > 0 { // else it was passed on
		x.log()
	}
	if x.plugins != nil || x.epoch != nil {
		x.leave()
	}
	*x = exchange{
		own: http1.Head{Fields: x.own.Fields[:0]}, outgoing: x.outgoing[:0], changed: x.changed[:0],
		spare: x.recycle(),
	}
	exchanges.Put(x)
}

// recycle is the try whose memory can be used again, if nothing of it is in use
// any more. The same is then true of the request, and the server is told so. It
// is for what most requests are: one try, no body, and nobody who watched, from a
// server that does not look at the header of the answer when that has been sent.
func (x *exchange) recycle() *try {
	if !x.whole || x.tries != 1 || !x.chain.Forgets() || !x.body.none || !x.last.forgotten() {
		return nil
	}
	w := x.w
	if x.below != nil {
		w = x.below
	}
	server, ok := w.(http1.Recycler)
	if !ok {
		return nil // others may look at the header, in which there is memory of the try
	}
	texts := x.chain.ForgetsTexts()
	x.last.reply.Recycle(texts)
	server.Recycle(texts)
	return x.last
}

// serve takes the request from facts to answer.
func (x *exchange) serve(pass bool) bool {
	if m := x.r.Method; m == http.MethodTrace || m == http.MethodConnect {
		if !pass {
			x.fail(http.StatusMethodNotAllowed) // as nginx
		}
		return !pass
	}
	if !wellFormed(x.r) {
		if !pass {
			x.fail(http.StatusBadRequest) // as nginx
		}
		return !pass
	}
	x.gather()
	chain, ok := x.route()
	if !ok {
		return true
	}
	if x.match.Route == nil {
		if pass {
			return false
		}
		x.withoutRoute(func() { x.refuse(http.StatusNotFound, "no Route matched with those values") })
		return true
	}
	if answer := x.wrongProtocol(); answer != nil {
		x.withoutRoute(answer)
		return true
	}
	if chain != nil {
		x.through(chain)
	} else {
		x.serveService()
	}
	return true
}

// route finds the route, and what acts on its requests; nil: nothing. It answers
// false if the request is answered already.
func (x *exchange) route() (*plugin.Chain, bool) {
	for {
		g := x.snapshot.Globals()
		if c := g.Routeless(); c.Rewrites() && x.plugins == nil {
			if !x.enter() {
				if !x.renew() {
					return nil, false
				}
				continue
			}
			if !x.rewrite(c) {
				return nil, false
			}
		}
		chain := g.Routeless()
		if x.routing.Header == nil && x.snapshot.ReadsHeaders() {
			x.routing.Header = x.header()
		}
		if m, ok := x.snapshot.Match(&x.routing); ok {
			x.match = m
			chain = x.snapshot.Chain(&x.match)
		}
		if chain == nil || x.enter() {
			return chain, true
		}
		if !x.renew() {
			return nil, false
		}
		x.match = snapshot.Match{}
	}
}

// serveService passes the request to the route's service, if it has one.
func (x *exchange) serveService() {
	s := x.match.Service
	if s == nil {
		x.refuse(http.StatusServiceUnavailable, "no Service found with those values")
		return
	}
	if s.Err != nil {
		x.logger.Error("service cannot be used", x.fields(zap.Error(s.Err))...)
		x.fail(http.StatusInternalServerError)
		return
	}
	x.forward()
}

// now is the time, for about half of what time.Now costs.
func (x *exchange) now() time.Time { return x.start.Add(time.Since(x.start)) }

// requestID makes an identifier: 32 hexadecimal digits. It is for finding a
// request again, not for keeping a secret.
func requestID() string {
	const digits = "0123456789abcdef"
	var b [32]byte
	for i := 0; i < len(b); i += 16 {
		n := rand.Uint64()
		for j := range 16 {
			b[i+j] = digits[n&15]
			n >>= 4
		}
	}
	return string(b[:])
}

// fields are what every log line about the request tells.
func (x *exchange) fields(more ...zap.Field) []zap.Field {
	fs := []zap.Field{zap.String("request_id", x.id)}
	if r := x.match.Route; r != nil {
		fs = append(fs, zap.Stringer("route_id", r.ID))
	}
	if s := x.match.Service; s != nil {
		fs = append(fs, zap.Stringer("service_id", s.ID))
	}
	return append(fs, more...)
}

// clientGone reports whether nobody waits for the answer any more.
func (x *exchange) clientGone() bool { return errors.Is(x.r.Context().Err(), context.Canceled) }

// Interface guards
var _ http.Handler = (*Engine)(nil)
