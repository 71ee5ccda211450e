// Package admin serves the gateway's Admin API, through which entities are
// read and written, and its Status API, which tells how the node is.
package admin

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/listen"
)

func init() {
	caddy.RegisterModule(new(App))
	caddy.RegisterModule(new(StatusApp))
}

// DefaultListen is where the Admin API listens unless the configuration says
// something else: Kong's default for admin_listen.
const DefaultListen = "127.0.0.1:8001 reuseport backlog=16384, 127.0.0.1:8444 http2 ssl reuseport backlog=16384"

// App is the Admin API: Kong's, on listeners of its own. It is not Caddy's
// admin endpoint, and knows nothing of Caddy's configuration; what it changes
// are the entities of the app `gateway`, without a reload.
//
// On loopback addresses it needs no credentials, but is proof against web
// pages that a browser on this host may show. Listeners that other hosts can
// reach must have at least one of `token`, `client_auth` or `insecure`. No
// service of the gateway can reach its listeners, unless
// `allow_admin_upstream` is set in the app `gateway`.
type App struct {
	Listeners

	ctx     caddy.Context
	gateway *gateway.App
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway_admin", New: func() caddy.Module { return new(App) }}
}

// Provision reads the settings. It opens nothing.
func (a *App) Provision(ctx caddy.Context) (err error) {
	a.ctx = ctx
	if err := a.provision(ctx, "admin_listen", DefaultListen); err != nil {
		return err
	}
	a.gateway, err = gateway.From(ctx)
	return err
}

// Validate refuses listeners that would give the gateway away.
func (a *App) Validate() error {
	if err := a.validate(a.ctx, "gateway_admin"); err != nil {
		return err
	}
	return a.access.check(a.Option(), a.Listen, a.Insecure)
}

// Start opens the node, if no other app has, and the listeners.
func (a *App) Start() error {
	if len(a.Listen) == 0 {
		a.ctx.Logger().Info("there is no Admin API")
		return nil
	}
	node, err := a.gateway.Node()
	if err != nil {
		return err
	}
	api := newAdminAPI(nodeWorld{node}, options{
		logger:        a.ctx.Logger(),
		headers:       a.gateway.Options().Headers,
		configuration: a.configuration(),
		enabled:       a.gateway.Enabled,
		metrics:       metricsOf(a.ctx.GetMetricsRegistry()),
	})
	for _, b := range a.Listen {
		if !b.IsLoopback() && a.Insecure && len(a.access.tokens) == 0 && !(b.SSL && a.access.mTLS) {
			a.ctx.Logger().Warn("the Admin API asks for no credential on an address that other hosts can reach",
				zap.Stringer("listener", b))
		}
	}
	return a.open(a.ctx, api, func(listen.Bind) bool { return true })
}

// configuration is what `/` tells of the settings.
func (a *App) configuration() map[string]any {
	settings := map[string]any{}
	if text, err := json.Marshal(a.gateway.Settings); err == nil {
		_ = json.Unmarshal(text, &settings)
	}
	for _, door := range []string{"proxy", "stream", "admin", "status"} {
		lines, listeners := []string{"off"}, []any{}
		for i, b := range listen.BindsOf(a.ctx, "gateway_"+door) {
			if i == 0 {
				lines = nil
			}
			lines = append(lines, b.String())
			listeners = append(listeners, listener(b))
		}
		settings[door+"_listen"], settings[door+"_listeners"] = lines, listeners
	}
	if firewall, err := a.ctx.AppIfConfigured("gateway_firewall"); err == nil {
		settings["firewall"] = firewall // its settings
	}
	return settings
}

// listener is the form that Kong gives to a bind it has read
// (kong/conf_loader/listeners.lua).
func listener(b listen.Bind) map[string]any {
	return map[string]any{
		"listener":       b.String(),
		"ip":             b.Address,
		"port":           b.Port,
		"ssl":            b.SSL,
		"http2":          b.HTTP2,
		"proxy_protocol": b.ProxyProtocol,
		"deferred":       b.Deferred,
		"bind":           b.Bind,
		"reuseport":      b.ReusePort,
		"backlog=%d+":    b.Backlog > 0,
	}
}

// Stop closes the listeners. Requests that have begun may end; see
// grace_period.
func (a *App) Stop() error {
	a.Close(nil)
	return nil
}

// Cleanup undoes a Start that failed half-way.
func (a *App) Cleanup() error { return a.Stop() }

// DefaultStatusListen is where the Status API listens unless the configuration
// says something else: Kong's default for status_listen.
const DefaultStatusListen = "127.0.0.1:8007 reuseport backlog=16384"

// StatusApp is the Status API: it tells monitoring whether the node is well,
// and changes nothing but the node's own readiness.
//
// Its listeners may be reached from other hosts without further ado; `token`,
// `client_auth` and `allow` limit who may ask.
type StatusApp struct {
	Listeners

	ctx     caddy.Context
	gateway *gateway.App
	ready   *readiness
}

// CaddyModule returns the Caddy module information.
func (*StatusApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway_status", New: func() caddy.Module { return new(StatusApp) }}
}

// Provision reads the settings. It opens nothing.
func (a *StatusApp) Provision(ctx caddy.Context) (err error) {
	a.ctx = ctx
	if err := a.provision(ctx, "status_listen", DefaultStatusListen); err != nil {
		return err
	}
	a.gateway, err = gateway.From(ctx)
	return err
}

// Validate reports the first thing that is wrong with the listeners.
func (a *StatusApp) Validate() error { return a.validate(a.ctx, "gateway_status") }

// Start opens the node, if no other app has, and the listeners.
func (a *StatusApp) Start() error {
	if len(a.Listen) == 0 {
		a.ctx.Logger().Info("there is no Status API")
		return nil
	}
	node, err := a.gateway.Node()
	if err != nil {
		return err
	}
	a.ready = openReadiness(node.ID())
	api := newStatusAPI(nodeWorld{node}, options{
		logger:  a.ctx.Logger(),
		headers: a.gateway.Options().Headers,
		metrics: metricsOf(a.ctx.GetMetricsRegistry()),
	}, a.ready)
	return a.open(a.ctx, api, listen.Bind.IsLoopback)
}

// Stop closes the listeners.
func (a *StatusApp) Stop() error {
	a.Close(nil)
	return nil
}

// Cleanup undoes a Start that failed half-way.
func (a *StatusApp) Cleanup() error {
	a.Close(nil)
	if a.ready != nil {
		a.ready.close()
		a.ready = nil
	}
	return nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.Validator    = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)

	_ caddy.App          = (*StatusApp)(nil)
	_ caddy.Provisioner  = (*StatusApp)(nil)
	_ caddy.Validator    = (*StatusApp)(nil)
	_ caddy.CleanerUpper = (*StatusApp)(nil)
)
