// Package httplog is the plugin http-log: it sends an entry about each request
// to an HTTP server.
package httplog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/plugin/logentry"
	"github.com/portcullis-gateway/portcullis/modules/queue"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func init() { caddy.RegisterModule(new(Plugin)) }

// Plugin sends an entry about each request, and each stream session, to an HTTP
// server, as JSON.
//
// Requests do not wait for it: entries go through a queue, which is bounded. It
// goes on when the configuration is loaded anew, and when other entities
// change; at the end it gets five seconds to send what it has.
type Plugin struct {
	// Where entries are sent, `http` or `https`. A user and password in it
	// become the header Authorization. Certificates are not verified, as in
	// Kong.
	HTTPEndpoint string `json:"http_endpoint"`

	// `POST`, `PUT` or `PATCH`. Default: `POST`.
	Method string `json:"method"`

	// The header Content-Type: `application/json` or
	// `application/json; charset=utf-8`. Default: `application/json`.
	ContentType string `json:"content_type"`

	// How long sending may take, in milliseconds, connecting and the response
	// included. Default: 10000.
	Timeout float64 `json:"timeout"`

	// How long an idle connection stays open, in milliseconds. Default: 60000.
	Keepalive float64 `json:"keepalive"`

	// Headers that are sent, too. Default: none.
	Headers map[string]string `json:"headers"`

	// How entries wait; see the package queue. With a `max_batch_size` of 1 the
	// body is an entry, otherwise a list of them. Default: that record's.
	Queue queue.Settings `json:"queue"`

	// No longer does anything, as in Kong; see `queue.max_retry_time`. Default:
	// none.
	RetryCount *int `json:"retry_count"`

	// Deprecated for `queue.max_batch_size`, which it replaces unless it is 1.
	// Default: none.
	QueueSize *int `json:"queue_size"`

	// Deprecated for `queue.max_coalescing_delay`, in seconds, which it replaces
	// unless it is 2. Default: none.
	FlushTimeout *float64 `json:"flush_timeout"`

	// Must be empty: Kong runs Lua to change entries, this gateway does not.
	// Default: none.
	CustomFieldsByLua map[string]string `json:"custom_fields_by_lua,omitempty"`

	out *outlet
}

// CaddyModule returns the Caddy module information.
func (*Plugin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway.plugins.http_log", New: func() caddy.Module { return new(Plugin) }}
}

// Describe answers Kong's schema (kong/plugins/http-log/schema.lua).
func (*Plugin) Describe() entity.PluginKind {
	name := entity.HeaderName("")
	name.Rules = append([]schema.Rule{notHeader("Host"), notHeader("Content-Length"), notHeader("Content-Type")}, name.Rules...)
	return entity.PluginKind{Priority: 12, Forgets: true, Rule: checkAuthorization, Config: &schema.Fields{List: []schema.Field{
		{Name: "http_endpoint", Kind: schema.String, Required: true, Encrypted: true, Rules: []schema.Rule{schema.Custom(checkURL)},
			Doc: "The URL that entries are sent to."},
		{Name: "method", Kind: schema.String, Default: "POST", OneOf: schema.Values("POST", "PUT", "PATCH"),
			Doc: "The method with which they are sent."},
		{Name: "content_type", Kind: schema.String, Default: "application/json",
			OneOf: schema.Values("application/json", "application/json; charset=utf-8"), Doc: "The header Content-Type."},
		{Name: "timeout", Kind: schema.Number, Default: 10000.0, Doc: "How long sending may take, in milliseconds."},
		{Name: "keepalive", Kind: schema.Number, Default: 60000.0, Doc: "How long an idle connection stays open, in milliseconds."},
		{Name: "retry_count", Kind: schema.Integer, Doc: "Deprecated: does nothing. See queue.max_retry_time."},
		{Name: "queue_size", Kind: schema.Integer, Doc: "Deprecated: use queue.max_batch_size."},
		{Name: "flush_timeout", Kind: schema.Number, Doc: "Deprecated: use queue.max_coalescing_delay."},
		{Name: "headers", Kind: schema.Map, Keys: &name,
			Elem: &schema.Field{Kind: schema.String, Rules: []schema.Rule{schema.Custom(checkHeaderValue)}},
			Doc:  "Headers that are sent, too."},
		queue.Field(),
		logentry.CustomFields(),
	}}}
}

// notHeader refuses a header that the plugin itself sets.
func notHeader(name string) schema.Rule {
	var pattern strings.Builder
	for _, c := range name {
		if c == '-' {
			pattern.WriteString("%-")
		} else {
			pattern.WriteString("[" + strings.ToUpper(string(c)) + strings.ToLower(string(c)) + "]")
		}
	}
	return schema.MatchNone("^"+pattern.String()+"$", "cannot contain '"+name+"' header", func(s string) bool { return strings.EqualFold(s, name) })
}

// checkHeaderValue refuses what would be sent as it stands there, and what
// cannot be sent at all.
func checkHeaderValue(s string) string {
	control := func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
	switch {
	case schema.IsReference(s):
		return "references to vaults are not resolved in plugins"
	case strings.ContainsFunc(s, control):
		return "a header has no control characters in it"
	}
	return ""
}

// checkURL wants what entries can be sent to (kong/db/schema/typedefs.lua, url).
func checkURL(s string) string {
	u, err := url.Parse(s)
	switch {
	case schema.IsReference(s):
		return "references to vaults are not resolved in plugins"
	case err != nil:
		return "could not parse url"
	case u.Hostname() == "":
		return "missing host in url"
	case u.Scheme == "":
		return "missing scheme in url"
	case u.Scheme != "http" && u.Scheme != "https":
		return "the scheme of the url must be http or https"
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "the port of the url must be between 1 and 65535"
		}
	}
	return ""
}

// checkAuthorization wants one of two sources of the header Authorization.
func checkAuthorization(config schema.Object) string {
	endpoint, _ := config["http_endpoint"].(string)
	headers, _ := config["headers"].(schema.Object)
	if u, err := url.Parse(endpoint); err != nil || u.User == nil {
		return ""
	}
	for name := range headers {
		if strings.EqualFold(name, "Authorization") {
			return "specifying both an 'Authorization' header and user info in 'http_endpoint' is not allowed"
		}
	}
	return ""
}

// Provision finds the queue of these settings, or makes it.
func (p *Plugin) Provision(ctx caddy.Context) (err error) {
	if n := p.QueueSize; n != nil && *n != 1 {
		p.Queue.MaxBatchSize = max(1, *n)
		ctx.Logger().Warn("queue_size is deprecated; use queue.max_batch_size instead")
	}
	if n := p.FlushTimeout; n != nil && *n != 2 {
		p.Queue.MaxCoalescingDelay = max(0, *n)
		ctx.Logger().Warn("flush_timeout is deprecated; use queue.max_coalescing_delay instead")
	}
	if n := p.RetryCount; n != nil && *n != 10 {
		ctx.Logger().Warn("retry_count does nothing; use queue.initial_retry_delay and queue.max_retry_time instead")
	}
	p.out, err = plugin.Share(plugin.EnvOf(ctx), "queue "+p.fingerprint(), func() (*outlet, error) { return newOutlet(p) })
	if err != nil {
		return err
	}
	p.out.queue.Use(ctx.Logger())
	return nil
}

// fingerprint tells settings apart: entries that wait are sent as they were
// meant to be, whatever comes later.
func (p *Plugin) fingerprint() string {
	text, _ := json.Marshal(p)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Log queues the entry of a request.
func (p *Plugin) Log(x *plugin.Exchange) { p.out.queue.Add(logentry.Of(x)) }

// LogSession queues the entry of a stream session.
func (p *Plugin) LogSession(s *plugin.Session) { p.out.queue.Add(logentry.OfSession(s)) }

// Interface guards
var (
	_ plugin.Described     = (*Plugin)(nil)
	_ plugin.Logger        = (*Plugin)(nil)
	_ plugin.SessionLogger = (*Plugin)(nil)
	_ caddy.Provisioner    = (*Plugin)(nil)
)
