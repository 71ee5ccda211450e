package gateway

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/listen"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
)

// handlers and streamHandlers are the words for all HTTP handlers of Caddy, and
// for all handlers of caddy-l4.
const (
	handlers       = plugin.Handlers + ".*"
	streamHandlers = plugin.StreamHandlers + ".*"
)

// Enabled reports whether the plugin may be used in this configuration. Call it
// when all apps have been provisioned.
func (a *App) Enabled(name string) bool {
	return a.enabled()(name)
}

// plugins are the words of the setting, or what they are by default: all plugins
// of this build, and Caddy's handlers as long as only this host can reach the
// Admin API, since some of them reach further than a plugin.
func (a *App) plugins() []string {
	if len(a.Settings.Plugins) > 0 {
		return a.Settings.Plugins
	}
	if slices.ContainsFunc(listen.BindsOf(a.ctx, "gateway_admin"), func(b listen.Bind) bool { return !b.IsLoopback() }) {
		return []string{"bundled"}
	}
	return []string{"bundled", handlers, streamHandlers}
}

func (a *App) enabled() func(string) bool { return enabled(a.plugins()) }

// enabled reads the words of the setting.
func enabled(words []string) func(string) bool {
	return func(name string) bool {
		return slices.ContainsFunc(words, func(w string) bool {
			switch w {
			case "bundled":
				return !plugin.Adapted(name)
			case handlers, streamHandlers:
				return strings.HasPrefix(name, strings.TrimSuffix(w, "*"))
			}
			return w == name
		})
	}
}

// loader makes what loads the plugins, and says which those may be.
func (a *App) loader() *plugin.Loader {
	a.logger.Info("plugins that may be enabled", zap.Strings("plugins", a.plugins()))
	return &plugin.Loader{
		Context: a.ctx,
		Enabled: a.enabled(),
		Adapt:   a.stock.Load,
		Example: a.stock.Example,
	}
}

// known reports whether the plugin is part of this build.
func known(name string) bool {
	_, err := caddy.GetModule(plugin.ModuleID(name))
	return err == nil
}
