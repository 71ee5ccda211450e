// Package site puts plugins of the gateway into ordinary sites of Caddy's.
package site

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/inline"
	"github.com/portcullis-gateway/portcullis/modules/node"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

func init() { caddy.RegisterModule(new(Handler)) }

// Handler is one of the gateway's plugins inside an ordinary Caddy site, in front
// of the handlers behind it: a key for a file server, a limit for a reverse
// proxy.
//
// There is no route and no service, and the client's address is the one that
// Caddy makes out (`trusted_proxies`). Plugins that let clients in by credentials
// look these up in the gateway's store, where the Admin API keeps them. Who asks
// is known to the plugins that follow, and to Caddy as `{http.auth.user.id}`.
//
// What a plugin counts survives a reload as long as its configuration stays what
// it is.
type Handler struct {
	// The plugin, such as `key-auth`.
	Name string `json:"name"`

	// A name that tells handlers apart that are otherwise the same, so that
	// each keeps its own counters across reloads, in whatever order they come.
	// Default: none, they are numbered.
	InstanceName string `json:"instance_name,omitempty"`

	// The plugin's settings, as the Admin API takes them. Default: those of the
	// plugin.
	Config json.RawMessage `json:"config,omitempty"`

	app      *gateway.App
	logger   *zap.Logger
	instance *plugin.Instance
	globals  *plugin.Globals
	chain    *plugin.Chain
	epoch    *plugin.Epoch
	needs    bool // credentials of the store

	mu   sync.Mutex
	node *node.Node // protected by mu; nil until it is needed
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.gateway_plugin", New: func() caddy.Module { return new(Handler) }}
}

// self identifies this process to plugins.
var self = uuid.New()

// Provision judges the settings, fills what is left unsaid, and loads the plugin.
func (h *Handler) Provision(ctx caddy.Context) (err error) {
	h.logger = ctx.Logger()
	if h.app, err = gateway.From(ctx); err != nil {
		return err
	}
	row, err := h.row()
	if err != nil {
		return fmt.Errorf("gateway_plugin: %w", err)
	}
	loader := &plugin.Loader{Context: ctx, World: "site", Node: self}
	h.instance, _ = loader.Load(row, nil)
	if err := h.instance.Err(); err != nil {
		return fmt.Errorf("gateway_plugin: %s: %w", h.Name, err)
	}
	h.globals = plugin.NewGlobals().With(nil, []*plugin.Instance{h.instance})
	h.chain = new(plugin.Cell).Chain(h.globals, nil, nil, uuid.Nil, false)
	h.epoch = plugin.NewEpoch()
	if kind, _ := gateway.Catalog().Plugin(h.Name); len(kind.Tables) > 0 {
		h.needs = true
		h.app.Require()
	}
	return nil
}

// row is what the table plugins would hold for the handler.
func (h *Handler) row() (*entity.Plugin, error) {
	if err := known(h.Name); err != nil {
		return nil, err
	}
	input := schema.Object{"name": h.Name, "protocols": []any{"http", "https"}}
	if h.Config != nil {
		var config schema.Object
		if err := json.Unmarshal(h.Config, &config); err != nil {
			return nil, fmt.Errorf("config: expected an object: %w", err)
		}
		input["config"] = config
	}
	name := strings.Join([]string{h.Name, h.InstanceName, string(h.Config)}, "\x00")
	if h.InstanceName == "" {
		name += strconv.Itoa(h.app.Nth(name))
	}
	input["id"] = uuid.NewSHA1(uuid.NameSpaceURL, []byte(name)).String()
	table := gateway.Catalog().Table("plugins")
	row, refused := table.Process(schema.Insert, input, nil, gateway.Catalog().Env(time.Now(), nil, nil))
	if refused != nil {
		return nil, fmt.Errorf("%s: %w", h.Name, refused)
	}
	p, err := entity.Decode[entity.Plugin](table.Pack(row))
	if err == nil {
		p.Route = &entity.Ref{ID: p.ID} // a scope of its own: what it counts elsewhere is no other handler's
	}
	return p, err
}

// known answers why the plugin cannot stand in a site; nil: it can.
func known(name string) error {
	if strings.HasPrefix(name, plugin.Handlers+".") {
		return fmt.Errorf("%s is a handler of Caddy's, which stands in a site by itself", name)
	}
	if kind, ok := gateway.Catalog().Plugin(name); ok && !plugin.Adapted(name) {
		if kind.Routed {
			return fmt.Errorf("%s goes by the routes of the gateway, which a site has none of", name)
		}
		return nil
	}
	var names []string
	for _, n := range gateway.Catalog().Plugins() {
		if kind, _ := gateway.Catalog().Plugin(n); !plugin.Adapted(n) && !kind.Routed {
			names = append(names, n)
		}
	}
	return fmt.Errorf("there is no plugin %q in this build; expected one of: %s", name, strings.Join(names, ", "))
}

// nobody is what plugins look credentials up in that need none.
var nobody = sync.OnceValue(func() *store.Image { return store.NewImage(gateway.Catalog()) })

// directory answers the entities as they are now.
func (h *Handler) directory() (plugin.Directory, error) {
	if !h.needs {
		return nobody(), nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.node == nil { // the site may have a request before all of the configuration has started
		n, err := h.app.Node()
		if err != nil {
			return nil, err
		}
		h.node = n
	}
	return h.node.View().Image, nil
}

var errReplaced = errors.New("the configuration of this handler has been replaced")

// ServeHTTP runs the plugin on the request, and around what follows.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if !h.epoch.Enter() {
		return caddyhttp.Error(http.StatusInternalServerError, errReplaced)
	}
	defer h.epoch.Leave()
	d, err := h.directory()
	if err != nil {
		return caddyhttp.Error(http.StatusInternalServerError, err)
	}
	return h.serve(w, r, next, d)
}

// Cleanup gives back what the plugin holds when the last request is over.
func (h *Handler) Cleanup() error {
	if h.epoch != nil {
		h.epoch.End(func(yield func(*plugin.Instance) bool) { yield(h.instance) })
	}
	return nil
}

// UnmarshalCaddyfile reads the site directive. Syntax:
//
//	gateway_plugin <name> {
//		instance_name <name>
//		<field>  <values...>
//		<record> {
//			<field> <values...>
//		}
//	}
//
// The fields are those of the plugin's config, one on a line: several values make
// a list, `on` and `off` are booleans, a block is a record or a map.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if !d.NextArg() {
		return d.Err("gateway_plugin: expected the name of a plugin, such as key-auth")
	}
	if err := known(d.Val()); err != nil {
		return d.Errf("gateway_plugin: %v", err)
	}
	d.Prev()
	row, err := inline.Plugin(d, gateway.Catalog(), "instance_name")
	if err != nil {
		return err
	}
	h.Name, _ = row["name"].(string)
	h.InstanceName, _ = row["instance_name"].(string)
	if config, ok := row["config"]; ok {
		h.Config, err = json.Marshal(config)
	}
	return err
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)
