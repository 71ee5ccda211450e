package arrival

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/transparent"
)

func init() {
	caddy.RegisterModule(new(Handler))
	caddy.RegisterModule(new(Matcher))
}

// Handler tells the handlers after it, and the access log, how a request's
// connection came here. It sets the placeholders `{http.transparent.arrived}` and
// `{http.transparent.destination}`, and the log fields `arrived` and
// `destination`.
//
// A site whose listener is not transparent has `unknown`, and no destination.
type Handler struct{}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.arrival", New: func() caddy.Module { return new(Handler) }}
}

// Provision makes the server remember how connections arrive.
func (*Handler) Provision(ctx caddy.Context) error {
	Watch(ctx)
	return nil
}

// ServeHTTP sets placeholders and log fields.
func (*Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	a := noted(r)
	if extra, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		extra.Set(zap.Stringer("arrived", a.How))
		if a.Destination.IsValid() {
			extra.Set(zap.Stringer("destination", a.Destination))
		}
	}
	return next.ServeHTTP(w, r)
}

// UnmarshalCaddyfile reads the directive. Syntax:
//
//	arrival
func (*Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		return d.Errf("arrival takes no argument but a matcher, got %q", d.Val())
	}
	if d.NextBlock(0) {
		return d.Err("arrival takes no block")
	}
	return nil
}

// noted answers how a request's connection arrived, after setting the placeholders.
func noted(r *http.Request) transparent.Arrival {
	a, _ := Of(r.Context())
	repl, _ := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	note(repl, "http", a)
	return a
}

// Matcher matches requests by how their connection came here: `tproxy`,
// `redirect`, `intercepted` (either of them), `direct`, or `unknown` where the
// listener is not transparent or the kernel does not tell. It sets the same
// placeholders as the handler `arrival`.
type Matcher struct {
	// The ways that match, one of which has to be it. Default: none; at least
	// one is required.
	Ways Words `json:"ways,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Matcher) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.matchers.arrived", New: func() caddy.Module { return new(Matcher) }}
}

// Provision makes the server remember how connections arrive.
func (*Matcher) Provision(ctx caddy.Context) error {
	Watch(ctx)
	return nil
}

// Validate reports a word that is none.
func (m *Matcher) Validate() error { return m.Ways.check() }

// Match reports whether the request's connection arrived in one of the ways.
func (m *Matcher) Match(r *http.Request) bool { return m.Ways.match(noted(r).How) }

// MatchWithError is Match; there is nothing that could fail.
func (m *Matcher) MatchWithError(r *http.Request) (bool, error) { return m.Match(r), nil }

// UnmarshalCaddyfile reads the matcher. Syntax:
//
//	arrived intercepted|tproxy|redirect|direct|unknown...
func (m *Matcher) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return m.Ways.unmarshal(d) }

// Interface guards
var (
	_ caddy.Provisioner                 = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler       = (*Handler)(nil)
	_ caddyfile.Unmarshaler             = (*Handler)(nil)
	_ caddy.Provisioner                 = (*Matcher)(nil)
	_ caddy.Validator                   = (*Matcher)(nil)
	_ caddyhttp.RequestMatcherWithError = (*Matcher)(nil)
	_ caddyfile.Unmarshaler             = (*Matcher)(nil)
)
