// Package cors is the plugin cors: browsers may let pages of other origins ask.
package cors

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func init() { caddy.RegisterModule(new(Plugin)) }

// Plugin tells browsers which origins may ask a service, with which methods and
// headers (cross-origin resource sharing, https://fetch.spec.whatwg.org). It
// answers preflight requests itself.
//
// It protects nobody but users of browsers: requests from elsewhere are served
// whatever it says.
type Plugin struct {
	// The origins that may ask: `*`, origins such as `https://example.com`, or
	// regular expressions. One without a colon is about the host alone.
	// Default: all origins.
	Origins []string `json:"origins"`

	// The headers that requests may have. Default: those that the preflight
	// request names.
	Headers []string `json:"headers"`

	// The headers of responses that pages may read. Default: those that are
	// always allowed.
	ExposedHeaders []string `json:"exposed_headers"`

	// The methods that requests may have. Default: all.
	Methods []string `json:"methods"`

	// How long browsers may remember the answer to a preflight request, in
	// seconds. Default: as long as they please.
	MaxAge *float64 `json:"max_age"`

	// Whether requests may have cookies and other credentials. Default: false.
	Credentials bool `json:"credentials"`

	// Whether pages of the public network may ask, if the browser wants to
	// know. Default: false.
	PrivateNetwork bool `json:"private_network"`

	// Whether preflight requests are passed to the service, whose answer is
	// left as it is. Default: false.
	PreflightContinue bool `json:"preflight_continue"`

	// Whether responses to requests without an origin get the headers, too.
	// Default: true.
	AllowOriginAbsent bool `json:"allow_origin_absent"`

	origins origins
	headers []string // joined; nil: those that are asked for
	methods []string
	exposed []string
	maxAge  []string
}

var methods = []string{"GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS", "TRACE", "CONNECT"}

// CaddyModule returns the Caddy module information.
func (*Plugin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway.plugins.cors", New: func() caddy.Module { return &Plugin{AllowOriginAbsent: true} }}
}

// Describe answers Kong's schema (kong/plugins/cors/schema.lua).
func (*Plugin) Describe() entity.PluginKind {
	flag := func(name string, value bool, doc string) schema.Field {
		return schema.Field{Name: name, Kind: schema.Boolean, Required: true, Default: value, Doc: doc}
	}
	list := func(name, doc string, elem schema.Field) schema.Field {
		elem.Kind = schema.String
		return schema.Field{Name: name, Kind: schema.Array, Elem: &elem, Doc: doc}
	}
	origins := list("origins", "The origins that may ask: `*`, origins, or regular expressions.",
		schema.Field{Rules: []schema.Rule{schema.Custom(checkOrigin)}})
	allowed := list("methods", "The methods that requests may have.", schema.Field{OneOf: schema.Values(methods...)})
	allowed.Default = schema.Values(methods...)
	return entity.PluginKind{Priority: 2000, Forgets: true, Protocols: entity.HTTPProtocols, NoConsumer: true,
		Config: &schema.Fields{List: []schema.Field{
			origins,
			list("headers", "The headers that requests may have.", schema.Field{}),
			list("exposed_headers", "The headers of responses that pages may read.", schema.Field{}),
			allowed,
			{Name: "max_age", Kind: schema.Number, Doc: "How long the answer to a preflight request may be remembered, in seconds."},
			flag("credentials", false, "Whether requests may have credentials."),
			flag("private_network", false, "Whether pages of the public network may ask."),
			flag("preflight_continue", false, "Whether preflight requests are passed to the service."),
			flag("allow_origin_absent", true, "Whether responses to requests without an origin get the headers, too."),
		}}}
}

// Provision prepares what the headers say.
func (p *Plugin) Provision(caddy.Context) (err error) {
	if p.origins, err = parseOrigins(p.Origins); err != nil {
		return err
	}
	joined := func(list []string) []string {
		if len(list) == 0 {
			return nil
		}
		return []string{strings.Join(list, ",")}
	}
	if p.Methods == nil {
		p.Methods = methods
	}
	p.headers, p.exposed = joined(p.Headers), joined(p.ExposedHeaders)
	p.methods = []string{strings.Join(p.Methods, ",")}
	if p.MaxAge != nil {
		p.maxAge = []string{strconv.FormatFloat(*p.MaxAge, 'f', -1, 64)}
	}
	return nil
}

// Access answers preflight requests.
func (p *Plugin) Access(x *plugin.Exchange) error {
	if x.Method() != http.MethodOptions || x.First("Origin") == "" || !x.Has("Access-Control-Request-Method") {
		return nil
	}
	x.Set(true) // the response has its headers, or gets none
	if p.PreflightContinue {
		return nil
	}
	out := http.Header{}
	origin, credentials, varies := p.allow(x.First("Origin"))
	if origin != "" {
		out[allowOrigin] = []string{origin}
	}
	if credentials {
		out[allowCredentials] = yes
	}
	if varies {
		out["Vary"] = []string{"Origin"}
	}
	if p.headers != nil {
		out["Access-Control-Allow-Headers"] = p.headers
	} else if asked := x.Values("Access-Control-Request-Headers"); len(asked) > 0 {
		out["Access-Control-Allow-Headers"] = asked[:1:1]
	}
	out["Access-Control-Allow-Methods"] = p.methods
	if p.maxAge != nil {
		out["Access-Control-Max-Age"] = p.maxAge
	}
	if p.PrivateNetwork && x.First("Access-Control-Request-Private-Network") == "true" {
		out["Access-Control-Allow-Private-Network"] = yes
	}
	return &plugin.Answer{Status: http.StatusOK, Raw: true, Header: out}
}

// HeaderFilter tells the browser who may read the response.
func (p *Plugin) HeaderFilter(x *plugin.Exchange) error {
	asking := x.First("Origin")
	if x.Value() != nil || asking == "" && !p.AllowOriginAbsent {
		return nil
	}
	origin, credentials, varies := p.allow(asking)
	x.SetResponseHeader(allowOrigin, origin)
	if credentials {
		x.SetResponseHeader(allowCredentials, "true")
	}
	if varies {
		x.AddResponseHeader("Vary", "Origin")
	}
	if p.exposed != nil {
		x.SetResponseHeader("Access-Control-Expose-Headers", p.exposed[0])
	}
	return nil
}

const (
	allowOrigin      = "Access-Control-Allow-Origin"
	allowCredentials = "Access-Control-Allow-Credentials"
)

var yes = []string{"true"}

// allow answers which origin may read the response, empty for none, and whether with
// credentials and whether that depends on who asks.
func (p *Plugin) allow(asking string) (origin string, credentials, varies bool) {
	origin, everyone := p.origins.answer(asking)
	if everyone {
		origin = "*"
	}
	varies = !p.origins.any
	switch {
	case !p.Credentials:
	case !everyone:
		credentials = true
	case asking != "": // browsers refuse credentials with "*"
		return asking, true, true
	}
	return origin, credentials, varies
}

// Interface guards
var (
	_ plugin.Described    = (*Plugin)(nil)
	_ plugin.Accessor     = (*Plugin)(nil)
	_ plugin.HeaderFilter = (*Plugin)(nil)
	_ caddy.Provisioner   = (*Plugin)(nil)
)
