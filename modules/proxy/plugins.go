package proxy

import (
	"cmp"
	"errors"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/router"
)

// acting is the part of an exchange that requests have on which plugins act.
type acting struct {
	plugins *plugin.Exchange    // nil: none does
	chain   *plugin.Chain       // nil: the route is not known yet
	below   http.ResponseWriter // that the chain's writer writes to
	epoch   *plugin.Epoch       // that was entered
}

// enter keeps the snapshot's plugins alive to the end of the exchange. It
// answers false if the snapshot is no longer the current one.
func (x *exchange) enter() bool {
	if x.epoch != nil {
		return true
	}
	e := x.snapshot.Epoch()
	if !e.Enter() {
		return false
	}
	x.epoch = e
	return true
}

// renew takes the current snapshot in place of one that has gone; false: there
// is none, as the configuration is at its end.
func (x *exchange) renew() bool {
	now := x.source.View()
	if now == x.view {
		x.fail(http.StatusInternalServerError)
		return false
	}
	x.view, x.snapshot = now, now.Snapshot
	return true
}

// expose fills what plugins see of the request.
func (x *exchange) expose() *plugin.Exchange {
	p := x.plugins
	if p == nil {
		p = plugin.Begin((*host)(x), x.snapshot.Globals())
		x.plugins = p
	}
	p.Accept(x.r, x.head)
	p.ID, p.Client, p.Start, p.Logger = x.id, x.client, x.start, x.logger
	p.Scheme, p.Hostname, p.Port, p.Directory = x.forwardedProto, x.host, x.port, x.view.Image
	if r := x.match.Route; r != nil {
		p.Route, p.Captures = r.Route, x.match.Captures
	}
	if s := x.match.Service; s != nil {
		p.Service = s.Service
	}
	return p
}

// rewrite runs the phase of that name, and reports whether the request goes on.
func (x *exchange) rewrite(c *plugin.Chain) bool {
	p := x.expose()
	if err := c.Rewrite(p); err != nil {
		x.chain = c
		x.w = c.Wrap(p, x.w)
		c.Skip(p)
		x.answerFor(err)
		x.finish()
		return false
	}
	x.routing.Header = p.Header()
	return true
}

// through passes the request through the plugins of its route, and on.
func (x *exchange) through(c *plugin.Chain) {
	p := x.expose()
	x.chain, x.below = c, x.w
	x.w = c.Wrap(p, x.w)
	err := c.Access(p)
	if s := p.Status(); s != 0 && !x.started { // middleware wrote the response
		x.started, x.status, x.sent = true, s, p.Written()
		p.Answering()
	}
	if err != nil {
		x.answerFor(err)
	}
	x.finish()
}

// withoutRoute answers a request that no route matches, or none that allows its
// protocol. The global plugins see that (kong/runloop/plugins_iterator.lua).
func (x *exchange) withoutRoute(answer func()) {
	c := x.snapshot.Globals().Routeless()
	if c == nil {
		answer()
		return
	}
	p := x.expose()
	p.Route, p.Service, p.Captures = nil, nil, router.Captures{}
	x.chain = c
	x.w = c.Wrap(p, x.w)
	c.Skip(p)
	answer()
	x.finish()
}

// finish ends the response's body.
func (x *exchange) finish() {
	if err := x.plugins.Finish(); err != nil {
		x.logger.Error("response body could not be completed", x.fields(zap.Error(err))...)
		panic(http.ErrAbortHandler)
	}
}

// answerFor answers with what a plugin returned.
func (x *exchange) answerFor(err error) {
	if x.started {
		x.logger.Error("plugin failed after the response had begun", x.fields(zap.Error(err))...)
		return
	}
	a, answered := errors.AsType[*plugin.Answer](err)
	if !answered {
		fields := x.fields(zap.Error(err))
		if f, ok := errors.AsType[*plugin.Failure](err); ok {
			fields = append(fields, zap.Stringer("plugin_id", f.ID))
		}
		x.logger.Error("plugin failed", fields...)
		a = &plugin.Answer{Status: http.StatusInternalServerError}
	}
	x.plugins.Answering()
	h := x.w.Header()
	maps.Copy(h, a.Header)
	if !a.Raw || x.isGRPC() {
		x.refuse(a.Status, cmp.Or(a.Message, messages[a.Status], nginxMessages[a.Status],
			"The upstream server responded with "+strconv.Itoa(a.Status)))
		return
	}
	x.ownHeaders(h, a.Status)
	if len(h["Content-Type"]) == 0 {
		h["Content-Type"] = nil // else net/http would guess one
	}
	if a.Status != http.StatusNoContent && a.Status != http.StatusNotModified {
		h["Content-Length"] = []string{strconv.Itoa(len(a.Body))}
	}
	x.writeHead(a.Status)
	if len(a.Body) > 0 {
		n, _ := x.w.Write(a.Body)
		x.sent = int64(n)
	}
}

// messages are the texts of statuses that a plugin gives no text for
// (kong/pdk/response.lua), besides nginx's.
var messages = map[int]string{
	401: "Unauthorized", 402: "Payment required", 403: "Forbidden", 406: "Not acceptable",
	407: "Proxy authentication required", 409: "Conflict", 410: "Gone", 415: "Unsupported media type",
	416: "Range not satisfiable", 418: "I'm a teapot", 421: "Misdirected request", 422: "Unprocessable entity",
	423: "Locked", 424: "Failed dependency", 425: "Too early", 426: "Upgrade required", 428: "Precondition required",
	429: "Too many requests", 431: "Request header fields too large", 451: "Unavailable for legal reasons",
	494: "Request header or cookie too large", 501: "Not implemented", 505: "HTTP version not supported",
}

// A host is an exchange as chains see it.
type host exchange

// Forward passes the request to its service.
func (h *host) Forward() {
	x := (*exchange)(h)
	if q, ok := x.plugins.Changes().Query(); ok {
		if x.query = ""; q != "" {
			x.query = "?" + q
		}
	}
	x.serveService()
}

// Current answers the writer and the request as they are.
func (h *host) Current() (http.ResponseWriter, *http.Request) { return h.w, h.r }

// Replace puts others in their place.
func (h *host) Replace(w http.ResponseWriter, r *http.Request) {
	defer (*exchange)(h).readHeader()
	if h.w, h.r = w, r; r.RequestURI != h.path+h.query {
		h.path, h.query = target(r)
		h.routing.Path = entity.NormalizePath(h.path)
		if !strings.HasPrefix(h.routing.Path, h.match.Prefix) {
			h.match.Prefix = ""
		}
	}
}

// Heading gives the answers of Caddy's handlers the headers of all answers that are
// not an upstream's.
func (h *host) Heading(status int) {
	x := (*exchange)(h)
	if x.started {
		return
	}
	header := x.plugins.ResponseHeader()
	server := header["Server"]
	x.ownHeaders(header, status)
	if server != nil { // the handler has asked somebody
		header["Server"] = server
	}
}

// UpstreamURI is the path and query for the service.
func (h *host) UpstreamURI() string {
	x := (*exchange)(h)
	if x.plugins.Route == nil || x.match.Service == nil {
		return ""
	}
	return x.upstreamPath() + x.query
}

// Answer writes the answer of a plugin.
func (h *host) Answer(a *plugin.Answer) { (*exchange)(h).answerFor(a) }

// leave runs the phase log and gives back what acting on the request took.
func (x *exchange) leave() {
	if p := x.plugins; p != nil {
		if x.chain.Logs() {
			x.outcome(&p.Outcome)
			x.chain.Log(p)
		}
		p.End()
	}
	if x.epoch != nil {
		x.epoch.Leave()
	}
}

// outcome tells what became of the request.
func (x *exchange) outcome(o *plugin.Outcome) {
	p := x.plugins
	now := x.now()
	o.Status = cmp.Or(p.Status(), x.status)
	if o.Status == 0 {
		o.Status = statusClientGone
	}
	o.Request, o.Gateway, o.Proxy = now.Sub(x.start), now.Sub(x.start), -1
	o.BodySent = x.sent
	if n, ok := p.Passed(); ok {
		o.BodySent = n
	}
	o.RequestSize = x.head.Size() + int64(len(x.r.Method)+len(x.r.RequestURI)+len(x.r.Proto)+6) + x.received()
	o.ResponseSize = p.HeadSize() + 17 + o.BodySent
	if x.tries == 0 {
		return
	}
	o.Gateway = x.sentAt.Sub(x.start)
	o.Proxy = now.Sub(x.sentAt)
	if x.waited > 0 {
		o.Proxy = x.askedAt.Add(x.waited).Sub(x.sentAt)
		o.Receive = o.Request - o.Gateway - o.Proxy
		o.UpstreamStatus, o.FromUpstream = x.upstreamStatus, !p.Answered()
	}
}

// note keeps a try for the phase log. The choice of its address began at the
// time given; zero: there was nothing to choose.
func (x *exchange) note(t *try, began time.Time, status int, failed bool) {
	o := &x.plugins.Outcome
	if began.IsZero() {
		began = t.start
	}
	n := plugin.Try{Address: t.target, Start: began, Duration: t.start.Sub(began)}
	if failed {
		n.State, n.Code = "failed", status
	}
	o.Tries = append(o.Tries, n)
}

// Interface guard
var _ plugin.Host = (*host)(nil)
