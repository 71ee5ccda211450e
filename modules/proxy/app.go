package proxy

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/certs"
	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/listen"
	"github.com/portcullis-gateway/portcullis/modules/node"
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
	// The addresses to listen on, with their flags. An empty list is Kong's
	// `off`. Default: `0.0.0.0:8000 reuseport backlog=16384` and
	// `0.0.0.0:8443 http2 ssl reuseport backlog=16384`.
	Listen []listen.Bind `json:"listen,omitzero"`

	// How long clients may take.
	Timeouts serve.Timeouts `json:"timeouts,omitzero"`

	// How long the head of a request may be, in bytes. Default: 32768.
	MaxHeaderSize int `json:"max_header_size,omitempty"`

	// How long requests and WebSocket connections may go on when their
	// listener closes. Default: without limit.
	GracePeriod caddy.Duration `json:"grace_period,omitempty"`

	// Whether each request is written to the log, in the shape of the access
	// logs of Caddy's sites: the logger `gateway_proxy.access`, which Caddy's
	// `logging` can send elsewhere. Default: false.
	AccessLog bool `json:"access_log,omitempty"`

	// Whether the access log shows the headers Authorization, Cookie,
	// Set-Cookie and Proxy-Authorization instead of "REDACTED". Default: false.
	LogCredentials bool `json:"log_credentials,omitempty"`

	// What stands between the sockets and TLS, the first one next to the
	// socket. Listeners that have wrappers are opened anew by each reload,
	// beside the old ones, which then drain. Default: none.
	ListenerWrappersRaw []json.RawMessage `json:"listener_wrappers,omitempty" caddy:"namespace=caddy.listeners inline_key=wrapper"`

	ctx     caddy.Context
	logger  *zap.Logger
	wrap    func(net.Listener) net.Listener
	engine  *Engine
	release func() // see gateway.App.Hold
	leases  []*serve.Lease
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway_proxy", New: func() caddy.Module { return new(App) }}
}

// Provision fills the defaults. It opens nothing.
func (a *App) Provision(ctx caddy.Context) (err error) {
	a.ctx, a.logger = ctx, ctx.Logger()
	if a.Listen == nil {
		binds, err := listen.Parse("proxy_listen", DefaultListen, listen.HTTP)
		if err != nil {
			return err
		}
		a.Listen = binds
	}
	a.Listen = listen.ShareHTTP2(a.Listen)
	a.Timeouts = a.Timeouts.WithDefaults()
	if a.wrap, err = serve.LoadWrappers(ctx, a, "ListenerWrappersRaw"); err != nil {
		return fmt.Errorf("proxy_listen: %w", err)
	}
	return nil
}

// Validate reports listeners that cannot be opened together, and limits that
// make no sense.
func (a *App) Validate() error {
	for _, b := range a.Listen {
		if err := b.Validate("proxy_listen", listen.HTTP); err != nil {
			return err
		}
	}
	if err := listen.Conflicts(a.Listen...); err != nil {
		return fmt.Errorf("proxy_listen: %w", err)
	}
	return serve.CheckLimits("proxy_listen", a.Timeouts, a.GracePeriod, a.MaxHeaderSize)
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
	a.engine, a.release = NewEngine(n, app.Options(), a.Timeouts, a.logger), app.Hold()
	if a.AccessLog {
		a.engine.access = &accessLog{logger: a.logger.Named("access"), credentials: a.LogCredentials}
	}
	a.engine.intercepts = slices.ContainsFunc(a.Listen, func(b listen.Bind) bool { return b.Transparent != "" })
	g := serve.Generation{
		Handler:     a.engine,
		Trusted:     app.Options().Trusts,
		Wrap:        a.wrap,
		Logger:      a.logger,
		GracePeriod: time.Duration(a.GracePeriod),
	}
	if g.TLS, err = a.tls(n); err != nil {
		return err
	}
	for _, b := range a.Listen {
		lease, err := serve.Open(a.ctx, serve.Config{
			Option:            "proxy_listen",
			Bind:              b,
			ReadHeaderTimeout: time.Duration(a.Timeouts.Header),
			IdleTimeout:       time.Duration(a.Timeouts.Idle),
			MaxHeaderBytes:    a.MaxHeaderSize,
		}, g)
		if err != nil {
			return err
		}
		a.leases = append(a.leases, lease)
	}
	return nil
}

// tls answers handshakes: with the certificate whose SNI fits, else with the
// default ones. It is nil if no listener needs it.
func (a *App) tls(n *node.Node) (func(*tls.ClientHelloInfo) (*tls.Config, error), error) {
	needed := false
	for _, b := range a.Listen {
		needed = needed || b.SSL
	}
	if !needed {
		return nil, nil
	}
	def, err := certs.Default(a.ctx, a.ctx.Storage())
	if err != nil {
		return nil, err
	}
	config := &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if c := n.View().Snapshot.Certificates().Certificate(hello, def); c != nil {
			return c, nil
		}
		return nil, errors.New("no certificate")
	}}
	return func(*tls.ClientHelloInfo) (*tls.Config, error) { return config, nil }, nil
}

// Stop gives the listeners back. Requests under way go on, and those that
// still come to a listener which drains are routed as all others.
func (a *App) Stop() error {
	leases, engine, release := a.leases, a.engine, a.release
	a.leases, a.engine, a.release = nil, nil, nil
	serve.Stop(leases...)
	if engine != nil {
		go func() {
			for _, l := range leases {
				<-l.Done()
			}
			engine.Close()
			release()
		}()
	}
	return nil
}

// Cleanup undoes a start that failed halfway.
func (a *App) Cleanup() error { return a.Stop() }

// Binds are the listeners that the configuration asks for. The Admin API wants
// to know, so that it does not share an address with the proxy.
func (a *App) Binds() []listen.Bind { return a.Listen }

// Addresses are those that the app listens on, as "host:port", with the port
// that the system chose where the bind leaves it open.
func (a *App) Addresses() []string {
	var list []string
	for _, l := range a.leases {
		for _, addr := range l.Addrs() {
			list = append(list, addr.String())
		}
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
