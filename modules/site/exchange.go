package site

import (
	"cmp"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/http1"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/proxy"
)

// An identity is what one plugin of a site tells those behind it.
type identity struct {
	consumer   *entity.Consumer
	credential *plugin.Credential
	groups     []string
	shared     map[string]any
}

// identityKey is where Caddy's variables of the request have it.
const identityKey = "gateway_plugin.identity"

// An exchange is one request on its way through one plugin.
type exchange struct {
	*Handler
	x    *plugin.Exchange
	w    http.ResponseWriter
	r    *http.Request
	out  *recorder
	next caddyhttp.Handler
	err  error // of what follows
	went bool  // the request was passed on
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, d plugin.Directory) error {
	e := &exchange{Handler: h, r: r, next: next}
	e.out = &recorder{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	e.w = e.out
	x := plugin.Begin(e, h.globals)
	e.x = x
	defer x.End()
	e.expose(d)
	err := h.chain.Rewrite(x)
	e.w = h.chain.Wrap(x, e.w)
	if err != nil {
		h.chain.Skip(x)
	} else {
		err = h.chain.Access(x)
	}
	if err != nil {
		e.fail(err)
	}
	if e.err != nil && e.out.status == 0 {
		x.SwitchProtocols(statusOf(e.err)) // Caddy will write the answer
	} else if err := x.Finish(); err != nil {
		h.logger.Error("response body could not be completed", zap.String("plugin", h.Name), zap.Error(err))
		panic(http.ErrAbortHandler)
	}
	e.outcome(r)
	h.chain.Log(x)
	return e.err
}

// expose fills what plugins see of the request.
func (e *exchange) expose(d plugin.Directory) {
	x, r := e.x, e.r
	ctx := r.Context()
	x.Accept(r, nil)
	x.Start, x.Directory, x.Logger = time.Now(), d, e.logger
	if repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		id, _ := repl.GetString("http.request.uuid")
		x.ID = strings.ReplaceAll(id, "-", "")
	}
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	x.Client = netip.AddrPortFrom(peer.Addr().Unmap().WithZone(""), peer.Port())
	if text, ok := caddyhttp.GetVar(ctx, caddyhttp.ClientIPVarKey).(string); ok {
		if a, err := netip.ParseAddr(text); err == nil && a.Unmap().WithZone("") != x.Client.Addr() {
			x.Client = netip.AddrPortFrom(a.Unmap().WithZone(""), 0)
		}
	}
	x.Scheme = "http"
	if r.TLS != nil {
		x.Scheme = "https"
	}
	x.Hostname = strings.ToLower(r.Host)
	if host, _, err := net.SplitHostPort(x.Hostname); err == nil {
		x.Hostname = host
	}
	if a, ok := ctx.Value(http.LocalAddrContextKey).(net.Addr); ok {
		_, x.Port, _ = net.SplitHostPort(a.String())
	}
	if who, ok := caddyhttp.GetVar(ctx, identityKey).(*identity); ok {
		x.Consumer, x.Credential, x.Groups, x.Shared = who.consumer, who.credential, who.groups, who.shared
	}
}

// Forward passes the request on.
func (e *exchange) Forward() {
	x, ctx := e.x, e.r.Context()
	if x.Consumer != nil || x.Credential != nil || x.Groups != nil || x.Shared != nil {
		caddyhttp.SetVar(ctx, identityKey, &identity{x.Consumer, x.Credential, x.Groups, x.Shared})
	}
	if repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok && x.Consumer != nil {
		repl.Set("http.auth.user.id", cmp.Or(x.Consumer.Username, x.Consumer.CustomID, x.Consumer.ID.String()))
	}
	x.Apply(e.r) // as Caddy's own handlers do, which replacers know
	e.went = true
	e.err = e.next.ServeHTTP(e.w, e.r)
}

// Current answers the writer and the request as they are.
func (e *exchange) Current() (http.ResponseWriter, *http.Request) { return e.w, e.r }

// Replace puts others in their place.
func (e *exchange) Replace(w http.ResponseWriter, r *http.Request) { e.w, e.r = w, r }

// Heading does nothing: the site has its own headers.
func (e *exchange) Heading(int) {}

// UpstreamURI is none: who answers behind the plugin is the site's business.
func (e *exchange) UpstreamURI() string { return "" }

// Answer writes the answer of a plugin.
func (e *exchange) Answer(a *plugin.Answer) {
	e.x.Answering()
	h := e.w.Header()
	maps.Copy(h, a.Header)
	if e.x.ID != "" {
		h["X-Kong-Request-Id"] = []string{e.x.ID}
	}
	if !a.Raw {
		proxy.WriteError(e.w, e.r, a.Status, a.Message, e.x.ID)
		return
	}
	if len(h["Content-Type"]) == 0 {
		h["Content-Type"] = nil // else net/http would guess one
	}
	if a.Status != http.StatusNoContent && a.Status != http.StatusNotModified {
		h["Content-Length"] = []string{strconv.Itoa(len(a.Body))}
	}
	e.w.WriteHeader(a.Status)
	_, _ = e.w.Write(a.Body) // a client that has gone needs no error
}

// fail answers for what a plugin returned.
func (e *exchange) fail(err error) {
	var a *plugin.Answer
	switch {
	case e.out.status != 0:
		e.logger.Error("plugin failed after the response had begun", zap.String("plugin", e.Name), zap.Error(err))
	case errors.As(err, &a):
		e.Answer(a)
	default:
		e.logger.Error("plugin failed", zap.String("plugin", e.Name), zap.String("request_id", e.x.ID), zap.Error(err))
		e.Answer(&plugin.Answer{Status: http.StatusInternalServerError})
	}
}

// statusOf is what Caddy answers for an error.
func statusOf(err error) int {
	var refused caddyhttp.HandlerError
	if errors.As(err, &refused) && refused.StatusCode != 0 {
		return refused.StatusCode
	}
	return http.StatusInternalServerError
}

// outcome tells what became of the request.
func (e *exchange) outcome(r *http.Request) {
	o := &e.x.Outcome
	o.Status = cmp.Or(e.out.status, http.StatusOK)
	if e.err != nil && e.out.status == 0 {
		o.Status = statusOf(e.err)
	}
	o.Request = time.Since(e.x.Start)
	o.Gateway, o.Proxy = o.Request, -1
	o.BodySent, o.ResponseSize = e.out.sent, e.out.sent+e.x.HeadSize()+17
	o.RequestSize = http1.HeaderSize(r.Header) + int64(len(r.Method)+len(r.RequestURI)+17) + max(0, r.ContentLength)
	o.FromUpstream = e.went && !e.x.Answered()
}

// A recorder notes what becomes of the response.
type recorder struct {
	*caddyhttp.ResponseWriterWrapper
	status int
	sent   int64
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriterWrapper.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriterWrapper.Write(p)
	w.sent += int64(n)
	return n, err
}

// ReadFrom is for what is copied in the kernel.
func (w *recorder) ReadFrom(from io.Reader) (int64, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriterWrapper.ReadFrom(from)
	w.sent += n
	return n, err
}

// Interface guard
var _ plugin.Host = (*exchange)(nil)
