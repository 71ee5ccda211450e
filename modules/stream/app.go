package stream

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/listen"
)

func init() { caddy.RegisterModule(new(App)) }

// App is the gateway's door for TCP, TLS and UDP: the listeners of
// `stream_listen`.
//
// Each connection is passed to the service of the route that matches where it
// came from, where it went to and, on listeners with `ssl`, which server name it
// asks for. On these, TLS ends here or is passed through, as the route says.
// Routes, services and certificates are those of the app `gateway`, and their
// changes take effect for new connections at once; those that are open go on
// undisturbed, also by reloads that leave their listener as it is.
type App struct {
	listen.Set

	// How long a client may take for what it has to say first: its PROXY
	// protocol header, its ClientHello, and the rest of the handshake if TLS
	// ends here. What comes then, the timeouts of services limit. Default: 30s.
	HelloTimeout caddy.Duration `json:"hello_timeout,omitempty"`

	// How long connections and UDP sessions may go on when their listener
	// closes; then they are closed. Default: without limit, or 10s when the
	// process exits.
	GracePeriod caddy.Duration `json:"grace_period,omitempty"`

	// How many UDP sessions a listener may have. Datagrams of further clients
	// are dropped. Default: 65536.
	MaxUDPSessions int `json:"max_udp_sessions,omitempty"`

	// Whether each connection and UDP session is written to the log when it
	// ends: the logger `gateway_stream.access`. Default: false.
	AccessLog bool `json:"access_log,omitempty"`

	ctx    caddy.Context
	logger *zap.Logger
	engine *Engine
	open   []lease
}

// A lease is the hold on a listener.
type lease struct {
	key      listenerKey
	listener *listener
}

const (
	defaultHelloTimeout = 30 * time.Second // nginx's preread_timeout
	defaultMaxSessions  = 65536
)

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway_stream", New: func() caddy.Module { return new(App) }}
}

// Provision fills the defaults. It opens nothing.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger = ctx, ctx.Logger()
	if a.HelloTimeout == 0 {
		a.HelloTimeout = caddy.Duration(defaultHelloTimeout)
	}
	if a.MaxUDPSessions == 0 {
		a.MaxUDPSessions = defaultMaxSessions
	}
	return a.Fill("stream_listen", "off", listen.Stream)
}

// Validate reports listeners that cannot be opened together, and limits that
// make no sense.
func (a *App) Validate() error {
	switch {
	case a.HelloTimeout < 0:
		return fmt.Errorf("stream_listen: hello_timeout: %s: expected a duration that is not negative", time.Duration(a.HelloTimeout))
	case a.GracePeriod < 0:
		return fmt.Errorf("stream_listen: grace_period: %s: expected a duration that is not negative", time.Duration(a.GracePeriod))
	case a.MaxUDPSessions < 0:
		return fmt.Errorf("stream_listen: max_udp_sessions: %d: expected a number that is not negative", a.MaxUDPSessions)
	}
	return a.CheckBinds(a.ctx, "gateway_stream", "stream_listen", listen.Stream)
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
	e := &Engine{
		node: n, options: app.Options(), resolver: app.Resolver(), logger: a.logger,
		hello: time.Duration(a.HelloTimeout), grace: time.Duration(a.GracePeriod), maxSessions: a.MaxUDPSessions,
	}
	if a.AccessLog {
		e.access = a.logger.Named("access")
	}
	if slices.ContainsFunc(a.Listen, func(b listen.Bind) bool { return b.SSL }) {
		if e.tls, err = app.ServerTLS(a.ctx, "stream_listen"); err != nil {
			return err
		}
	}
	e.open(app.Hold())
	a.engine = e
	for _, bind := range a.Listen {
		for b := range bind.Each {
			key, l, err := openListener(a.ctx, b, e)
			if err != nil {
				return fmt.Errorf("stream_listen: %w", err)
			}
			a.open = append(a.open, lease{key, l})
		}
	}
	return nil
}

// Stop gives the listeners back. If the process is exiting, it waits until they
// have drained.
func (a *App) Stop() error {
	e, open := a.engine, a.open
	a.engine, a.open = nil, nil
	for _, l := range open {
		l.listener.pop(e)
		_, _ = listeners.Delete(l.key)
	}
	if e != nil {
		e.drop()
	}
	awaitDrained()
	return nil
}

// Cleanup undoes a start that failed halfway.
func (a *App) Cleanup() error { return a.Stop() }

// Addresses are those that the app listens on, with the port that the system
// chose where the bind leaves it open.
func (a *App) Addresses() []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, l := range a.open {
		addrs = append(addrs, l.listener.addrs()...)
	}
	return addrs
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.Validator    = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
