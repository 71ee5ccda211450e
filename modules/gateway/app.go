// Package gateway lends the node, the gateway's entities compiled for the data
// path, to the apps that serve with it.
package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/catalog"
	"github.com/portcullis-gateway/portcullis/modules/certs"
	"github.com/portcullis-gateway/portcullis/modules/dns"
	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/metrics"
	"github.com/portcullis-gateway/portcullis/modules/node"
	"github.com/portcullis-gateway/portcullis/modules/plugin/stock"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

func init() { caddy.RegisterModule(new(App)) }

// App is the gateway's node: where its entities are kept, and what holds for
// every door through which requests come.
//
// The doors are apps of their own: `gateway_proxy`, `gateway_admin` and
// `gateway_status` open listeners, `http.handlers.gateway` stands in any site.
// All of them borrow this node. Entities (services, routes and so on) are not
// part of Caddy's configuration: the store holds them and the Admin API
// changes them, without a reload.
type App struct {
	// Where entities are kept. Default: `{"driver": "bolt"}`, an embedded
	// database in Caddy's data directory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=gateway.stores inline_key=driver"`

	// Whether Kong's listeners open where the configuration names none: the
	// proxy on ports 8000 and 8443, the Admin API on 127.0.0.1 ports 8001 and
	// 8444, the Status API on 127.0.0.1 port 8007. Default: false; the
	// Caddyfile's global option `gateway` sets it.
	DefaultListeners bool `json:"default_listeners,omitempty"`

	Settings

	ctx     caddy.Context
	store   store.Module
	options *Options
	logger  *zap.Logger
	stock   stock.Handlers

	defaultPair *certs.Pair // of ssl_cert; nil: the self-signed one

	needed  bool   // set while provisioning; see Require
	unguard func() // see guardCaddyAdmin

	mu       sync.Mutex
	counts   map[string]int // protected by mu; see Nth
	node     *node.Node     // protected by mu; nil until the first door asks for it
	resolver *dns.Resolver  // protected by mu; open as long as the node is
	closed   bool           // protected by mu
	holds    int            // protected by mu; see Hold
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway", New: func() caddy.Module { return new(App) }}
}

// Provision loads the store's module, reads the settings and brings in the
// default listeners if they are wanted. It opens nothing.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger = ctx, ctx.Logger()
	if err := a.stock.Provision(ctx); err != nil {
		return err
	}
	if a.StoreRaw == nil {
		a.StoreRaw = json.RawMessage(`{"driver":"bolt"}`)
	}
	mod, err := ctx.LoadModule(a, "StoreRaw")
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	a.store = mod.(store.Module)
	a.unguard = guardCaddyAdmin(ctx)
	ctx.GetMetricsRegistry().MustRegister(metrics.Totals(), nodeMetrics{a})

	if a.options, err = a.Settings.parse(a.logger); err != nil {
		return err
	}
	if err := a.complete(&a.options.tls); err != nil {
		return err
	}
	if err := a.loadFiles(); err != nil {
		return err
	}
	if !a.DefaultListeners {
		return nil
	}
	for _, name := range []string{"gateway_proxy", "gateway_admin", "gateway_status"} {
		if _, err := ctx.App(name); err != nil {
			return err
		}
	}
	return nil
}

// Validate judges the entities, if they are part of the configuration.
func (a *App) Validate() error {
	c, ok := a.store.(store.Checker)
	if !ok {
		return nil
	}
	if err := c.Check(Catalog()); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// Require makes Start open the node. Doors that are no apps, and so are not
// started, call it in Provision: a store that cannot be opened is then an error
// of the configuration, not of the first request.
func (a *App) Require() { a.needed = true }

// Start opens the node if a door that cannot do so itself requires it. Doors
// that are apps may have opened it before: Caddy starts apps in no particular
// order.
func (a *App) Start() error {
	if !a.needed {
		return nil
	}
	_, err := a.Node()
	return err
}

// Stop does nothing: doors may still be finishing requests. See Cleanup.
func (a *App) Stop() error { return nil }

// Cleanup gives the node back, when no door holds it any more. The store stays
// open as long as another configuration holds it.
func (a *App) Cleanup() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	if a.unguard != nil {
		a.unguard() // a second call does nothing
	}
	return a.settle()
}

// Nth counts how many times it was asked for the name in this configuration,
// from 1. It tells parts of the configuration apart that say the same.
func (a *App) Nth(name string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.counts == nil {
		a.counts = map[string]int{}
	}
	a.counts[name]++
	return a.counts[name]
}

// Hold keeps the node, until the function that it returns is called. Doors whose
// connections drain after Cleanup hold it meanwhile, so that these see what is
// written.
func (a *App) Hold() (release func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.holds++
	return sync.OnceFunc(func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.holds--
		if err := a.settle(); err != nil {
			a.logger.Error("closing the store", zap.Error(err))
		}
	})
}

// settle closes the node if nobody needs it. The caller holds mu.
func (a *App) settle() error {
	if !a.closed || a.holds > 0 {
		return nil
	}
	defer a.closeResolver()
	if a.node == nil {
		return nil
	}
	err := a.node.Close()
	a.node = nil
	return err
}

// Node opens the node on the first call and answers the same one after that.
// Doors call it in Start. After Cleanup it is an error.
func (a *App) Node() (*node.Node, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, errors.New("the configuration of this gateway has been replaced")
	}
	if a.node != nil {
		return a.node, nil
	}
	if err := a.openResolver(); err != nil {
		return nil, err
	}
	n, err := node.Open(node.Config{
		Store:   a.store,
		Catalog: Catalog(),
		Logger:  a.logger,

		Resolver: a.resolver,

		AllowAdminUpstream: a.options.AllowAdminUpstream,
		Plugins:            a.loader()})
	if err != nil {
		if errors.Is(err, store.ErrLocked) {
			return nil, err
		}
		return nil, fmt.Errorf("opening the store %s: %w", a.store.Identity(), err)
	}
	a.node = n
	return n, nil
}

// Resolver returns what finds the addresses of names. There is one as long as
// there is a node.
func (a *App) Resolver() *dns.Resolver {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.resolver
}

// Options returns the settings in the form that the data path reads. It does
// not change after Provision.
func (a *App) Options() *Options { return a.options }

// Catalog returns the tables of this build: the core entities and those that
// the plugins compiled into it bring.
func Catalog() *entity.Catalog { return catalog.Of() }

// KongVersion is the version of Kong that the gateway answers to clients that
// ask: what it does is what they may expect of that version.
const KongVersion = "3.9.1"

// From returns the app of the configuration that ctx belongs to; an absent one
// is made with its defaults.
func From(ctx caddy.Context) (*App, error) {
	app, err := ctx.App("gateway")
	if err != nil {
		return nil, err
	}
	return app.(*App), nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.Validator    = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
