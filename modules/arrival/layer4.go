package arrival

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/mholt/caddy-l4/layer4"

	"github.com/portcullis-gateway/portcullis/transparent"
)

func init() { caddy.RegisterModule(new(Layer4Matcher)) }

// Layer4Matcher matches connections of caddy-l4 by how they came here: `tproxy`,
// `redirect`, `intercepted` (either of them), `direct`, or `unknown` where the
// listener is not transparent or the kernel does not tell. It sets the placeholders
// `{l4.transparent.arrived}` and `{l4.transparent.destination}` for the handlers of
// its route.
type Layer4Matcher struct {
	// The ways that match, one of which has to be it. Default: none; at least
	// one is required.
	Ways Words `json:"ways,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Layer4Matcher) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "layer4.matchers.arrived", New: func() caddy.Module { return new(Layer4Matcher) }}
}

// Validate reports a word that is none.
func (m *Layer4Matcher) Validate() error { return m.Ways.check() }

// Match reports whether the connection arrived in one of the ways.
func (m *Layer4Matcher) Match(cx *layer4.Connection) (bool, error) {
	a, _ := transparent.ArrivalOf(cx)
	note(cx.Replacer(), "l4", a)
	return m.Ways.match(a.How), nil
}

// UnmarshalCaddyfile reads the matcher. Syntax:
//
//	arrived intercepted|tproxy|redirect|direct|unknown...
func (m *Layer4Matcher) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return m.Ways.unmarshal(d) }

// Interface guards
var (
	_ caddy.Validator       = (*Layer4Matcher)(nil)
	_ layer4.ConnMatcher    = (*Layer4Matcher)(nil)
	_ caddyfile.Unmarshaler = (*Layer4Matcher)(nil)
)
