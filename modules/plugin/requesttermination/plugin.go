// Package requesttermination is the plugin request-termination: it answers
// requests instead of their service.
package requesttermination

import (
	"encoding/json"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/router"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func init() { caddy.RegisterModule(new(Plugin)) }

// Plugin answers requests instead of their service: for maintenance, for a path
// that is gone, or to see what a request looks like when it arrives.
type Plugin struct {
	// The status of the answer, from 200 to 599. Default: 503.
	StatusCode int `json:"status_code"`

	// A text, which is answered as `{"message": "…"}`. Default: one that goes
	// with the status 401, 404, 405, 500, 502 or 503, else none.
	Message string `json:"message"`

	// The type of `body`. Default: `application/json; charset=utf-8`.
	ContentType string `json:"content_type"`

	// The whole body of the answer, instead of `message`. Default: none.
	Body string `json:"body"`

	// Whether the answer shows the request. Default: false.
	Echo bool `json:"echo"`

	// Only requests with a header or query argument of this name are answered.
	// Default: all are.
	Trigger string `json:"trigger"`

	node     string
	hostname string
}

// CaddyModule returns the Caddy module information.
func (*Plugin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway.plugins.request_termination", New: func() caddy.Module { return new(Plugin) }}
}

// Describe answers Kong's schema (kong/plugins/request-termination/schema.lua).
func (*Plugin) Describe() entity.PluginKind {
	return entity.PluginKind{Priority: 2, Forgets: true, Protocols: entity.HTTPProtocols, Rule: check, Config: &schema.Fields{
		List: []schema.Field{
			{Name: "status_code", Kind: schema.Integer, Required: true, Default: int64(503), Between: []float64{100, 599},
				Doc: "The status of the answer."},
			{Name: "message", Kind: schema.String, Doc: "The text of the answer."},
			{Name: "content_type", Kind: schema.String, Doc: "The type of the body."},
			{Name: "body", Kind: schema.String, Doc: "The whole body of the answer."},
			{Name: "echo", Kind: schema.Boolean, Required: true, Default: false, Doc: "Whether the answer shows the request."},
			{Name: "trigger", Kind: schema.String, Doc: "The header or query argument that a request must have to be answered.",
				Rules: entity.HeaderName("").Rules},
		},
	}}
}

// check judges what does not go together, in Kong's order.
func check(o schema.Object) string {
	echo, _ := o["echo"].(bool)
	status, _ := o["status_code"].(int64)
	switch {
	case o["message"] != nil && (o["content_type"] != nil || o["body"] != nil):
		return "message cannot be used with content_type or body"
	case o["content_type"] != nil && o["body"] == nil:
		return "content_type requires a body"
	case echo && o["body"] != nil:
		return "echo cannot be used with content_type and body"
	case status != 0 && status < 200:
		return "status_code must be 200 at least: what is below ends no request"
	}
	return ""
}

// Provision fills the defaults.
func (p *Plugin) Provision(ctx caddy.Context) error {
	if p.StatusCode == 0 {
		p.StatusCode = http.StatusServiceUnavailable
	}
	p.node = plugin.EnvOf(ctx).Node.String()
	p.hostname, _ = os.Hostname()
	return nil
}

// messages are those that go without saying.
var messages = map[int]string{
	401: "Unauthorized", 404: "Not found", 405: "Method not allowed",
	500: "An unexpected error occurred", 502: "Bad Gateway", 503: "Service unavailable",
}

// Access answers.
func (p *Plugin) Access(x *plugin.Exchange) error {
	if p.Trigger != "" && !p.triggered(x) {
		return nil
	}
	switch {
	case p.Echo:
		return plugin.Exit(p.StatusCode, p.echo(x))
	case p.Body != "":
		contentType := p.ContentType
		if contentType == "" {
			contentType = "application/json; charset=utf-8"
		}
		return plugin.Exit(p.StatusCode, p.Body, "Content-Type", contentType)
	case p.Message != "":
		return plugin.Exit(p.StatusCode, plugin.Message(p.Message))
	}
	if text := messages[p.StatusCode]; text != "" {
		return plugin.Exit(p.StatusCode, plugin.Message(text))
	}
	return plugin.Exit(p.StatusCode, nil)
}

func (p *Plugin) triggered(x *plugin.Exchange) bool {
	return x.Has(http.CanonicalHeaderKey(p.Trigger)) || x.URL().Query().Has(p.Trigger)
}

// maxEcho bounds the body that is shown, in bytes.
const maxEcho = 1 << 20

// echo is the answer that shows the request.
func (p *Plugin) echo(x *plugin.Exchange) any {
	r := x.Request()
	raw, err := x.Body(maxEcho)
	if err != nil && err != io.EOF {
		raw = nil
	}
	port, _ := strconv.Atoi(x.Port)
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	request := map[string]any{
		"scheme": x.Scheme, "host": host, "port": port, "headers": headers(x.Header(), r.Host), "query": arguments(x.Query()),
		"raw_body": string(raw), "method": r.Method, "path": r.URL.EscapedPath(), "uri_captures": captures(x.Captures),
	}
	if body := read(x.First("Content-Type"), raw); body != nil {
		request["body"] = body
	}
	answer := map[string]any{
		"kong":    map[string]any{"node_id": p.node, "worker_pid": os.Getpid(), "hostname": p.hostname},
		"request": request,
	}
	if p.Message != "" {
		answer["message"] = p.Message
	} else if text := messages[p.StatusCode]; text != "" {
		answer["message"] = text
	}
	if x.Route != nil {
		answer["matched_route"] = stored(x.Directory, "routes", x.Route.ID, x.Route)
	}
	if x.Service != nil {
		answer["matched_service"] = stored(x.Directory, "services", x.Service.ID, x.Service)
	}
	return answer
}

// read is what a body of JSON or of a form says; nil: it is neither
// (kong.request.get_body).
func read(contentType string, raw []byte) any {
	switch kind, _, _ := mime.ParseMediaType(contentType); kind {
	case "application/json":
		if json.Valid(raw) {
			return json.RawMessage(raw)
		}
	case "application/x-www-form-urlencoded":
		return arguments(string(raw))
	}
	return nil
}

// captures are those of the route's path, by name and by number.
func captures(c router.Captures) any {
	named, unnamed := map[string]string{}, make([]string, c.Len())
	for i, name := range c.Names() {
		text, _ := c.Group(i)
		if name != "" {
			named[name] = text
		}
		if i > 0 {
			unnamed[i-1] = text
		}
	}
	return map[string]any{"named": named, "unnamed": unnamed}
}

// stored is the row of an entity, in the form of the Admin API.
func stored(d plugin.Directory, table string, id uuid.UUID, otherwise any) any {
	if row, ok := d.Get(table, id); ok {
		return json.RawMessage(row.Data)
	}
	return otherwise
}

// arguments are those of a query or form, by name: true where there is no value,
// and a list only where there are several (kong.request.get_query).
func arguments(query string) map[string]any {
	values := map[string][]any{}
	for part := range strings.SplitSeq(query, "&") {
		name, value, has := strings.Cut(part, "=")
		name, err := url.QueryUnescape(name)
		text, err2 := url.QueryUnescape(value)
		switch {
		case name == "" || err != nil || err2 != nil:
		case has:
			values[name] = append(values[name], text)
		default:
			values[name] = append(values[name], true)
		}
	}
	return flat(values)
}

// headers are those of the request with Host, by their names in lower case
// (kong.request.get_headers).
func headers(h http.Header, host string) map[string]any {
	values := make(map[string][]string, len(h)+1)
	if host != "" {
		values["host"] = []string{host}
	}
	for name, v := range h {
		values[strings.ToLower(name)] = v
	}
	return flat(values)
}

// flat has a list only where there are several values.
func flat[T any](m map[string][]T) map[string]any {
	out := make(map[string]any, len(m))
	for name, values := range m {
		if len(values) == 1 {
			out[name] = values[0]
		} else {
			out[name] = values
		}
	}
	return out
}

// Interface guards
var (
	_ plugin.Described  = (*Plugin)(nil)
	_ plugin.Accessor   = (*Plugin)(nil)
	_ caddy.Provisioner = (*Plugin)(nil)
)
