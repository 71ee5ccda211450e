// Package stock makes plugins of Caddy's HTTP handlers and of the handlers of
// caddy-l4: any `http.handlers.*` and `layer4.handlers.*` of the build, by the
// name of its module and with its own JSON.
package stock

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/mholt/caddy-l4/layer4"

	"github.com/portcullis-gateway/portcullis/modules/plugin"
)

// Handlers loads handlers for one configuration of Caddy.
type Handlers struct {
	apps []string // that are part of the configuration
}

// Provision brings in the apps that handlers often ask for, which are `tls` and
// `events`. An app that is asked for when the configuration runs would never be
// started.
func (h *Handlers) Provision(ctx caddy.Context) error {
	if cfg := reflect.ValueOf(ctx).FieldByName("cfg"); !cfg.IsValid() || cfg.IsNil() {
		return nil // outside of a configuration nothing can be asked for
	}
	for _, name := range []string{"events", "tls"} {
		if _, err := caddy.GetModule(name); err != nil {
			continue // not part of this build
		}
		if _, err := ctx.App(name); err != nil {
			return fmt.Errorf("app %s: %w", name, err)
		}
	}
	return nil
}

// configured lists the apps that there are.
func configured(ctx caddy.Context) (apps []string) {
	for _, m := range caddy.GetModules("") {
		if app, err := ctx.AppIfConfigured(string(m.ID)); err == nil && app != nil {
			apps = append(apps, string(m.ID))
		}
	}
	return apps
}

// Example is what Load makes for the name, without anything in it.
func (h *Handlers) Example(name string) any {
	if strings.HasPrefix(name, plugin.StreamHandlers+".") {
		return new(streamHandler)
	}
	return new(handler)
}

// Load provisions the handler called name, which is that of its module.
func (h *Handlers) Load(ctx caddy.Context, name string, config json.RawMessage) (any, error) {
	if h.apps == nil {
		h.apps = configured(ctx)
	}
	switch name {
	case "http.handlers.invoke":
		return nil, errors.New("http.handlers.invoke needs named routes, which a gateway has none of")
	case "http.handlers.gateway", "layer4.handlers.gateway":
		return nil, fmt.Errorf("%s is the gateway itself, which cannot stand within itself", name)
	}
	module, err := ctx.LoadModuleByID(name, config)
	if err != nil {
		return nil, err
	}
	for _, app := range configured(ctx) {
		if !slices.Contains(h.apps, app) {
			return nil, fmt.Errorf("%s needs the app %s, which Caddy's configuration does not have: add it there", name, app)
		}
	}
	switch module := module.(type) {
	case caddyhttp.MiddlewareHandler:
		return &handler{middleware: module}, nil
	case layer4.NextHandler:
		return &streamHandler{handler: module, logger: ctx.Logger()}, nil
	}
	return nil, fmt.Errorf("%s is a %T, which cannot stand between others", name, module)
}

// A handler runs one of Caddy's handlers around what follows.
type handler struct {
	middleware caddyhttp.MiddlewareHandler
}

// server stands for the server of a site, which handlers expect there to be. It
// does nothing.
var server = new(caddyhttp.Server)

// Around prepares the request as a site of Caddy's would, and runs the handler.
func (h *handler) Around(x *plugin.Exchange, w http.ResponseWriter, r *http.Request, next func(http.ResponseWriter, *http.Request) error) error {
	prepared := *r
	host := r.Host
	prepared.Header = x.UpstreamHeader() // what a handler changes is for the service
	url := *r.URL
	prepared.URL = &url
	_, again := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	request := &prepared
	if !again {
		request = caddyhttp.PrepareRequest(&prepared, caddy.NewReplacer(), w, server)
		caddyhttp.SetVar(request.Context(), caddyhttp.ClientIPVarKey, x.ClientIP())
	}
	err := h.middleware.ServeHTTP(w, request, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if r.Header != nil {
			x.Changes().Header = r.Header // the handler may have made another request of it
		}
		if r.Host != host {
			x.SetHost(r.Host)
		}
		return next(w, r)
	}))
	var refused caddyhttp.HandlerError
	if errors.As(err, &refused) && refused.StatusCode != 0 {
		return plugin.Refuse(refused.StatusCode, "")
	}
	return err
}

// Interface guard
var _ plugin.Middleware = (*handler)(nil)
