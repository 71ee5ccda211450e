package proxy

import (
	"cmp"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
)

// nginxMessages are the texts of errors that Kong leaves to nginx
// (kong/error_handlers.lua).
var nginxMessages = map[int]string{
	400: "Bad request",
	404: "Not found",
	405: "Method not allowed",
	408: "Request timeout",
	411: "Length required",
	412: "Precondition failed",
	413: "Payload too large",
	414: "URI too long",
	417: "Expectation failed",
	500: "An unexpected error occurred",
	502: "An invalid response was received from the upstream server",
	503: "The upstream server is currently unavailable",
	504: "The upstream server is timing out",
}

func nginxMessage(status int) string {
	if message := nginxMessages[status]; message != "" {
		return message
	}
	return "The upstream server responded with " + strconv.Itoa(status)
}

// refuse answers with an error that Kong raises itself. Where the client does
// not say which type of content it accepts, it gets JSON.
func (x *exchange) refuse(status int, message string) {
	x.answer(status, message, bodyType(accept(x.head.Values("Accept"), "application/json")))
}

// fail answers with an error that, in Kong, nginx raises. Where the client
// does not say which type of content it accepts, it gets that of its own body,
// or error_default_type.
func (x *exchange) fail(status int) {
	preferred := x.options.ErrorDefaultType
	if t := x.head.Get("Content-Type"); t != "" {
		preferred = t
	}
	x.answer(status, nginxMessage(status), bodyType(accept(x.head.Values("Accept"), preferred)))
}

// WriteError answers a request with an error in Kong's shape, in place of an
// engine. Without a message the text is the one that goes with the status.
func WriteError(w http.ResponseWriter, r *http.Request, status int, message, id string) {
	h := w.Header()
	message = cmp.Or(message, messages[status], nginxMessage(status))
	if grpcType(r.Header.Get("Content-Type")) {
		h["Content-Type"], h["Content-Length"] = []string{"application/grpc"}, []string{"0"}
		h["Grpc-Status"], h["Grpc-Message"] = []string{strconv.Itoa(grpcStatus(status))}, []string{message}
		w.WriteHeader(status)
		return
	}
	t := bodyType(accept(r.Header["Accept"], "application/json"))
	text := t.before + message + t.between + id + t.after
	h["Content-Type"], h["Content-Length"] = []string{t.contentType}, []string{strconv.Itoa(len(text))}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // a client that has gone needs no error
}

// refusal is the body of an error about something that is no request at all.
func (e *Engine) refusal(status int) (contentType, body string) {
	t := bodyType(e.options.ErrorDefaultType)
	return t.contentType, t.before + nginxMessage(status) + t.between + requestID() + t.after
}

// answer writes an error. A gRPC client gets it in headers.
func (x *exchange) answer(status int, message string, t template) {
	if x.isGRPC() {
		x.answerGRPC(status, grpcStatus(status), message)
		return
	}
	h := x.w.Header()
	x.ownHeaders(h, status)
	text := t.before + message + t.between + x.id + t.after
	h["Content-Type"] = []string{t.contentType}
	h["Content-Length"] = []string{strconv.Itoa(len(text))}
	// A client that receives nothing must not hold the connection for ever; one
	// that left needs no error.
	control := http.NewResponseController(x.w)
	_ = control.SetWriteDeadline(time.Now().Add(time.Duration(x.timeouts.Send)))
	x.writeHead(status)
	n, _ := x.w.Write([]byte(text))
	x.sent = int64(n)
	_ = control.Flush()
	_ = control.SetWriteDeadline(time.Time{})
}

// answerGRPC writes a status that gRPC clients understand, without a body.
func (x *exchange) answerGRPC(status, code int, message string) {
	h := x.w.Header()
	x.ownHeaders(h, status)
	h["Content-Type"] = []string{"application/grpc"}
	h["Grpc-Status"] = []string{strconv.Itoa(code)}
	h["Grpc-Message"] = []string{message}
	x.answerEmpty(status)
}

// answerEmpty writes the head of an answer that has no body.
func (x *exchange) answerEmpty(status int) {
	x.w.Header()["Content-Length"] = []string{"0"}
	x.writeHead(status)
}

// ownHeaders sets the headers of an answer that is not an upstream's.
func (x *exchange) ownHeaders(h http.Header, status int) {
	on := x.options.Headers
	if on&gateway.HeaderServer != 0 {
		h["Server"] = []string{kongVersion}
	}
	if x.sentAt.IsZero() {
		if on&gateway.HeaderResponseLatency != 0 {
			h["X-Kong-Response-Latency"] = []string{milliseconds(time.Since(x.start))}
		}
	} else { // an upstream was asked, so it counts as proxied
		if on&gateway.HeaderVia != 0 {
			h["Via"] = []string{x.via(x.match.Service.Protocol)}
		}
		if on&gateway.HeaderProxyLatency != 0 {
			h["X-Kong-Proxy-Latency"] = []string{milliseconds(x.sentAt.Sub(x.start))}
		}
		if on&gateway.HeaderUpstreamStatus != 0 {
			h["X-Kong-Upstream-Status"] = []string{strconv.Itoa(status)}
		}
		if cookie := x.hashCookie(); cookie != "" {
			h["Set-Cookie"] = append(slices.Clip(h["Set-Cookie"]), cookie)
		}
	}
	x.commonHeaders(h)
}

// wrongProtocol answers what tells a client that the route does not allow its
// protocol; nil: it does (kong/runloop/handler.lua, before access).
func (x *exchange) wrongProtocol() (answer func()) {
	route := x.match.Route
	encrypted := x.forwardedProto == "https"
	if !route.GRPC {
		if route.Encrypted && !encrypted {
			return func() { x.redirect(route.HTTPSRedirectStatusCode) }
		}
		return nil
	}
	switch {
	case !x.isGRPC():
		return func() { x.refuse(http.StatusUnsupportedMediaType, "Non-gRPC request matched gRPC route") }
	case x.r.ProtoMajor != 2:
		return func() {
			x.offerUpgrade("HTTP/2")
			x.refuse(http.StatusUpgradeRequired, "Please use HTTP2 protocol")
		}
	case route.Encrypted && !encrypted:
		return func() { x.answerGRPC(http.StatusOK, 1, "gRPC request matched gRPCs route") }
	}
	return nil
}

// redirect sends the client to the same place over TLS, or tells it to go.
func (x *exchange) redirect(status int) {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		if !unbroken(x.forwardedHost) {
			x.fail(http.StatusBadRequest)
			return
		}
		h := x.w.Header()
		x.ownHeaders(h, status)
		h["Location"] = []string{"https://" + x.forwardedHost + x.path + x.query}
		x.answerEmpty(status)
	default:
		x.offerUpgrade("TLS/1.2, HTTP/1.1")
		x.refuse(http.StatusUpgradeRequired, "Please use HTTPS protocol")
	}
}

// offerUpgrade sets the headers that go with a 426. HTTP/2 forbids them (RFC
// 9113, section 8.2.2).
func (x *exchange) offerUpgrade(protocol string) {
	if x.r.ProtoMajor < 2 {
		h := x.w.Header()
		h["Connection"] = []string{"Upgrade"}
		h["Upgrade"] = []string{protocol}
	}
}

// isGRPC reports whether the request speaks gRPC.
func (x *exchange) isGRPC() bool { return grpcType(x.head.Get("Content-Type")) }

func grpcType(contentType string) bool { return strings.HasPrefix(contentType, "application/grpc") }

// grpcStatus is the gRPC status that says what an HTTP status does
// (kong/pdk/response.lua).
func grpcStatus(status int) int {
	switch status {
	case 200:
		return 0
	case 401:
		return 16
	case 403:
		return 7
	case 404:
		return 5
	case 409:
		return 6
	case 429:
		return 8
	case 499:
		return 1
	case 501:
		return 12
	case 503:
		return 14
	case 504:
		return 4
	}
	switch status / 100 {
	case 4:
		return 3
	case 5:
		return 13
	}
	return 2
}

// A template is an error body; message and request id go into its gaps, as
// they are.
type template struct{ contentType, before, between, after string }

var templates = map[string]template{
	"application/json": {
		"application/json; charset=utf-8",
		"{\n  \"message\":\"", "\",\n  \"request_id\":\"", "\"\n}",
	},
	"text/plain": {"text/plain; charset=utf-8", "", "\nrequest_id: ", "\n"},
	"text/html": {
		"text/html; charset=utf-8",
		"<!doctype html>\n<html>\n  <head>\n    <meta charset=\"utf-8\">\n    <title>Error</title>\n  </head>\n" +
			"  <body>\n    <h1>Error</h1>\n    <p>",
		".</p>\n    <p>request_id: ", "</p>\n  </body>\n</html>\n",
	},
	"application/xml": {
		"application/xml; charset=utf-8",
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>\n  <message>", "</message>\n  <requestid>", "</requestid>\n</error>",
	},
}

// accept is what the client says it accepts, or otherwise.
func accept(values []string, otherwise string) string {
	if len(values) > 0 {
		return strings.Join(values, ",")
	}
	return otherwise
}

// bodyType chooses the body for a list of accepted types: the one with the
// highest quality that comes first. Unknown types stand for JSON.
func bodyType(accepted string) template {
	best, bestQ := "", -1.0
	for item := range strings.SplitSeq(accepted, ",") {
		name, params, _ := strings.Cut(item, ";")
		if q := quality(params); q > bestQ {
			best, bestQ = strings.ToLower(strings.TrimSpace(name)), q
		}
	}
	if best == "text/*" {
		best = "text/plain"
	}
	if t, ok := templates[best]; ok {
		return t
	}
	return templates["application/json"]
}

// quality reads the q of a media type's parameters; 1 if there is none.
func quality(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		if name, value, ok := strings.Cut(p, "="); ok && strings.EqualFold(strings.TrimSpace(name), "q") {
			if q, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil {
				return q
			}
		}
	}
	return 1
}

// milliseconds is a latency as headers tell it.
func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
