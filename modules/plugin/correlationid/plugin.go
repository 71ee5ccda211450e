// Package correlationid is the plugin correlation-id: each request gets an
// identifier that the service, and if asked the client, gets to know.
package correlationid

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func init() { caddy.RegisterModule(new(Plugin)) }

// Plugin gives each request an identifier, in a header that the service sees
// and, if asked, the client.
//
// It is only made if the client sent none, so a chain of gateways agrees on one
// value.
type Plugin struct {
	// The header that carries the identifier. Default: `Kong-Request-ID`.
	HeaderName string `json:"header_name"`

	// How it is made: `uuid`, `uuid#counter` or `tracker`. Default:
	// `uuid#counter`.
	Generator string `json:"generator"`

	// Whether the client gets it, too. Default: false.
	EchoDownstream bool `json:"echo_downstream"`

	header string
	prefix string
	count  *atomic.Uint64
}

// CaddyModule returns the Caddy module information.
func (*Plugin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway.plugins.correlation_id", New: func() caddy.Module { return new(Plugin) }}
}

// Describe answers Kong's schema (kong/plugins/correlation-id/schema.lua).
func (*Plugin) Describe() entity.PluginKind {
	return entity.PluginKind{Priority: 100001, Forgets: true, Protocols: entity.HTTPProtocols, Config: &schema.Fields{List: []schema.Field{
		{Name: "header_name", Kind: schema.String, Default: "Kong-Request-ID",
			Rules: append(entity.HeaderName("").Rules, schema.Custom(checkName)),
			Doc:   "The header that carries the identifier."},
		{Name: "generator", Kind: schema.String, Required: true, Default: "uuid#counter",
			OneOf: schema.Values("uuid", "uuid#counter", "tracker"), Doc: "How the identifier is made."},
		{Name: "echo_downstream", Kind: schema.Boolean, Required: true, Default: false, Doc: "Whether the client gets it, too."},
	}}}
}

// checkName refuses headers that say something else.
func checkName(name string) string {
	switch http.CanonicalHeaderKey(name) {
	case "Host", "Content-Length", "Transfer-Encoding", "Connection":
		return "the header " + name + " cannot carry an identifier"
	}
	return ""
}

// Provision finds the counter, which goes on when the configuration changes.
func (p *Plugin) Provision(ctx caddy.Context) (err error) {
	name := p.HeaderName
	if name == "" {
		name = "Kong-Request-ID"
	}
	p.header = http.CanonicalHeaderKey(name)
	type counter struct {
		prefix string
		n      atomic.Uint64
	}
	c, err := plugin.Share(plugin.EnvOf(ctx), "counter", func() (*counter, error) {
		return &counter{prefix: uuid.NewString() + "#"}, nil
	})
	if err != nil {
		return err
	}
	p.prefix, p.count = c.prefix, &c.n
	return nil
}

// Access sees to it that the request has an identifier.
func (p *Plugin) Access(x *plugin.Exchange) error {
	id := p.sent(x)
	if id == "" {
		id = p.make(x)
		x.SetUpstreamHeader(p.header, id)
	}
	x.Note("correlation_id", id)
	if p.EchoDownstream {
		x.Set(id)
	}
	return nil
}

// sent is the identifier that the request has; empty: none.
func (p *Plugin) sent(x *plugin.Exchange) string {
	return x.First(p.header)
}

func (p *Plugin) make(x *plugin.Exchange) string {
	switch p.Generator {
	case "uuid":
		return uuid.NewString()
	case "tracker": // nginx's address-port-pid-connection-request-time
		n := p.count.Add(1)
		return fmt.Sprintf("%s-%s-%d-%d-1-%d.%03d", server(x.Context()), x.Port, os.Getpid(), n, x.Start.Unix(), x.Start.Nanosecond()/1e6)
	}
	return p.prefix + strconv.FormatUint(p.count.Add(1), 10)
}

// server is the address that the request was sent to; "unix:" if it has none.
func server(ctx context.Context) string {
	if a, ok := ctx.Value(http.LocalAddrContextKey).(net.Addr); ok {
		if to, err := netip.ParseAddrPort(a.String()); err == nil {
			return to.Addr().Unmap().WithZone("").String()
		}
	}
	return "unix:"
}

// HeaderFilter shows the client the identifier, also of a request that was
// answered before the plugin had its turn.
func (p *Plugin) HeaderFilter(x *plugin.Exchange) error {
	if !p.EchoDownstream {
		return nil
	}
	id, _ := x.Value().(string)
	if id == "" {
		id = p.sent(x)
	}
	if id == "" {
		id = p.make(x)
	}
	x.SetResponseHeader(p.header, id)
	return nil
}

// Interface guards
var (
	_ plugin.Described    = (*Plugin)(nil)
	_ plugin.Accessor     = (*Plugin)(nil)
	_ plugin.HeaderFilter = (*Plugin)(nil)
	_ caddy.Provisioner   = (*Plugin)(nil)
)
