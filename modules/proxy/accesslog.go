package proxy

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/portcullis-gateway/portcullis/transparent"
)

// accessLog writes one line for each request that an engine has answered, in
// the shape of Caddy's own access logs, with what the gateway knows beside it.
type accessLog struct {
	logger      *zap.Logger
	credentials bool // whether Authorization, Cookie and their like are shown
}

// statusClientGone is what nginx logs for a client that left before the answer
// began.
const statusClientGone = 499

// log tells the access log what became of the request.
func (x *exchange) log() {
	if x.site != nil && x.match.Route != nil {
		for _, f := range x.story() {
			x.site.Set(f)
		}
	}
	if x.access == nil {
		return
	}
	if x.status == 0 && x.clientGone() {
		x.status = statusClientGone
	}
	level := zapcore.InfoLevel
	if x.status >= http.StatusInternalServerError {
		level = zapcore.ErrorLevel
	}
	c := x.access.logger.Check(level, "handled request")
	if c == nil {
		return
	}
	fields := append(make([]zap.Field, 0, 20),
		zap.Object("request", loggedRequest{x}),
		zap.Int64("bytes_read", x.received()),
		zap.Duration("duration", time.Since(x.start)),
		zap.Int64("size", x.sent),
		zap.Int("status", x.status),
		zap.Object("resp_headers", caddyhttp.LoggableHTTPHeader{
			Header: x.w.Header(), ShouldLogCredentials: x.access.credentials,
		}))
	c.Write(append(fields, x.story()...)...)
}

// received is how many bytes of the client's body have been read.
func (x *exchange) received() int64 {
	if x.last != nil && x.last.streams {
		return x.last.received.Load()
	}
	return int64(len(x.body.small))
}

// story is what the gateway did with the request.
func (x *exchange) story() []zap.Field {
	fields := append(make([]zap.Field, 0, 10), zap.String("request_id", x.id))
	if x.intercepts || x.arrived != transparent.Unknown {
		fields = append(fields, zap.Stringer("arrived", x.arrived), zap.Stringer("destination", x.routing.Destination))
	}
	if r := x.match.Route; r != nil {
		fields = append(fields, zap.Stringer("route_id", r.ID))
		if r.Name != "" {
			fields = append(fields, zap.String("route", r.Name))
		}
	}
	if s := x.match.Service; s != nil {
		fields = append(fields, zap.Stringer("service_id", s.ID))
		if s.Name != "" {
			fields = append(fields, zap.String("service", s.Name))
		}
		if u := x.upstream(); u != nil {
			fields = append(fields, zap.String("upstream", u.Name))
		}
	}
	if x.tries == 0 {
		return fields
	}
	fields = append(fields, zap.String("target", x.last.target), zap.Int("tries", x.tries))
	gateway := x.sentAt.Sub(x.start)
	if x.waited == 0 { // no response
		return append(fields, zap.Dict("latencies", zap.Duration("gateway", gateway)))
	}
	return append(fields, zap.Dict("latencies", zap.Duration("gateway", gateway), zap.Duration("upstream", x.waited)))
}

// loggedRequest is the request as Caddy logs it. Caddy keeps the client's
// address in variables of its own, which the gateway does not make.
type loggedRequest struct{ x *exchange }

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (l loggedRequest) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	l.x.header()
	enc.AddString("client_ip", l.x.clientIP())
	return caddyhttp.LoggableHTTPRequest{
		Request:              l.x.r,
		ShouldLogCredentials: l.x.access.credentials,
	}.MarshalLogObject(enc)
}
