// Package caddyfile teaches the Caddyfile the gateway's words: the global
// options `gateway`, `proxy_listen`, `admin_listen`, `status_listen`,
// `stream_listen` and `firewall`, and the site directives `gateway`,
// `gateway_plugin` and `arrival`.
//
// Caddy makes at most one app of a global option, so each option fills one.
// An option that is given again adds to what it said before: lists grow, a
// single value is replaced.
package caddyfile

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// globals are the global options.
var globals = []string{"gateway", "proxy_listen", "admin_listen", "status_listen", "stream_listen", "firewall"}

func init() {
	httpcaddyfile.RegisterGlobalOption("gateway", option("gateway", readGateway))
	httpcaddyfile.RegisterGlobalOption("proxy_listen", option("gateway_proxy", readProxyListen))
	httpcaddyfile.RegisterGlobalOption("admin_listen", option("gateway_admin", readAdminListen))
	httpcaddyfile.RegisterGlobalOption("status_listen", option("gateway_status", readStatusListen))
	httpcaddyfile.RegisterGlobalOption("stream_listen", option("gateway_stream", readStreamListen))
	httpcaddyfile.RegisterGlobalOption("firewall", option("gateway_firewall", readFirewall))

	httpcaddyfile.RegisterHandlerDirective("gateway", readSite)
	httpcaddyfile.RegisterDirectiveOrder("gateway", httpcaddyfile.Before, "reverse_proxy")
	httpcaddyfile.RegisterHandlerDirective("gateway_plugin", readPlugin)
	httpcaddyfile.RegisterDirectiveOrder("gateway_plugin", httpcaddyfile.Before, "basic_auth")
	httpcaddyfile.RegisterHandlerDirective("arrival", readArrival)
	httpcaddyfile.RegisterDirectiveOrder("arrival", httpcaddyfile.Before, "map")
}

// option makes a global option that fills the app called name. The function
// read stands before the option's name and finds in app what earlier
// occurrences of the option said.
func option[T any](name string, read func(d *caddyfile.Dispenser, app *T) error) httpcaddyfile.UnmarshalGlobalFunc {
	return func(d *caddyfile.Dispenser, existing any) (any, error) {
		app := new(T)
		if earlier, ok := existing.(httpcaddyfile.App); ok {
			if err := json.Unmarshal(earlier.Value, app); err != nil {
				return nil, err
			}
		}
		d.Next() // the option's name
		if err := read(d, app); err != nil {
			return nil, err
		}
		return httpcaddyfile.App{Name: name, Value: caddyconfig.JSON(app, nil)}, nil
	}
}
