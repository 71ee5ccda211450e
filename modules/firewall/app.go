package firewall

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/listen"
)

func init() { caddy.RegisterModule(new(App)) }

// App keeps the rules of this host's firewall in line with the gateway's
// listeners: it applies them when the configuration starts, changes them with it,
// and takes them out when the gateway stops or a configuration does not name it.
//
// The rules are those that `caddy gateway firewall` prints. They stand in a table
// or in chains of their own; those of others are left alone. The process needs
// the capability CAP_NET_ADMIN, and the commands of its backend and `ip`. If the
// rules cannot be applied, the configuration does not start.
type App struct {
	Settings

	ctx    caddy.Context
	logger *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway_firewall", New: func() caddy.Module { return new(App) }}
}

// Provision changes nothing.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger = ctx, ctx.Logger()
	return nil
}

// Validate reports settings that do not fit the listeners.
func (a *App) Validate() error {
	_, err := a.plan()
	return err
}

func (a *App) plan() (*Plan, error) {
	p, err := New(a.Settings, ListenersOf(a.ctx))
	if err != nil {
		return nil, fmt.Errorf("firewall: %w", err)
	}
	return p, nil
}

// ListenersOf lists the listeners of a configuration.
func ListenersOf(ctx caddy.Context) (all []Listener) {
	_, _ = ctx.AppIfConfigured("gateway") // which may bring in the others
	for _, option := range Options {
		for _, b := range listen.BindsOf(ctx, option.App) {
			all = append(all, Listener{option.Name, b})
		}
	}
	return all
}

// Options are the words for listeners, the apps that have them, and their flags.
var Options = []struct {
	Name, App string
	Flags     listen.FlagSet
}{
	{"proxy_listen", "gateway_proxy", listen.Proxy},
	{"stream_listen", "gateway_stream", listen.Stream},
	{"admin_listen", "gateway_admin", listen.HTTP},
	{"status_listen", "gateway_status", listen.HTTP},
}

// applied are the plans of the configurations that are alive, the newest last:
// while Caddy changes from one to the next, both are. The kernel has the last
// one.
var applied struct {
	mu    sync.Mutex
	plans []owned // protected by mu
}

type owned struct {
	app  *App
	plan *Plan
}

// applyTimeout bounds what the app does with the kernel.
const applyTimeout = time.Minute

// Start brings the rules into the kernel.
func (a *App) Start() error {
	p, err := a.plan()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), applyTimeout)
	defer cancel()
	applied.mu.Lock()
	defer applied.mu.Unlock()
	changed, err := p.Apply(ctx)
	if err != nil {
		return fmt.Errorf("firewall: %w", err)
	}
	applied.plans = append(applied.plans, owned{a, p})
	a.logger.Info("the firewall's rules are those of the listeners", zap.String("backend", p.Backend), zap.Bool("changed", changed))
	for _, warning := range slices.Concat(p.Notes, p.traps(ctx)) {
		a.logger.Warn(warning)
	}
	return nil
}

// Stop leaves the rules to the configuration that is alive, or takes them out if
// there is none.
func (a *App) Stop() error {
	applied.mu.Lock()
	defer applied.mu.Unlock()
	i := slices.IndexFunc(applied.plans, func(o owned) bool { return o.app == a })
	if i < 0 {
		return nil
	}
	last := i == len(applied.plans)-1
	applied.plans = slices.Delete(applied.plans, i, i+1)
	if !last {
		return nil // newer rules are there
	}
	ctx, cancel := context.WithTimeout(context.Background(), applyTimeout)
	defer cancel()
	var err error
	if len(applied.plans) > 0 {
		_, err = applied.plans[len(applied.plans)-1].plan.Apply(ctx)
	} else {
		_, err = Remove(ctx)
	}
	if err != nil {
		err = fmt.Errorf("firewall: %w", err)
		a.logger.Error("the firewall's rules stay as they are; `caddy gateway firewall --remove` takes them out", zap.Error(err))
		return err
	}
	return nil
}

// Cleanup undoes a start whose configuration failed.
func (a *App) Cleanup() error { return a.Stop() }

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.Validator    = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
