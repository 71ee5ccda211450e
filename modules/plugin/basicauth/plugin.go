// Package basicauth is the plugin basic-auth: clients show a username and a
// password to be let in (RFC 7617).
package basicauth

import (
	"encoding/base64"
	"net/http"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func init() { caddy.RegisterModule(new(Plugin)) }

// Plugin lets those in who show the username and password of a consumer.
//
// They are entities of their own, under `/consumers/<consumer>/basic-auth` and
// `/basic-auths` of the Admin API. Passwords are kept as argon2id hashes and never
// shown again. The first request with a password pays for its slow check, those
// that follow do not.
type Plugin struct {
	// The id or username of the consumer that clients without valid
	// credentials are taken for. Default: none, they are refused.
	Anonymous string `json:"anonymous"`

	// Whether the header with the password is taken out of the request before
	// the service gets it. Default: false.
	HideCredentials bool `json:"hide_credentials"`

	// The realm that refused clients are told. Default: `service`.
	Realm string `json:"realm"`

	challenge string
}

// CaddyModule returns the Caddy module information.
func (*Plugin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway.plugins.basic_auth", New: func() caddy.Module {
		return &Plugin{Realm: "service"}
	}}
}

// Describe answers Kong's schema (kong/plugins/basic-auth/schema.lua and
// daos.lua).
func (*Plugin) Describe() entity.PluginKind {
	return entity.PluginKind{
		Priority: 1100, Forgets: true,
		Protocols:  entity.HTTPProtocols,
		NoConsumer: true,
		Config: &schema.Fields{List: []schema.Field{
			entity.Anonymous(),
			{Name: "hide_credentials", Kind: schema.Boolean, Required: true, Default: false,
				Doc: "Whether the header with the password is taken out of the request before the service gets it."},
			{Name: "realm", Kind: schema.String, Required: true, Default: "service", Doc: "The realm that refused clients are told."},
		}},
		Tables: []*schema.Table{entity.Credential("basicauth_credentials", "basic-auths", "basic-auth", "username",
			schema.Field{Name: "username", Kind: schema.String, Required: true, Unique: true, Doc: "The name to show. It has no colon."},
			schema.Field{Name: "password", Kind: schema.String, Required: true, Encrypted: true, Seal: seal,
				Rules: []schema.Rule{schema.Custom(checkPassword)},
				Doc:   "The password, or its argon2id or bcrypt hash. It is kept as a hash and not shown."},
		)},
	}
}

// Provision prepares the challenge.
func (p *Plugin) Provision(caddy.Context) error {
	p.challenge = `Basic realm="` + p.Realm + `"`
	return nil
}

// Access lets the request in or not.
func (p *Plugin) Access(x *plugin.Exchange) error {
	return x.Authenticate(p.Anonymous, func() error { return p.authenticate(x) })
}

// authenticate looks into Proxy-Authorization and then, unless that named a user
// who is there, into Authorization.
func (p *Plugin) authenticate(x *plugin.Exchange) error {
	var cred *Credential
	var password string
	shown := false
	for _, name := range []string{"Proxy-Authorization", "Authorization"} {
		username, secret, ok := decode(x.First(name))
		if p.HideCredentials {
			x.SetUpstreamHeader(name, "")
		}
		if !ok {
			continue
		}
		shown, password = true, secret
		if cred, ok = plugin.Find[Credential](x.Directory, "basicauth_credentials", "username", username); ok {
			break
		}
	}
	if !shown {
		return p.refuse()
	}
	if cred == nil {
		if _, err := nobody().verify(x.Context(), password); err != nil {
			return err
		}
		return p.refuse()
	}
	ok, err := cred.verify(x.Context(), password)
	if err != nil {
		return err
	}
	consumer, found := plugin.Get[entity.Consumer](x.Directory, "consumers", cred.Consumer.ID)
	if !ok || !found {
		return p.refuse()
	}
	x.SetConsumer(consumer, &cred.shown)
	return nil
}

func (p *Plugin) refuse() error {
	return plugin.Refuse(http.StatusUnauthorized, "Unauthorized", "WWW-Authenticate", p.challenge)
}

var scheme = regexp.MustCompile(`[Bb]asic\s*(.+)`)

// decode reads the value of a header (kong/plugins/basic-auth/access.lua). The
// password may contain colons, the username may not.
func decode(header string) (username, password string, ok bool) {
	if header == "" {
		return "", "", false
	}
	encoded, usual := strings.CutPrefix(header, "Basic ")
	if !usual {
		m := scheme.FindStringSubmatch(header)
		if m == nil {
			return "", "", false
		}
		encoded = m[1]
	}
	encoded = strings.TrimRight(strings.TrimSpace(encoded), "=")
	var space [128]byte
	text, err := base64.RawStdEncoding.AppendDecode(space[:0], []byte(encoded))
	if err != nil {
		return "", "", false
	}
	username, password, ok = strings.Cut(strings.TrimLeft(string(text), ":"), ":")
	return username, password, ok && username != ""
}

// Interface guards
var (
	_ plugin.Described  = (*Plugin)(nil)
	_ plugin.Accessor   = (*Plugin)(nil)
	_ caddy.Provisioner = (*Plugin)(nil)
)
