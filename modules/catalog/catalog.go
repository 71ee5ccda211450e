// Package catalog knows all tables of this build: those of the core entities, and
// those that the plugins compiled into it bring.
package catalog

import (
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// dependent are the handlers of Caddy that only work inside of something that a
// chain of plugins does not have: a site's server, its named routes, and the response routes of
// reverse_proxy.
var dependent = map[string]bool{"arrival": true, "invoke": true, "copy_response": true, "copy_response_headers": true}

// described is what plugins implement; see plugin.Described.
type described interface{ Describe() entity.PluginKind }

// Of returns the catalog of this build. It is made once, after all modules have
// been registered.
var Of = sync.OnceValue(func() *entity.Catalog { return entity.NewCatalog(Plugins()) })

// Plugins returns what is known of each plugin of this build, by its name in
// Kong's form: the modules in `gateway.plugins`, and the handlers of Caddy and
// caddy-l4 under the names of their modules.
func Plugins() map[string]entity.PluginKind {
	kinds := map[string]entity.PluginKind{}
	for _, m := range caddy.GetModules("gateway.plugins") {
		if d, ok := m.New().(described); ok {
			kind := d.Describe()
			if kind.Version == "" {
				kind.Version = "3.9.1"
			}
			kinds[strings.ReplaceAll(m.ID.Name(), "_", "-")] = kind
		}
	}
	for _, m := range caddy.GetModules("http.handlers") {
		if name := m.ID.Name(); !strings.HasPrefix(name, "gateway") { // a gateway in itself would have no end
			kinds[string(m.ID)] = entity.PluginKind{Version: "1.0.0", Any: true, Unlisted: dependent[name]}
		}
	}
	for _, m := range caddy.GetModules("layer4.handlers") {
		if m.ID.Name() != "gateway" {
			kinds[string(m.ID)] = entity.PluginKind{Version: "1.0.0", Any: true, NoConsumer: true, Protocols: []string{"tcp", "tls", "tls_passthrough"}}
		}
	}
	return kinds
}
