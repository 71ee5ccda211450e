package proxy

import (
	"errors"
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/serve"
)

func init() { caddy.RegisterModule(new(Handler)) }

// Handler is the gateway inside an ordinary Caddy site: its routes and services
// answer the requests that reach it, beside whatever else the site does.
//
// The routes see the request as the handlers before have left it. What clients
// are trusted to say, the app `gateway` decides (`trusted_ips`), not Caddy's
// own `trusted_proxies`. Caddy's servers remove request headers with an
// underscore in their name, and limit the size of heads in their own way; the
// app `gateway_proxy` does neither.
type Handler struct {
	// Whether requests that no route matches go on to the next handler of the
	// site. Default: false, they are answered with Kong's 404.
	Pass bool `json:"pass,omitempty"`

	app    *gateway.App
	logger *zap.Logger

	mu     sync.RWMutex
	engine *Engine // protected by mu; made for the first request
	held   bool    // protected by mu; the wire is kept for the engine to come
	closed bool    // protected by mu
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.gateway", New: func() caddy.Module { return new(Handler) }}
}

// Provision finds the app whose node it will use. The node opens when the
// configuration starts, so that it can be checked without that. What engines
// share is held from now on: a reload may come between two requests.
func (h *Handler) Provision(ctx caddy.Context) (err error) {
	h.logger = ctx.Logger()
	if h.app, err = gateway.From(ctx); err != nil {
		return err
	}
	h.app.Require()
	h.mu.Lock()
	defer h.mu.Unlock()
	holdWire()
	h.held = true
	return nil
}

// ServeHTTP answers the request, or passes it on.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	e, err := h.open()
	if err != nil {
		return caddyhttp.Error(http.StatusInternalServerError, err)
	}
	site, _ := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields)
	if e.serve(w, r, h.Pass, site) {
		return nil
	}
	return next.ServeHTTP(w, r)
}

// open answers the engine, and makes it at first: the site may have a request
// before all of the configuration has started.
func (h *Handler) open() (*Engine, error) {
	h.mu.RLock()
	e := h.engine
	h.mu.RUnlock()
	if e != nil {
		return e, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.engine != nil {
		return h.engine, nil
	}
	if h.closed {
		return nil, errors.New("the configuration of this handler has been replaced")
	}
	n, err := h.app.Node()
	if err != nil {
		return nil, err
	}
	h.engine = NewEngine(n, h.app.Resolver(), h.app.Options(), serve.Timeouts{}, h.logger)
	return h.engine, nil
}

// Cleanup gives the connections to upstreams back.
func (h *Handler) Cleanup() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	if h.engine != nil {
		h.engine.Close()
	}
	if h.held {
		h.held = false
		dropWire()
	}
	return nil
}

// UnmarshalCaddyfile reads the site directive. Syntax:
//
//	gateway {
//		pass
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		return d.Errf("gateway takes no argument but a matcher, got %q", d.Val())
	}
	for d.NextBlock(0) {
		if d.Val() != "pass" {
			return d.Errf("unrecognized option %q; expected pass", d.Val())
		}
		if d.NextArg() {
			return d.Errf("pass takes no argument, got %q", d.Val())
		}
		h.Pass = true
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)
