package proxy

import (
	"errors"
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/arrival"
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

	// How long clients may take for the single steps of a request. The server
	// of the site has its own limits for what comes before and after: here,
	// `header` and `idle` mean nothing. Default: 60s each.
	Timeouts serve.Timeouts `json:"timeouts,omitzero"`

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
	if err := serve.CheckLimits("gateway", h.Timeouts, 0, 0); err != nil {
		return err
	}
	if h.Timeouts.Header != 0 || h.Timeouts.Idle != 0 {
		return errors.New("gateway: timeouts: header and idle are limits of the site's server; expected body or send")
	}
	if h.app, err = gateway.From(ctx); err != nil {
		return err
	}
	h.app.Require()
	arrival.Watch(ctx)
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
	h.engine = NewEngine(n, h.app.Resolver(), h.app.Options(), h.Timeouts, h.logger)
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
//		timeouts {
//			read_body <duration>
//			write     <duration>
//		}
//	}
//
// The other timeouts of `proxy_listen` are limits of the site's server; Caddy's
// global option `servers` sets them.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		return d.Errf("gateway takes no argument but a matcher, got %q", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch word := d.Val(); word {
		case "pass":
			h.Pass = true
		case "timeouts":
		default:
			return d.Errf("unrecognized option %q; expected pass or timeouts", word)
		}
		word := d.Val()
		if d.NextArg() {
			return d.Errf("%s takes no argument, got %q", word, d.Val())
		}
		if word == "timeouts" {
			if err := h.unmarshalTimeouts(d); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h *Handler) unmarshalTimeouts(d *caddyfile.Dispenser) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var limit *caddy.Duration
		word := d.Val()
		switch word {
		case "read_body":
			limit = &h.Timeouts.Body
		case "write":
			limit = &h.Timeouts.Send
		case "read_header", "idle":
			return d.Errf("%s is a limit of the site's server, which the global option servers sets; expected read_body or write", word)
		default:
			return d.Errf("unrecognized option %q; expected read_body or write", word)
		}
		args := d.RemainingArgs()
		if len(args) != 1 {
			return d.Errf("%s: expected a duration such as 30s", word)
		}
		value, err := caddy.ParseDuration(args[0])
		if err != nil || value < 0 {
			return d.Errf("%s: expected a duration such as 30s, got %q", word, args[0])
		}
		*limit = caddy.Duration(value)
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
