// Package requestsizelimiting is the plugin request-size-limiting: requests whose
// bodies are too large are refused.
package requestsizelimiting

import (
	"io"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func init() { caddy.RegisterModule(new(Plugin)) }

// Plugin refuses requests whose bodies are too large.
//
// If the length is announced nothing of the body is read. Otherwise the body is
// counted as it passes, and cut off at the limit: what is small enough to be
// buffered is refused before the service is asked; what is larger ends the
// request on both sides.
type Plugin struct {
	// How large a body may be. Default: 128.
	AllowedPayloadSize int64 `json:"allowed_payload_size"`

	// What that counts: `megabytes` (of 1024 kilobytes), `kilobytes` (of 1024
	// bytes) or `bytes`. Default: `megabytes`.
	SizeUnit string `json:"size_unit"`

	// Whether requests must say how long their bodies are, unless these are
	// chunked. Default: false.
	RequireContentLength bool `json:"require_content_length"`

	limit int64 // in bytes
}

var units = map[string]int64{"megabytes": 1 << 20, "kilobytes": 1 << 10, "bytes": 1}

// CaddyModule returns the Caddy module information.
func (*Plugin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway.plugins.request_size_limiting", New: func() caddy.Module {
		return &Plugin{AllowedPayloadSize: 128, SizeUnit: "megabytes"}
	}}
}

// Describe answers Kong's schema (kong/plugins/request-size-limiting/schema.lua).
func (*Plugin) Describe() entity.PluginKind {
	return entity.PluginKind{Priority: 951, Forgets: true, Protocols: entity.HTTPProtocols, Config: &schema.Fields{List: []schema.Field{
		{Name: "allowed_payload_size", Kind: schema.Integer, Default: int64(128), Doc: "How large a body may be."},
		{Name: "size_unit", Kind: schema.String, Required: true, Default: "megabytes",
			OneOf: schema.Values("megabytes", "kilobytes", "bytes"), Doc: "What the size counts."},
		{Name: "require_content_length", Kind: schema.Boolean, Required: true, Default: false,
			Doc: "Whether requests must say how long their bodies are, unless these are chunked."},
	}}}
}

// Provision computes the limit.
func (p *Plugin) Provision(caddy.Context) error {
	const most = 1 << 62
	unit := units[p.SizeUnit]
	if unit == 0 {
		unit = units["megabytes"]
	}
	if p.limit = most; p.AllowedPayloadSize < most/unit {
		p.limit = max(0, p.AllowedPayloadSize*unit)
	}
	return nil
}

// Access refuses what is known to be too large, and watches the rest.
func (p *Plugin) Access(x *plugin.Exchange) error {
	if body, ok := x.Changes().Body(); ok { // another plugin has read it
		return p.check(x, int64(len(body)))
	}
	r := x.Request()
	switch {
	case r.ContentLength > 0:
		return p.check(x, r.ContentLength)
	case r.ContentLength == 0 && len(r.Header["Content-Length"]) > 0:
		return nil
	case p.RequireContentLength && len(r.TransferEncoding) == 0:
		return plugin.Refuse(http.StatusLengthRequired, "A valid Content-Length header is required")
	case r.Body != nil && r.Body != http.NoBody:
		r.Body = &limited{ReadCloser: r.Body, left: p.limit, over: p.refuse(x)}
	}
	return nil
}

func (p *Plugin) check(x *plugin.Exchange, length int64) error {
	if length > p.limit {
		return p.refuse(x)
	}
	return nil
}

func (p *Plugin) refuse(x *plugin.Exchange) error {
	status := http.StatusRequestEntityTooLarge
	if strings.EqualFold(strings.TrimSpace(x.First("Expect")), "100-continue") {
		status = http.StatusExpectationFailed
	}
	return plugin.Refuse(status, "Request size limit exceeded")
}

// A limited body ends with an error where it becomes too large.
type limited struct {
	io.ReadCloser
	left int64
	over error
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, l.over
	}
	if int64(len(p)) > l.left+1 { // one byte more tells whether there is any
		p = p[:l.left+1]
	}
	n, err := l.ReadCloser.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return n - 1, l.over
	}
	return n, err
}

// Interface guards
var (
	_ plugin.Described  = (*Plugin)(nil)
	_ plugin.Accessor   = (*Plugin)(nil)
	_ caddy.Provisioner = (*Plugin)(nil)
)
