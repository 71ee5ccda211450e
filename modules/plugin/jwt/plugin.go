// Package jwt is the plugin jwt: clients show a signed JSON web token to be let
// in (RFC 7519).
package jwt

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func init() { caddy.RegisterModule(new(Plugin)) }

// Plugin lets those in who show a token that was signed with a secret or key of a
// consumer: in the query, in a cookie or in a header.
//
// Secrets and public keys are entities of their own, under
// `/consumers/<consumer>/jwt` and `/jwts` of the Admin API. Each is for one
// algorithm; a token that names another one is refused.
type Plugin struct {
	// The names of query arguments that may have a token. Default: `["jwt"]`.
	URIParamNames []string `json:"uri_param_names"`

	// The names of cookies that may have a token. Default: none.
	CookieNames []string `json:"cookie_names"`

	// The claim, or else the member of the token's header, that has the key of
	// the secret. Default: `iss`.
	KeyClaimName string `json:"key_claim_name"`

	// Whether secrets are base64; they sign as what they decode to. It is for
	// the algorithms HS256, HS384 and HS512. Default: false.
	SecretIsBase64 bool `json:"secret_is_base64"`

	// The times that are checked: `exp`, `nbf`, which must then be there.
	// Default: none, tokens are good for ever.
	ClaimsToVerify []string `json:"claims_to_verify"`

	// The id or username of the consumer that clients without a valid token
	// are taken for. Default: none, they are refused.
	Anonymous string `json:"anonymous"`

	// Whether requests with the method OPTIONS need a token. Default: true.
	RunOnPreflight bool `json:"run_on_preflight"`

	// How far in the future `exp` may be, in seconds up to 31536000; it then
	// must be in `claims_to_verify`. Default: 0, any time.
	MaximumExpiration float64 `json:"maximum_expiration"`

	// The names of headers that may have a token, behind `Bearer`.
	// Default: `["authorization"]`.
	HeaderNames []string `json:"header_names"`

	// The realm that refused clients are told. Default: none.
	Realm string `json:"realm"`

	headers          []string // as HeaderNames, in canonical form
	challenge, wrong string
}

// CaddyModule returns the Caddy module information.
func (*Plugin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway.plugins.jwt", New: func() caddy.Module {
		return &Plugin{
			URIParamNames: []string{"jwt"}, HeaderNames: []string{"authorization"}, KeyClaimName: "iss", RunOnPreflight: true,
		}
	}}
}

// Describe answers Kong's schema (kong/plugins/jwt/schema.lua and daos.lua).
func (*Plugin) Describe() entity.PluginKind {
	names := func(name, doc string, value ...string) schema.Field {
		return schema.Field{Name: name, Kind: schema.Set, Elem: &schema.Field{Kind: schema.String}, Default: schema.Values(value...), Doc: doc}
	}
	return entity.PluginKind{
		Priority: 1450, Forgets: true,
		Protocols:  entity.HTTPProtocols,
		NoConsumer: true,
		Config: &schema.Fields{List: []schema.Field{
			names("uri_param_names", "The names of query arguments that may have a token.", "jwt"),
			names("cookie_names", "The names of cookies that may have a token."),
			{Name: "key_claim_name", Kind: schema.String, Default: "iss",
				Doc: "The claim, or else the member of the token's header, that has the key of the secret."},
			{Name: "secret_is_base64", Kind: schema.Boolean, Required: true, Default: false,
				Doc: "Whether secrets are base64; they sign as what they decode to."},
			{Name: "claims_to_verify", Kind: schema.Set, Elem: &schema.Field{Kind: schema.String, OneOf: schema.Values("exp", "nbf")},
				Doc: "The times that are checked."},
			entity.Anonymous(),
			{Name: "run_on_preflight", Kind: schema.Boolean, Required: true, Default: true,
				Doc: "Whether requests with the method OPTIONS need a token."},
			{Name: "maximum_expiration", Kind: schema.Number, Default: 0.0, Between: []float64{0, 31536000},
				Doc: "How far in the future exp may be, in seconds; 0: any time."},
			names("header_names", "The names of headers that may have a token, behind Bearer.", "authorization"),
			{Name: "realm", Kind: schema.String, Doc: "The realm that refused clients are told."},
		}},
		Checks: []schema.Check{schema.Conditional(schema.When{
			If: "config.maximum_expiration", Match: schema.Field{Rules: []schema.Rule{schema.GreaterThan(0)}},
			Then: "config.claims_to_verify", Must: schema.Field{Rules: []schema.Rule{schema.Contains("exp")}},
		})},
		Tables: []*schema.Table{secretsTable()},
	}
}

// Provision prepares names and challenges.
func (p *Plugin) Provision(caddy.Context) error {
	if p.KeyClaimName == "" {
		p.KeyClaimName = "iss"
	}
	for _, n := range p.HeaderNames {
		p.headers = append(p.headers, http.CanonicalHeaderKey(n))
	}
	p.challenge = plugin.Challenge("Bearer", p.Realm)
	p.wrong = `Bearer error="invalid_token"`
	if p.Realm != "" {
		p.wrong = p.challenge + `, error="invalid_token"`
	}
	return nil
}

// Access lets the request in or not.
func (p *Plugin) Access(x *plugin.Exchange) error {
	if !p.RunOnPreflight && x.Method() == http.MethodOptions {
		return nil
	}
	return x.Authenticate(p.Anonymous, func() error { return p.authenticate(x) })
}

// authenticate is kong/plugins/jwt/handler.lua.
func (p *Plugin) authenticate(x *plugin.Exchange) error {
	tokens := p.find(x)
	switch len(tokens) {
	case 0:
		return plugin.Exit(http.StatusUnauthorized, plugin.Message("Unauthorized"), "WWW-Authenticate", p.challenge)
	case 1:
	default:
		return p.refuse("Multiple tokens provided")
	}
	t, bad := parse(tokens[0])
	if bad != "" {
		return p.refuse("Bad token; " + bad)
	}
	key, there := t.claims[p.KeyClaimName]
	if !there || key == nil {
		key = t.header[p.KeyClaimName]
	}
	if key == nil {
		return p.refuse("No mandatory '" + p.KeyClaimName + "' in claims")
	}
	name, _ := key.(string)
	if name == "" {
		return p.refuse("Invalid '" + p.KeyClaimName + "' in claims")
	}
	secret, ok := plugin.Find[Secret](x.Directory, "jwt_secrets", "key", name)
	if !ok {
		return p.refuse("No credentials found for given '" + p.KeyClaimName + "'")
	}
	if t.algorithm != secret.algorithm() {
		return p.refuse("Invalid algorithm")
	}
	verify, err := secret.verifier(p.SecretIsBase64)
	if err != nil {
		return p.refuse("Invalid key/secret")
	}
	if verify(t.signed, t.signature) != nil {
		return p.refuse("Invalid signature")
	}
	if errs := t.timely(x.Start.Unix(), p.ClaimsToVerify, p.MaximumExpiration); errs != nil {
		return plugin.Exit(http.StatusUnauthorized, errs, "WWW-Authenticate", p.wrong)
	}
	consumer, ok := plugin.Get[entity.Consumer](x.Directory, "consumers", secret.Consumer.ID)
	if !ok {
		return plugin.Exit(http.StatusUnauthorized, plugin.Message(fmt.Sprintf("Could not find consumer for '%s=%s'", p.KeyClaimName, name)))
	}
	if x.Shared == nil {
		x.Shared = map[string]any{}
	}
	x.Shared["authenticated_jwt_token"] = tokens[0]
	x.SetConsumer(consumer, &plugin.Credential{ID: secret.ID, ConsumerID: consumer.ID, Identifier: secret.Key})
	return nil
}

func (p *Plugin) refuse(message string) error {
	return plugin.Exit(http.StatusUnauthorized, plugin.Message(message), "WWW-Authenticate", p.wrong)
}

var bearer = regexp.MustCompile(`[Bb]earer\s+(.+)`)

// find answers the tokens of a request, each once.
func (p *Plugin) find(x *plugin.Exchange) (tokens []string) {
	add := func(token string) {
		if token != "" && !slices.Contains(tokens, token) {
			tokens = append(tokens, token)
		}
	}
	if len(p.URIParamNames) > 0 && x.Query() != "" {
		query, _ := url.ParseQuery(x.Query()) // what can be read of it
		for _, name := range p.URIParamNames {
			for _, v := range query[name] {
				add(v)
			}
		}
	}
	for _, name := range p.CookieNames {
		add(cookie(x.Values("Cookie"), name))
	}
	for _, name := range p.headers {
		values := x.Values(name)
		if len(values) == 0 {
			continue
		}
		if token, usual := strings.CutPrefix(values[0], "Bearer "); usual && !strings.ContainsAny(token, " \t") {
			add(token)
		} else if m := bearer.FindStringSubmatch(values[0]); m != nil {
			add(m[1])
		}
	}
	return tokens
}

// cookie answers the first cookie of that name.
func cookie(headers []string, name string) string {
	for _, h := range headers {
		for pair := range strings.SplitSeq(h, ";") {
			if k, v, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && k == name {
				return v
			}
		}
	}
	return ""
}

// Interface guards
var (
	_ plugin.Described  = (*Plugin)(nil)
	_ plugin.Accessor   = (*Plugin)(nil)
	_ caddy.Provisioner = (*Plugin)(nil)
)
