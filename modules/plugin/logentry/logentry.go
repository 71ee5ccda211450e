// Package logentry writes what became of a request or a stream session as JSON:
// Kong's log object (kong/pdk/log.lua), which its logging plugins send.
package logentry

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// Of answers the log object of a request that is over: one line of JSON. Fields
// that are absent there in some cases are so here.
func Of(x *plugin.Exchange) []byte {
	o, r := &x.Outcome, x.Request()
	w := begin()
	w.object("request", func() {
		w.text("id", x.ID)
		w.text("uri", r.RequestURI)
		w.text("url", urlOf(x))
		w.strs("querystring", arguments(x.Query()))
		w.text("method", method(x))
		w.strs("headers", requestHeaders(x))
		w.number("size", o.RequestSize)
		w.tls(r.TLS)
	})
	w.text("upstream_uri", x.UpstreamURI())
	w.text("upstream_status", upstreamStatus(o))
	w.object("response", func() {
		w.number("status", int64(o.Status))
		w.strs("headers", lower(x.ResponseHeader()))
		w.number("size", o.ResponseSize)
	})
	w.object("latencies", func() { // in milliseconds
		w.number("kong", milli(o.Gateway))
		if o.Proxy >= 0 {
			w.number("proxy", milli(o.Proxy))
		} else {
			w.number("proxy", -1)
		}
		w.number("request", milli(o.Request))
		w.number("receive", milli(o.Receive))
	})
	if x.Service != nil {
		w.tries(o.Tries)
	}
	if c := x.Credential; c != nil {
		w.object("authenticated_entity", func() {
			w.id("id", c.ID)
			w.id("consumer_id", c.ConsumerID)
		})
	}
	w.place(x.Directory, x.Route, x.Service)
	if c := x.Consumer; c != nil {
		w.row(x.Directory, "consumer", "consumers", c.ID)
	}
	w.text("client_ip", x.ClientIP())
	w.number("started_at", x.Start.UnixMilli())
	if o.FromUpstream {
		w.text("source", "upstream")
	} else {
		w.text("source", "kong")
	}
	for i, n := range x.Noted() {
		if !replaced(x.Noted()[i+1:], n.Name) {
			w.any(n.Name, n.Value)
		}
	}
	return w.end()
}

// OfSession answers the log object of a TCP connection or UDP session that is
// over.
func OfSession(s *plugin.Session) []byte {
	o := &s.Outcome
	kong := o.Duration
	if n := len(o.Tries); n > 0 {
		kong = o.Tries[n-1].Start.Sub(s.Start)
	}
	w := begin()
	w.object("session", func() {
		w.tls(s.TLS)
		w.number("received", o.Received)
		w.number("sent", o.Sent)
		w.number("status", int64(o.Status))
		w.number("server_port", int64(s.Destination.Port()))
	})
	w.object("upstream", func() {
		w.number("received", o.Sent)
		w.number("sent", o.Received)
	})
	w.object("latencies", func() {
		w.number("kong", milli(kong))
		w.number("session", milli(o.Duration))
	})
	if s.Service != nil {
		w.tries(o.Tries)
	}
	w.place(s.Directory, s.Route, s.Service)
	w.text("client_ip", ip(s.Client.Addr()))
	w.number("started_at", s.Start.UnixMilli())
	return w.end()
}

func replaced(later []plugin.Noted, name string) bool {
	return slices.ContainsFunc(later, func(n plugin.Noted) bool { return n.Name == name })
}

// urlOf is what the client asked for, as far as the gateway knows.
func urlOf(x *plugin.Exchange) string {
	scheme := "http"
	if x.Request().TLS != nil {
		scheme = "https"
	}
	if x.Port == "" { // a Unix socket
		return scheme + "://" + x.Hostname + x.Request().RequestURI
	}
	return scheme + "://" + x.Hostname + ":" + x.Port + x.Request().RequestURI
}

func method(x *plugin.Exchange) string {
	if m := x.Changes().Method; m != "" {
		return m
	}
	return x.Method()
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

func ip(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.Unmap().String()
}

func milli(d time.Duration) int64 { return max(0, d.Milliseconds()) }

// requestHeaders are those that the service was to get of the client's, with
// Host, and without the values of Authorization and Proxy-Authorization.
func requestHeaders(x *plugin.Exchange) strs {
	h := lower(x.Header())
	if _, ok := h["host"]; !ok && x.Host() != "" {
		h["host"] = []string{x.Host()}
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
