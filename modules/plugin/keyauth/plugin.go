// Package keyauth is the plugin key-auth: clients show a key to be let in.
package keyauth

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func init() { caddy.RegisterModule(new(Plugin)) }

// Plugin lets those in who show a key that belongs to a consumer: in a header,
// in the query or in the body.
//
// The keys are entities of their own, under `/consumers/<consumer>/key-auth` and
// `/key-auths` of the Admin API.
type Plugin struct {
	// The names of the header, query argument or field of the body that has
	// the key. Default: `["apikey"]`.
	KeyNames []string `json:"key_names"`

	// Whether the key is taken out of the request before the service gets it.
	// Default: false.
	HideCredentials bool `json:"hide_credentials"`

	// The id or username of the consumer that clients without a valid key are
	// taken for. Default: none, they are refused.
	Anonymous string `json:"anonymous"`

	// Whether the key may be in a header. Default: true.
	KeyInHeader bool `json:"key_in_header"`

	// Whether the key may be in the query. Default: true.
	KeyInQuery bool `json:"key_in_query"`

	// Whether the key may be in the body: JSON, or a form of up to 1 MiB.
	// Default: false.
	KeyInBody bool `json:"key_in_body"`

	// Whether requests with the method OPTIONS need a key. Default: true.
	RunOnPreflight bool `json:"run_on_preflight"`

	// The realm that refused clients are told. Default: none.
	Realm string `json:"realm"`

	headers   []string // as KeyNames, in canonical form
	challenge string
}

// Credential is the typed view of a row of the table keyauth_credentials.
type Credential struct {
	ID       uuid.UUID  `json:"id"`
	Consumer entity.Ref `json:"consumer"`
	Key      string     `json:"key"`

	shown plugin.Credential
}

// UnmarshalJSON reads the row, and prepares what requests are told of it.
func (c *Credential) UnmarshalJSON(data []byte) error {
	type row Credential
	if err := json.Unmarshal(data, (*row)(c)); err != nil {
		return err
	}
	c.shown = plugin.Credential{ID: c.ID, ConsumerID: c.Consumer.ID, Identifier: c.ID.String()}
	return nil
}

// CaddyModule returns the Caddy module information.
func (*Plugin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway.plugins.key_auth", New: func() caddy.Module {
		return &Plugin{
			KeyNames: []string{"apikey"}, KeyInHeader: true, KeyInQuery: true, RunOnPreflight: true,
		}
	}}
}

// Describe answers Kong's schema (kong/plugins/key-auth/schema.lua and daos.lua).
func (*Plugin) Describe() entity.PluginKind {
	flag := func(name string, value bool, doc string) schema.Field {
		return schema.Field{Name: name, Kind: schema.Boolean, Required: true, Default: value, Doc: doc}
	}
	name := entity.HeaderName("")
	return entity.PluginKind{
		Priority: 1250, Forgets: true,
		Protocols:  entity.HTTPProtocols,
		NoConsumer: true,
		Config: &schema.Fields{List: []schema.Field{
			{Name: "key_names", Kind: schema.Array, Required: true, Elem: &name, Default: schema.Values("apikey"),
				Doc: "The names of the header, query argument or field of the body that has the key."},
			flag("hide_credentials", false, "Whether the key is taken out of the request before the service gets it."),
			entity.Anonymous(),
			flag("key_in_header", true, "Whether the key may be in a header."),
			flag("key_in_query", true, "Whether the key may be in the query."),
			flag("key_in_body", false, "Whether the key may be in the body."),
			flag("run_on_preflight", true, "Whether requests with the method OPTIONS need a key."),
			{Name: "realm", Kind: schema.String, Doc: "The realm that refused clients are told."},
		}},
		Tables: []*schema.Table{entity.Credential("keyauth_credentials", "key-auths", "key-auth", "key",
			schema.Field{Name: "key", Kind: schema.String, Unique: true, Auto: schema.AutoString, Encrypted: true,
				Doc: "The key. If it is left out, one is made."},
			entity.Lifetime(),
		)},
	}
}

// Provision prepares names and challenge.
func (p *Plugin) Provision(caddy.Context) error {
	for _, n := range p.KeyNames {
		p.headers = append(p.headers, http.CanonicalHeaderKey(n))
	}
	p.challenge = plugin.Challenge("Key", p.Realm)
	return nil
}

// Access lets the request in or not.
func (p *Plugin) Access(x *plugin.Exchange) error {
	if !p.RunOnPreflight && x.Method() == http.MethodOptions {
		return nil
	}
	return x.Authenticate(p.Anonymous, func() error { return p.authenticate(x) })
}

func (p *Plugin) authenticate(x *plugin.Exchange) error {
	key, found, answer := p.find(x)
	if answer != nil {
		return answer
	}
	if !found || key == "" {
		return p.refuse("No API key found in request")
	}
	cred, ok := plugin.Find[Credential](x.Directory, "keyauth_credentials", "key", key)
	if !ok {
		return p.refuse("Unauthorized")
	}
	consumer, ok := plugin.Get[entity.Consumer](x.Directory, "consumers", cred.Consumer.ID)
	if !ok {
		return p.refuse("Unauthorized")
	}
	x.SetConsumer(consumer, &cred.shown)
	return nil
}

func (p *Plugin) refuse(message string) error {
	return plugin.Refuse(http.StatusUnauthorized, message, "WWW-Authenticate", p.challenge)
}

// find looks for the key under each name: in the headers, in the query, in the
// body. The first name that is there counts.
func (p *Plugin) find(x *plugin.Exchange) (key string, found bool, answer error) {
	var query url.Values
	if p.KeyInQuery && x.Query() != "" {
		query, _ = url.ParseQuery(x.Query()) // what can be read of it
	}
	var body *form
	for i, name := range p.KeyNames {
		if p.KeyInHeader {
			if v, n := x.Lookup(p.headers[i]); n > 0 {
				if p.HideCredentials {
					x.SetUpstreamHeader(p.headers[i], "")
				}
				return p.only(v, n)
			}
		}
		if v := query[name]; len(v) > 0 {
			if p.HideCredentials {
				x.SetQuery(without(x.Query(), name))
			}
			return p.only(v[0], len(v))
		}
		if p.KeyInBody {
			if body == nil {
				body = readForm(x)
			}
			if v := body.values[name]; len(v) > 0 {
				if p.HideCredentials {
					body.hide(x, name)
				}
				return p.only(v[0], len(v))
			}
		}
	}
	return "", false, nil
}

func (p *Plugin) only(key string, n int) (string, bool, error) {
	if n > 1 {
		return "", true, p.refuse("Duplicate API key found")
	}
	return key, true, nil
}

// without takes an argument out of a query and leaves the rest as it is.
func without(query, name string) string {
	kept := make([]string, 0, 8)
	for part := range strings.SplitSeq(query, "&") {
		k, _, _ := strings.Cut(part, "=")
		if k, err := url.QueryUnescape(k); err == nil && k == name {
			continue
		}
		kept = append(kept, part)
	}
	return strings.Join(kept, "&")
}

// maxBody bounds the bodies that are searched, in bytes.
const maxBody = 1 << 20

// A form is a body in which a key may be.
type form struct {
	values map[string][]string
	hide   func(x *plugin.Exchange, name string)
}

// readForm reads the body, if it is of a kind that can be searched.
func readForm(x *plugin.Exchange) *form {
	f := &form{hide: func(*plugin.Exchange, string) {}}
	kind, params, _ := mime.ParseMediaType(x.First("Content-Type"))
	switch kind {
	case "application/json", "application/x-www-form-urlencoded", "multipart/form-data":
	default:
		return f
	}
	body, err := x.Body(maxBody)
	if err != nil {
		return f
	}
	switch kind {
	case "application/json":
		var o map[string]json.RawMessage
		if json.Unmarshal(body, &o) != nil {
			return f
		}
		f.values = map[string][]string{}
		for name, raw := range o {
			var one string
			var many []string
			if json.Unmarshal(raw, &one) == nil {
				f.values[name] = []string{one}
			} else if json.Unmarshal(raw, &many) == nil {
				f.values[name] = many
			}
		}
		f.hide = func(x *plugin.Exchange, name string) {
			delete(o, name)
			if b, err := json.Marshal(o); err == nil {
				x.SetBody(b)
			}
		}
	case "application/x-www-form-urlencoded":
		f.values, _ = url.ParseQuery(string(body))
		f.hide = func(x *plugin.Exchange, name string) { x.SetBody([]byte(without(string(body), name))) }
	default:
		f.multipart(body, params["boundary"])
	}
	return f
}

// multipart reads the fields that are no files.
func (f *form) multipart(body []byte, boundary string) {
	parts, err := multipart.NewReader(bytes.NewReader(body), boundary).ReadForm(maxBody)
	if err != nil {
		return
	}
	f.values = parts.Value
	f.hide = func(x *plugin.Exchange, name string) {
		var out bytes.Buffer
		w := multipart.NewWriter(&out)
		if w.SetBoundary(boundary) != nil {
			return
		}
		r := multipart.NewReader(bytes.NewReader(body), boundary)
		for {
			part, err := r.NextRawPart()
			if err != nil {
				break
			}
			if part.FormName() == name && part.FileName() == "" {
				continue
			}
			to, err := w.CreatePart(part.Header)
			if err != nil {
				return
			}
			if _, err := io.Copy(to, part); err != nil {
				return
			}
		}
		if w.Close() == nil {
			x.SetBody(out.Bytes())
		}
	}
	_ = parts.RemoveAll()
}

// Interface guards
var (
	_ plugin.Described  = (*Plugin)(nil)
	_ plugin.Accessor   = (*Plugin)(nil)
	_ caddy.Provisioner = (*Plugin)(nil)
)
