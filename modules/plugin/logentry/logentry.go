// Package logentry writes what became of a request or a stream session as JSON:
// Kong's log object (kong/pdk/log.lua), which its logging plugins send.
package logentry

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// An entry has the fields of Kong's log object. Those that are absent there in
// some cases are so here.
type entry struct {
	Request        *request  `json:"request,omitempty"`
	UpstreamURI    *string   `json:"upstream_uri,omitempty"`
	UpstreamStatus *string   `json:"upstream_status,omitempty"`
	Response       *response `json:"response,omitempty"`
	Session        *session  `json:"session,omitempty"`
	Upstream       *counts   `json:"upstream,omitempty"`

	Latencies     any             `json:"latencies"`
	Tries         []try           `json:"tries,omitzero"`
	Authenticated *authenticated  `json:"authenticated_entity,omitempty"`
	Route         json.RawMessage `json:"route,omitempty"`
	Service       json.RawMessage `json:"service,omitempty"`
	Consumer      json.RawMessage `json:"consumer,omitempty"`
	ClientIP      string          `json:"client_ip"`
	StartedAt     int64           `json:"started_at"` // milliseconds
	Source        string          `json:"source,omitempty"`
	Workspace     string          `json:"workspace"`
	WorkspaceName string          `json:"workspace_name"`
}

type request struct {
	ID          string  `json:"id"`
	URI         string  `json:"uri"`
	URL         string  `json:"url"`
	QueryString strs    `json:"querystring"`
	Method      string  `json:"method"`
	Headers     strs    `json:"headers"`
	Size        int64   `json:"size"`
	TLS         *secure `json:"tls,omitempty"`
}

type response struct {
	Status  int   `json:"status"`
	Headers strs  `json:"headers"`
	Size    int64 `json:"size"`
}

type session struct {
	TLS        *secure `json:"tls,omitempty"`
	Received   int64   `json:"received"`
	Sent       int64   `json:"sent"`
	Status     int     `json:"status"`
	ServerPort int     `json:"server_port"`
}

// counts are of the connection to the service, in bytes.
type counts struct {
	Received int64 `json:"received"`
	Sent     int64 `json:"sent"`
}

// Latencies are in milliseconds.
type (
	httpLatencies struct {
		Kong    int64 `json:"kong"`
		Proxy   int64 `json:"proxy"` // -1: it was not passed on
		Request int64 `json:"request"`
		Receive int64 `json:"receive"`
	}
	streamLatencies struct {
		Kong    int64 `json:"kong"`
		Session int64 `json:"session"`
	}
)

type try struct {
	IP         string `json:"ip"`
	Port       uint16 `json:"port"`
	Start      int64  `json:"balancer_start"`
	StartNS    int64  `json:"balancer_start_ns"`
	Latency    int64  `json:"balancer_latency"`
	LatencyNS  int64  `json:"balancer_latency_ns"`
	State      string `json:"state,omitempty"`
	StatusCode int    `json:"code,omitempty"`
}

type authenticated struct {
	ID         string `json:"id,omitempty"`
	ConsumerID string `json:"consumer_id,omitempty"`
}

// Of answers the log object of a request that is over: one line of JSON.
func Of(x *plugin.Exchange) []byte {
	o := &x.Outcome
	r := x.Request
	status := upstreamStatus(o)
	e := &entry{
		Request: &request{
			ID: x.ID, URI: r.RequestURI, URL: urlOf(x), QueryString: arguments(x.Query()), Method: method(x),
			Headers: requestHeaders(x), Size: o.RequestSize, TLS: secureOf(r.TLS),
		},
		UpstreamURI:    &o.UpstreamURI,
		UpstreamStatus: &status,
		Response:       &response{Status: o.Status, Headers: lower(x.ResponseHeader()), Size: o.ResponseSize},
		Latencies:      httpLatencies{milli(o.Gateway), -1, milli(o.Request), milli(o.Receive)},
		Tries:          tries(o.Tries, x.Service != nil),
		ClientIP:       x.ClientIP(),
		StartedAt:      x.Start.UnixMilli(),
		Source:         "kong",
	}
	if o.Proxy >= 0 {
		e.Latencies = httpLatencies{milli(o.Gateway), milli(o.Proxy), milli(o.Request), milli(o.Receive)}
	}
	if o.FromUpstream {
		e.Source = "upstream"
	}
	if c := x.Credential; c != nil {
		e.Authenticated = &authenticated{text(c.ID), text(c.ConsumerID)}
	}
	if c := x.Consumer; c != nil {
		e.Consumer = row(x.Directory, "consumers", c.ID)
	}
	e.place(x.Directory, x.Route, x.Service)
	return e.encode(x.Noted())
}

// OfSession answers the log object of a TCP connection or UDP session that is
// over.
func OfSession(s *plugin.Session) []byte {
	o := &s.Outcome
	kong := o.Duration
	if n := len(o.Tries); n > 0 {
		kong = o.Tries[n-1].Start.Sub(s.Start)
	}
	e := &entry{
		Session: &session{TLS: secureOf(s.TLS), Received: o.Received, Sent: o.Sent, Status: o.Status,
			ServerPort: int(s.Destination.Port())},
		Upstream:  &counts{Received: o.Sent, Sent: o.Received},
		Latencies: streamLatencies{milli(kong), milli(o.Duration)},
		Tries:     tries(o.Tries, s.Service != nil),
		ClientIP:  ip(s.Client.Addr()),
		StartedAt: s.Start.UnixMilli(),
	}
	e.place(s.Directory, s.Route, s.Service)
	return e.encode(nil)
}

// place tells of the route and the service, in the form of the Admin API.
func (e *entry) place(d plugin.Directory, r *entity.Route, s *entity.Service) {
	if r != nil {
		e.Route = row(d, "routes", r.ID)
	}
	if s != nil {
		e.Service = row(d, "services", s.ID)
	}
	e.Workspace, e.WorkspaceName = workspace, "default"
}

var workspace = entity.DefaultWorkspace.String()

// row is a row as it is stored, which is Kong's form of it without what is
// unset, and with the workspace that it is in.
func row(d plugin.Directory, table string, id uuid.UUID) json.RawMessage {
	r, ok := d.Get(table, id)
	if !ok || len(r.Data) < 2 {
		return json.RawMessage(`{"id":"` + id.String() + `"}`)
	}
	const more = `,"ws_id":"`
	b := make([]byte, 0, len(r.Data)+len(more)+len(workspace)+2)
	b = append(b, r.Data[:len(r.Data)-1]...)
	b = append(b, more...)
	b = append(b, workspace...)
	return append(b, `"}`...)
}

// encode writes the entry, with what plugins have noted.
func (e *entry) encode(noted []plugin.Noted) []byte {
	var buf bytes.Buffer
	buf.Grow(2048)
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil { // of values that cannot fail
		return []byte(`{}`)
	}
	for i, n := range noted {
		if replaced(noted[i+1:], n.Name) {
			continue
		}
		buf.Truncate(buf.Len() - len("}\n"))
		buf.WriteByte(',')
		if err := member(&buf, enc, n); err != nil {
			buf.WriteString("null")
		}
		buf.WriteString("}\n")
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

func member(buf *bytes.Buffer, enc *json.Encoder, n plugin.Noted) error {
	for i, v := range []any{n.Name, n.Value} {
		if i > 0 {
			buf.WriteByte(':')
		}
		if err := enc.Encode(v); err != nil {
			return err
		}
		buf.Truncate(buf.Len() - 1)
	}
	return nil
}

func replaced(later []plugin.Noted, name string) bool {
	for _, n := range later {
		if n.Name == name {
			return true
		}
	}
	return false
}

// urlOf is what the client asked for, as far as the gateway knows.
func urlOf(x *plugin.Exchange) string {
	scheme := "http"
	if x.Request.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + x.Hostname + ":" + x.Port + x.Request.RequestURI
}

func method(x *plugin.Exchange) string {
	if m := x.Changes().Method; m != "" {
		return m
	}
	return x.Request.Method
}

// upstreamStatus is nginx's $upstream_status: of all tries.
func upstreamStatus(o *plugin.Outcome) string {
	var b strings.Builder
	add := func(status int) {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.Itoa(status))
	}
	for _, t := range o.Tries {
		if t.Code != 0 {
			add(t.Code)
		}
	}
	if o.UpstreamStatus != 0 {
		add(o.UpstreamStatus)
	}
	return b.String()
}

// tries are an empty list if a service was to be asked and was not.
func tries(list []plugin.Try, service bool) []try {
	if !service {
		return nil
	}
	out := make([]try, len(list))
	for i, t := range list {
		out[i] = try{
			IP: ip(t.Address.Addr()), Port: t.Address.Port(),
			Start: t.Start.UnixMilli(), StartNS: t.Start.UnixNano(),
			Latency: milli(t.Duration), LatencyNS: int64(t.Duration),
			State: t.State, StatusCode: t.Code,
		}
	}
	return out
}

func ip(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.Unmap().String()
}

func text(id uuid.UUID) string {
	if id == uuid.Nil {
		return ""
	}
	return id.String()
}

func milli(d time.Duration) int64 { return max(0, d.Milliseconds()) }

// requestHeaders are those that the service was to get of the client's, with
// Host, and without the values of Authorization and Proxy-Authorization.
func requestHeaders(x *plugin.Exchange) strs {
	h := lower(x.Header())
	if _, ok := h["host"]; !ok && x.Request.Host != "" {
		h["host"] = []string{x.Request.Host}
	}
	for _, name := range []string{"authorization", "proxy-authorization"} {
		if _, ok := h[name]; ok {
			h[name] = []string{"REDACTED"}
		}
	}
	return h
}

// lower has the names in lower case, as nginx tells them.
func lower(h http.Header) strs {
	out := make(strs, len(h))
	for name, values := range h {
		if len(values) > 0 {
			out[strings.ToLower(name)] = values
		}
	}
	return out
}

// strs are values by name: one is text, several are a list. An empty list means
// that the name stands there without a value.
type strs map[string][]string

// MarshalJSON writes true for a name without a value, as nginx's Lua has it.
func (s strs) MarshalJSON() ([]byte, error) {
	out := make(map[string]any, len(s))
	for name, values := range s {
		switch len(values) {
		case 0:
			out[name] = true
		case 1:
			out[name] = values[0]
		default:
			out[name] = values
		}
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(out)
	return buf.Bytes(), err
}

// maxArguments is how many arguments of a query are told.
const maxArguments = 100

// arguments reads a query in the way of ngx.req.get_uri_args: what cannot be
// decoded stays as it is.
func arguments(query string) strs {
	out := strs{}
	n := 0
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		if n++; n > maxArguments {
			break
		}
		name, value, has := strings.Cut(part, "=")
		name = decoded(name)
		if name == "" {
			continue
		}
		before, known := out[name]
		switch {
		case has:
			out[name] = append(before, decoded(value))
		case !known:
			out[name] = nil
		}
	}
	return out
}

func decoded(s string) string {
	if t, err := url.QueryUnescape(s); err == nil {
		return t
	}
	return s
}

// CustomFields is the field custom_fields_by_lua of Kong's logging plugins. This
// gateway runs no Lua, so it takes none.
func CustomFields() schema.Field {
	return schema.Field{Name: "custom_fields_by_lua", Kind: schema.Map,
		Keys: &schema.Field{Kind: schema.String}, Elem: &schema.Field{Kind: schema.String},
		Doc: "Must be empty: this gateway runs no Lua.",
		Rules: []schema.Rule{{Test: func(v any) string {
			if m, ok := v.(schema.Object); ok && len(m) > 0 {
				return "must be empty: this gateway runs no Lua"
			}
			return ""
		}}}}
}
