package proxy

import (
	"net/http"
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
func (x *exchange) upstreamFields(out http1.Fields) http1.Fields {
	in := x.head.Fields
	var edits []plugin.Edit
	if x.plugins != nil {
		if u := x.plugins.Changes(); u.Header != nil {
			x.changed = x.changed[:0].AppendHeader(u.Header)
			in = x.changed
		} else {
			edits = u.Edits()
		}
	}
	var forwarded, prefix, via string
	connection := connectionNames(in)
	for i := range in {
		f := &in[i]
		switch f.Name {
		case "X-Forwarded-For":
			forwarded += f.Value + ", "
		case "X-Forwarded-Prefix":
			if prefix == "" && x.trusted {
				prefix = f.Value
			}
		case "Via":
			via += f.Value + ", "
		default:
			if perConnection(f.Name) || setHere(f.Name) || x.options.UpstreamRequestID && f.Name == "X-Kong-Request-Id" ||
				connection != nil && listsName(connection, f.Name) || edited(edits, f.Name) {
				continue
			}
			out = append(out, *f)
		}
	}

	set := func(name, value string) {
		if value != "" { // nginx sends no header without a value
			out = append(out, http1.Field{Name: name, Value: value})
		}
	}
	for i := range edits {
		if name := edits[i].Name; !perConnection(name) && !setHere(name) {
			if value := edits[i].Value[0]; value != "" {
				out = out.Append(name, value)
			}
		}
	}
	client := x.clientIP()
	set("X-Real-Ip", client)
	if forwarded != "" {
		set("X-Forwarded-For", forwarded+x.peerIP)
	} else {
		set("X-Forwarded-For", client)
	}
	set("X-Forwarded-Proto", x.forwardedProto)
	set("X-Forwarded-Host", x.forwardedHost)
	set("X-Forwarded-Port", x.forwardedPort)
	set("X-Forwarded-Path", x.forwardedPath)
	if prefix != "" {
		set("X-Forwarded-Prefix", prefix)
	} else if p := x.match.Prefix; x.match.Route.StripPath && p != "" && p != "/" {
		set("X-Forwarded-Prefix", p)
	}
	if x.options.UpstreamRequestID {
		set("X-Kong-Request-Id", x.id)
	}
	own := "1.1 " + kongVersion
	if v := protocolVersion(x.r); v != "1.1" {
		own = v + " " + kongVersion
	}
	set("Via", via+own)

	if hasToken(in, "Te", "trailers") {
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
func headerOf(fields http1.Fields) http.Header {
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
	return x.r.ProtoMajor == 1 && strings.EqualFold(x.head.Get("Upgrade"), "websocket") && hasToken(x.head.Fields, "Connection", "upgrade")
}

// endsHere reports the headers of a response that end at this hop, but Upgrade.
func endsHere(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Trailer":
		return true
	}
	return false
}

// connectionNames are the values of Connection if they name headers, which then end
// at this hop.
func connectionNames(in http1.Fields) []string {
	for i := range in {
		if in[i].Name == "Connection" {
			switch in[i].Value {
			case "keep-alive", "close", "Keep-Alive", "Close", "upgrade", "Upgrade":
			default:
				return in.Values("Connection")
			}
		}
	}
	return nil
}

// listsName reports whether Connection names a header.
func listsName(connection []string, name string) (found bool) {
	switch name {
	case "Close", "Keep-Alive", "Upgrade": // options of the connection
		return false
	}
	eachToken(connection, func(t string) { found = found || strings.EqualFold(t, name) })
	return found
}

// clientHead is the head of an upstream's response as the client gets it.
func (x *exchange) clientHead(t *try, resp *http.Response) *http1.Head {
	head := &t.reply.Head
	if resp.Header != nil { // of a transport of net/http
		head.Fields = head.Fields[:0].AppendHeader(resp.Header)
	}
	in, out := head.Fields, head.Fields[:0]
	on := x.options.Headers
	var server bool
	var via string
	connection := connectionNames(in)
	for i := range in {
		f := &in[i]
		switch f.Name {
		case "Upgrade":
			if !strings.EqualFold(f.Value, "websocket") || !x.wantsWebSocket() {
				continue
			}
		case "Server":
			server = true
		case "Via":
			if on&gateway.HeaderVia != 0 {
				via += f.Value + ", "
				continue
			}
		default:
			if endsHere(f.Name) || on&answerHeader(f.Name) != 0 || connection != nil && listsName(connection, f.Name) {
				continue
			}
		}
		out = append(out, *f)
	}

	set := func(name, value string) { out = append(out, http1.Field{Name: name, Value: value}) }
	if on&gateway.HeaderServer != 0 && !server {
		set("Server", kongVersion)
	}
	if on&gateway.HeaderVia != 0 {
		set("Via", via+x.via(x.match.Service.Protocol))
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
	if cookie := x.hashCookie(); cookie != "" {
		set("Set-Cookie", cookie)
	}
	for _, f := range x.debugFields() {
		out = append(out.Without(f.Name), f)
	}
	head.Fields = out
	return head
}

// answerHeader is the option that says whether the gateway sets a header of answers,
// in the place of the upstream's; 0 for those that it does not.
func answerHeader(name string) gateway.Header {
	switch name {
	case "X-Kong-Proxy-Latency":
		return gateway.HeaderProxyLatency
	case "X-Kong-Upstream-Latency":
		return gateway.HeaderUpstreamLatency
	case "X-Kong-Upstream-Status":
		return gateway.HeaderUpstreamStatus
	case "X-Kong-Request-Id":
		return gateway.HeaderRequestID
	}
	return 0
}

// commonHeaders sets the headers of every answer.
func (x *exchange) commonHeaders(h http.Header) {
	if x.options.Headers&gateway.HeaderRequestID != 0 {
		h["X-Kong-Request-Id"] = []string{x.id}
	}
	for _, f := range x.debugFields() {
		h[f.Name] = []string{f.Value}
	}
}

// debugFields tell what was matched, if the client asks and may know.
func (x *exchange) debugFields() (list http1.Fields) {
	if !x.options.AllowDebugHeader || !x.head.Has("Kong-Debug") {
		return nil
	}
	add := func(name, value string) {
		if value != "" {
			list = append(list, http1.Field{Name: name, Value: value})
		}
	}
	if r := x.match.Route; r != nil {
		add("Kong-Route-Id", r.ID.String())
		add("Kong-Route-Name", r.Name)
	}
	if s := x.match.Service; s != nil {
		add("Kong-Service-Id", s.ID.String())
		add("Kong-Service-Name", s.Name)
	}
	return list
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
func hasToken(in http1.Fields, name, token string) (found bool) {
	for i := range in {
		if in[i].Name == name {
			eachToken([]string{in[i].Value}, func(t string) { found = found || strings.EqualFold(t, token) })
		}
	}
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
