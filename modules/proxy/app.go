package proxy

import (
	"crypto/tls"
	"errors"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/listen"
	"github.com/portcullis-gateway/portcullis/modules/serve"
)

func init() { caddy.RegisterModule(new(App)) }

// DefaultListen is Kong's `proxy_listen`.
const DefaultListen = "0.0.0.0:8000 reuseport backlog=16384, 0.0.0.0:8443 http2 ssl reuseport backlog=16384"

// App is the gateway's own HTTP door: the listeners of `proxy_listen`.
//
// Each request is passed to the service of the route that matches it, or
// answered as Kong would. Routes, services and certificates are those of the
// app `gateway`, and their changes take effect at once; the listeners are part
// of Caddy's configuration. Those that a reload leaves as they are stay open,
// with all their connections.
type App struct {
	serve.Listeners

	// Whether each request is written to the log, in the shape of the access
	// logs of Caddy's sites: the logger `gateway_proxy.access`, which Caddy's
	// `logging` can send elsewhere. Default: false.
	AccessLog bool `json:"access_log,omitempty"`

	// Whether the access log shows the headers Authorization, Cookie,
	// Set-Cookie and Proxy-Authorization instead of "REDACTED". Default: false.
	LogCredentials bool `json:"log_credentials,omitempty"`

	// Whether Caddy obtains certificates for the hosts of routes, and renews them,
	// as its automatic HTTPS does for sites, by the policies of the app `tls`.
	// It follows the routes as they change; a certificate of the gateway's own
	// that fits a host wins. Authorities reach the gateway on ports 80 and 443,
	// so it must listen there, or be reached from there. Default: false.
	AutoHTTPS bool `json:"auto_https,omitempty"`

	ctx     caddy.Context
	logger  *zap.Logger
	tls     *caddytls.TLS // nil without AutoHTTPS
	hosts   *autoHTTPS    // nil without AutoHTTPS
	engine  *Engine
	release func() // see gateway.App.Hold
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway_proxy", New: func() caddy.Module { return new(App) }}
}

// Provision fills the defaults. It opens nothing.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger = ctx, ctx.Logger()
	if a.AutoHTTPS {
		app, err := ctx.App("tls")
		if err != nil {
			return err
		}
		a.tls = app.(*caddytls.TLS)
	}
	return a.Listeners.Provision(ctx, "proxy_listen", DefaultListen, listen.Proxy)
}

// Validate reports listeners that cannot be opened together, and limits that
// make no sense.
func (a *App) Validate() error {
	if a.AutoHTTPS && !slices.ContainsFunc(a.Listen, func(b listen.Bind) bool { return b.SSL }) {
		return errors.New("proxy_listen: auto_https needs a listener with the flag \"ssl\"")
	}
	return a.CheckListeners(a.ctx, "gateway_proxy")
}

// Start borrows the node and opens the listeners.
func (a *App) Start() error {
	app, err := gateway.From(a.ctx)
	if err != nil {
		return err
	}
	n, err := app.Node()
	if err != nil {
		return err
	}
	a.engine, a.release = NewEngine(n, app.Resolver(), app.Options(), a.Timeouts, a.logger), app.Hold()
	if a.AccessLog {
		a.engine.access = &accessLog{logger: a.logger.Named("access"), credentials: a.LogCredentials}
	}
	a.engine.intercepts = slices.ContainsFunc(a.Listen, func(b listen.Bind) bool { return b.Transparent != "" })
	var handshake func(*tls.ClientHelloInfo) (*tls.Config, error)
	if slices.ContainsFunc(a.Listen, func(b listen.Bind) bool { return b.SSL }) {
		config, err := app.ServerTLS(a.ctx, a.Option())
		if err != nil {
			return err
		}
		if !app.TLS13() && slices.ContainsFunc(a.Listen, func(b listen.Bind) bool { return b.HTTP3 }) {
			return errors.New("proxy_listen: flag \"http3\" needs TLS 1.3, which ssl_cipher_suite or ssl_protocols turns off")
		}
		handshake = func(*tls.ClientHelloInfo) (*tls.Config, error) { return config, nil }
	}
	var handler http.Handler = a.engine
	if a.AutoHTTPS {
		a.hosts = manageHosts(a, a.tls, n)
		handler = a.hosts.answers(handler)
	}
	return a.Open(a.ctx, func(_ listen.Bind, _ *serve.Config, g *serve.Generation) error {
		g.Handler, g.Lists, g.TLS, g.Trusted = handler, a.hosts == nil, handshake, app.Options().Trusts
		g.Refusal, g.PublicPort = a.engine.refusal, app.Options().PublicPort
		return nil
	})
}

// Stop gives the listeners back. Requests under way go on, and those that
// still come to a listener which drains are routed as all others.
func (a *App) Stop() error {
	if a.hosts != nil {
		a.hosts.stop()
		a.hosts = nil
	}
	engine, release := a.engine, a.release
	a.engine, a.release = nil, nil
	if engine == nil {
		return nil
	}
	a.Close(func() {
		engine.Close()
		release()
	})
	return nil
}

// Cleanup undoes a start that failed halfway.
func (a *App) Cleanup() error { return a.Stop() }

// Addresses are those that the app listens on, as "host:port", with the port
// that the system chose where the bind leaves it open.
func (a *App) Addresses() []string {
	var list []string
	for _, addr := range a.Addrs() {
		list = append(list, addr.String())
	}
	return list
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.Validator    = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
