// Package hmacauth is the plugin hmac-auth: clients sign requests with a secret
// that they share with the gateway.
package hmacauth

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func init() { caddy.RegisterModule(new(Plugin)) }

// Plugin lets those in whose request is signed with the secret of a consumer,
// after draft-cavage-http-signatures:
//
//	Authorization: hmac username="anna", algorithm="hmac-sha256", headers="date @request-target", signature="<base64>"
//
// The secrets are entities of their own, under `/consumers/<consumer>/hmac-auth`
// and `/hmac-auths` of the Admin API. The secret is never sent, and a request that
// was overheard is good for `clock_skew` only.
type Plugin struct {
	// Whether the header with the signature is taken out of the request before
	// the service gets it. Default: false.
	HideCredentials bool `json:"hide_credentials"`

	// How far the date of a request, in `X-Date` or `Date`, may be from the
	// gateway's clock, in seconds. Default: 300.
	ClockSkew *float64 `json:"clock_skew"`

	// The id or username of the consumer that clients without a valid
	// signature are taken for. Default: none, they are refused.
	Anonymous string `json:"anonymous"`

	// Whether the body must be what the header `Digest` says: `SHA-256=` and
	// the sum in base64. Bodies of up to 10 MiB can be. Default: false.
	ValidateRequestBody bool `json:"validate_request_body"`

	// What clients have to sign at least, in the words of the signature's
	// `headers`. Default: none.
	EnforceHeaders []string `json:"enforce_headers"`

	// The algorithms that clients may use. Default: hmac-sha1, hmac-sha256,
	// hmac-sha384 and hmac-sha512.
	Algorithms []string `json:"algorithms"`

	// The realm that refused clients are told. Default: none.
	Realm string `json:"realm"`

	challenge string
	skew      time.Duration
}

// Credential is the typed view of a row of the table hmacauth_credentials.
type Credential struct {
	ID       uuid.UUID  `json:"id"`
	Consumer entity.Ref `json:"consumer"`
	Username string     `json:"username"`
	Secret   string     `json:"secret"`
}

// CaddyModule returns the Caddy module information.
func (*Plugin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway.plugins.hmac_auth", New: func() caddy.Module {
		skew := 300.0
		return &Plugin{ClockSkew: &skew, Algorithms: algorithms()}
	}}
}

// Describe answers Kong's schema (kong/plugins/hmac-auth/schema.lua and
// daos.lua).
func (*Plugin) Describe() entity.PluginKind {
	return entity.PluginKind{
		Priority: 1030, Forgets: true,
		Protocols:  entity.HTTPProtocols,
		NoConsumer: true,
		Config: &schema.Fields{List: []schema.Field{
			{Name: "hide_credentials", Kind: schema.Boolean, Required: true, Default: false,
				Doc: "Whether the header with the signature is taken out of the request before the service gets it."},
			{Name: "clock_skew", Kind: schema.Number, Default: 300.0, Rules: []schema.Rule{schema.GreaterThan(0)},
				Doc: "How far the date of a request may be from the gateway's clock, in seconds."},
			entity.Anonymous(),
			{Name: "validate_request_body", Kind: schema.Boolean, Required: true, Default: false,
				Doc: "Whether the body must be what the header Digest says."},
			{Name: "enforce_headers", Kind: schema.Array, Elem: &schema.Field{Kind: schema.String}, Default: []any{},
				Doc: "What clients have to sign at least."},
			{Name: "algorithms", Kind: schema.Array, Default: schema.Values(algorithms()...),
				Elem: &schema.Field{Kind: schema.String, OneOf: schema.Values(algorithms()...)},
				Doc:  "The algorithms that clients may use."},
			{Name: "realm", Kind: schema.String, Doc: "The realm that refused clients are told."},
		}},
		Tables: []*schema.Table{entity.Credential("hmacauth_credentials", "hmac-auths", "hmac-auth", "username",
			schema.Field{Name: "username", Kind: schema.String, Required: true, Unique: true, Doc: "The name to sign with."},
			schema.Field{Name: "secret", Kind: schema.String, Auto: schema.AutoString, Encrypted: true,
				Doc: "The shared secret. If it is left out, one is made."},
		)},
	}
}

// Provision prepares challenge and skew.
func (p *Plugin) Provision(caddy.Context) error {
	p.challenge = plugin.Challenge("hmac", p.Realm)
	skew := 300.0
	if p.ClockSkew != nil {
		skew = min(*p.ClockSkew, 1e9)
	}
	p.skew = time.Duration(skew * float64(time.Second))
	return nil
}

// Access lets the request in or not.
func (p *Plugin) Access(x *plugin.Exchange) error {
	return x.Authenticate(p.Anonymous, func() error { return p.authenticate(x) })
}

// What refused clients are told (kong/plugins/hmac-auth/access.lua).
const (
	noDate     = "HMAC signature cannot be verified, a valid date or x-date header is required for HMAC Authentication"
	unverified = "HMAC signature cannot be verified"
	different  = "HMAC signature does not match"
)

// authenticate takes the signature of Proxy-Authorization or, unless there is
// one, of Authorization.
func (p *Plugin) authenticate(x *plugin.Exchange) error {
	h := x.Header()
	authorization, proxy := h["Authorization"], h["Proxy-Authorization"]
	if len(authorization) == 0 && len(proxy) == 0 {
		return p.refuse("Unauthorized")
	}
	if !p.timely(x, "X-Date") && !p.timely(x, "Date") {
		return p.refuse(noDate)
	}
	used := "Proxy-Authorization"
	s, ok := parse(first(proxy))
	if !ok {
		used = "Authorization"
		s, ok = parse(first(authorization))
	}
	signed := signedText(x, s.headers) // before the header goes
	if p.HideCredentials {
		x.SetUpstreamHeader(used, "")
	}
	if !ok || !slices.Contains(p.Algorithms, s.algorithm) {
		return p.refuse(unverified)
	}
	for _, name := range p.EnforceHeaders {
		if !slices.Contains(s.headers, name) {
			return p.refuse(unverified)
		}
	}
	cred, ok := plugin.Find[Credential](x.Directory, "hmacauth_credentials", "username", s.username)
	if !ok {
		return p.refuse(unverified)
	}
	if !s.verify(cred.Secret, signed) {
		return p.refuse(different)
	}
	if p.ValidateRequestBody && !intact(x) {
		return p.refuse(different)
	}
	consumer, ok := plugin.Get[entity.Consumer](x.Directory, "consumers", cred.Consumer.ID)
	if !ok {
		return p.refuse(unverified)
	}
	x.SetConsumer(consumer, &plugin.Credential{ID: cred.ID, ConsumerID: consumer.ID, Identifier: cred.Username})
	return nil
}

func (p *Plugin) refuse(message string) error {
	return plugin.Refuse(http.StatusUnauthorized, message, "WWW-Authenticate", p.challenge)
}

// timely reports whether the date in the header is close enough, in whole
// seconds.
func (p *Plugin) timely(x *plugin.Exchange, header string) bool {
	date, err := http.ParseTime(first(x.Values(header)))
	return err == nil && x.Start.Truncate(time.Second).Sub(date).Abs() <= p.skew
}

// maxBody bounds the bodies that are validated, in bytes.
const maxBody = 10 << 20

// intact reports whether the body is what its digest says. Without a digest it
// must be empty.
func intact(x *plugin.Exchange) bool {
	body, err := x.Body(maxBody)
	if err != nil {
		return false
	}
	digest := x.Values("Digest")
	if len(digest) == 0 {
		return len(body) == 0
	}
	sum := sha256.Sum256(body)
	return subtle.ConstantTimeCompare([]byte(digest[0]), []byte("SHA-256="+base64.StdEncoding.EncodeToString(sum[:]))) == 1
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// verify reports whether the text was signed with the secret.
func (s *signature) verify(secret, text string) bool {
	got, err := base64.StdEncoding.DecodeString(s.value)
	if err != nil {
		return false
	}
	mac := hmac.New(hashes[s.algorithm], []byte(secret))
	mac.Write([]byte(text))
	return hmac.Equal(mac.Sum(nil), got)
}

// Interface guards
var (
	_ plugin.Described  = (*Plugin)(nil)
	_ plugin.Accessor   = (*Plugin)(nil)
	_ caddy.Provisioner = (*Plugin)(nil)
)
