package proxy

import (
	"maps"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/http1"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
)

// perConnection reports the request headers that end at this hop (RFC 9110,
// section 7.6.1, and what nginx keeps to itself). TE, Connection and Upgrade
// are set anew where they are needed.
func perConnection(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect",
		"Host", "Content-Length": // net/http has them in fields
		return true
	}
	return false
}

// setHere reports the request headers that the gateway sets itself, whatever the
// client says.
func setHere(name string) bool {
	switch name {
	case "X-Real-Ip", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Path",
		"X-Forwarded-Prefix", "Via":
		return true
	}
	return false
}

// upstreamFields appends the headers of the request to the upstream.
func (x *exchange) upstreamFields(out []http1.Field) []http1.Field {
	in := x.r.Header
	var edits []plugin.Edit
	if x.plugins != nil {
		if u := x.plugins.Changes(); u.Header != nil {
			in = u.Header
		} else {
			edits = u.Edits()
		}
	}
	connection := in["Connection"]
	for name, values := range in {
		if perConnection(name) || setHere(name) || x.options.UpstreamRequestID && name == "X-Kong-Request-Id" ||
			connection != nil && hasToken(connection, name) || edited(edits, name) {
			continue
		}
		for _, v := range values {
			out = append(out, http1.Field{Name: name, Value: v})
		}
	}

	set := func(name, value string) {
		if value != "" { // nginx sends no header without a value
			out = append(out, http1.Field{Name: name, Value: value})
		}
	}
	for i := range edits {
		if name := edits[i].Name; !perConnection(name) && !setHere(name) {
			set(name, edits[i].Value[0])
		}
	}
	client := x.clientIP()
	set("X-Real-Ip", client)
	if list := in["X-Forwarded-For"]; len(list) > 0 {
		set("X-Forwarded-For", strings.Join(list, ", ")+", "+ipText(x.peer))
	} else {
		set("X-Forwarded-For", client)
	}
	set("X-Forwarded-Proto", x.forwardedProto)
	set("X-Forwarded-Host", x.forwardedHost)
	set("X-Forwarded-Port", x.forwardedPort)
	set("X-Forwarded-Path", x.forwardedPath)
	if prefix := in.Get("X-Forwarded-Prefix"); x.trusted && prefix != "" {
		set("X-Forwarded-Prefix", prefix)
	} else if p := x.match.Prefix; x.match.Route.StripPath && p != "" && p != "/" {
		set("X-Forwarded-Prefix", p)
	}
	if x.options.UpstreamRequestID {
		set("X-Kong-Request-Id", x.id)
	}
	via := "1.1 " + kongVersion
	if v := protocolVersion(x.r); v != "1.1" {
		via = v + " " + kongVersion
	}
	if list := in["Via"]; len(list) > 0 {
		via = strings.Join(list, ", ") + ", " + via
	}
	set("Via", via)

	if hasToken(in["Te"], "trailers") {
		set("Te", "trailers")
	}
	switch {
	case overHTTP2(x.match.Service.Protocol): // has no Connection header
	case x.wantsWebSocket():
		set("Connection", "keep-alive, Upgrade")
		set("Upgrade", "websocket")
	default:
		set("Connection", "keep-alive")
	}
	return out
}

// edited reports whether plugins have set or deleted the header.
func edited(edits []plugin.Edit, name string) bool {
	for i := range edits {
		if edits[i].Name == name {
			return true
		}
	}
	return false
}

// headerOf is the same as transports of net/http want it.
func headerOf(fields []http1.Field) http.Header {
	h := make(http.Header, len(fields)+1)
	h["User-Agent"] = nil // else net/http would send its own
	for _, f := range fields {
		h[f.Name] = append(h[f.Name], f.Value)
	}
	return h
}

// wantsWebSocket reports whether the client asks to change to the WebSocket
// protocol, the only one that Kong passes on.
func (x *exchange) wantsWebSocket() bool {
	h := x.r.Header
	return x.r.ProtoMajor == 1 && strings.EqualFold(h.Get("Upgrade"), "websocket") && hasToken(h["Connection"], "upgrade")
}

// endHop removes the headers of a response that end at this hop, but Upgrade.
func endHop(h http.Header) {
	if list := h["Connection"]; list != nil {
		endNamed(h, list)
	}
	for _, name := range [...]string{"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Trailer"} {
		delete(h, name)
	}
}

// endNamed removes the headers that Connection names.
func endNamed(h http.Header, list []string) {
	eachToken(list, func(token string) {
		switch name := textproto.CanonicalMIMEHeaderKey(token); name {
		case "Close", "Keep-Alive", "Upgrade":
		default:
			delete(h, name)
		}
	})
}

// clientHeader copies the headers of an upstream's response to the client's, where
// they are not there already. What was there before stays: the server may have set
// Connection.
func (x *exchange) clientHeader(t *try, resp *http.Response) {
	h, in := x.w.Header(), resp.Header
	endHop(in)
	if u := in.Get("Upgrade"); u != "" && !(x.wantsWebSocket() && strings.EqualFold(u, "websocket")) {
		delete(in, "Upgrade")
	}
	if t.reply.Into == nil || resp != &t.reply.Response {
		maps.Copy(h, in)
	}
	if _, ok := in["Content-Type"]; !ok {
		h["Content-Type"] = nil // else net/http would guess one
	}

	one := t.values[:0]
	set := func(name, value string) {
		one = append(one, value)
		h[name] = one[len(one)-1 : len(one) : len(one)]
	}
	on := x.options.Headers
	if on&gateway.HeaderServer != 0 && len(in["Server"]) == 0 {
		set("Server", kongVersion)
	}
	if on&gateway.HeaderVia != 0 {
		via := x.via(x.match.Service.Protocol)
		if list := in["Via"]; len(list) > 0 {
			via = strings.Join(list, ", ") + ", " + via
		}
		set("Via", via)
	}
	if on&gateway.HeaderProxyLatency != 0 {
		set("X-Kong-Proxy-Latency", milliseconds(x.sentAt.Sub(x.start)))
	}
	if on&gateway.HeaderUpstreamLatency != 0 {
		set("X-Kong-Upstream-Latency", milliseconds(x.waited))
	}
	if on&gateway.HeaderUpstreamStatus != 0 {
		set("X-Kong-Upstream-Status", strconv.Itoa(resp.StatusCode))
	}
	if on&gateway.HeaderRequestID != 0 {
		set("X-Kong-Request-Id", x.id)
	}
	x.setHashCookie(h)
	x.debugHeaders(h)
}

// commonHeaders sets the headers of every answer.
func (x *exchange) commonHeaders(h http.Header) {
	if x.options.Headers&gateway.HeaderRequestID != 0 {
		h["X-Kong-Request-Id"] = []string{x.id}
	}
	x.debugHeaders(h)
}

// debugHeaders tells what was matched, if the client asks and may know.
func (x *exchange) debugHeaders(h http.Header) {
	if !x.options.AllowDebugHeader || len(x.r.Header["Kong-Debug"]) == 0 {
		return
	}
	if r := x.match.Route; r != nil {
		h["Kong-Route-Id"] = []string{r.ID.String()}
		if r.Name != "" {
			h["Kong-Route-Name"] = []string{r.Name}
		}
	}
	if s := x.match.Service; s != nil {
		h["Kong-Service-Id"] = []string{s.ID.String()}
		if s.Name != "" {
			h["Kong-Service-Name"] = []string{s.Name}
		}
	}
}

// via is this hop's entry of the header Via in a response.
func (x *exchange) via(protocol string) string {
	if overHTTP2(protocol) {
		return "2 " + kongVersion
	}
	return "1.1 " + kongVersion
}

// protocolVersion is the version of HTTP that the client speaks.
func protocolVersion(r *http.Request) string {
	switch {
	case r.ProtoMajor == 2:
		return "2"
	case r.ProtoMajor == 3:
		return "3"
	case r.ProtoMinor == 0:
		return "1.0"
	}
	return "1.1"
}

// overHTTP2 reports whether a service is spoken to in HTTP/2.
func overHTTP2(protocol string) bool { return protocol == "grpc" || protocol == "grpcs" }

// hasToken reports whether a list header has the token, in any case.
func hasToken(values []string, token string) (found bool) {
	eachToken(values, func(t string) { found = found || strings.EqualFold(t, token) })
	return found
}

// eachToken goes through the comma separated words of a header's values,
// without their parameters.
func eachToken(values []string, f func(token string)) {
	for _, v := range values {
		for item := range strings.SplitSeq(v, ",") {
			item, _, _ = strings.Cut(item, ";")
			if item = strings.TrimSpace(item); item != "" {
				f(item)
			}
		}
	}
}
