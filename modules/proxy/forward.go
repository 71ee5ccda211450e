package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/dial"
	"github.com/portcullis-gateway/portcullis/modules/router"
	"github.com/portcullis-gateway/portcullis/modules/snapshot"
)

// forward passes the request to its service: to as many targets, one after the
// other, as it takes and as may be.
func (x *exchange) forward() {
	s, route := x.match.Service, x.match.Route
	transport := x.transport(s.Protocol)
	if transport == nil {
		x.logger.Error("service has a protocol that HTTP requests cannot be passed to",
			x.fields(zap.String("protocol", s.Protocol))...)
		x.fail(http.StatusInternalServerError)
		return
	}
	upstream := x.upstream()
	if upstream != nil && upstream.Err != nil {
		x.logger.Error("upstream cannot be used", x.fields(zap.String("upstream", upstream.Name), zap.Error(upstream.Err))...)
		x.fail(http.StatusInternalServerError)
		return
	}
	path := router.UpstreamPath(s.Path, x.routing.Path, x.match.Prefix, route.StripPath, route.PathHandling)
	bodyRead := false
	for n := 0; ; n++ {
		host, port, ok := x.destination(upstream)
		if !ok {
			x.logger.Error("upstream has no target", x.fields(zap.String("upstream", upstream.Name))...)
			x.refuse(http.StatusServiceUnavailable, "failure to get a peer from the ring-balancer")
			return
		}
		if !bodyRead {
			if err := x.takeBody(); err != nil {
				x.failBody(err)
				return
			}
			bodyRead = true
			x.sentAt = time.Now()
		}
		hostHeader := x.hostHeader(upstream, host, port)
		t, req := x.newTry(x.dialFor(upstream, host, port, hostHeader), scheme(s.Protocol), hostHeader, path)
		x.last = t
		x.tries++
		resp, err := transport.RoundTrip(req)
		t.settle()
		if err == nil {
			x.respond(t, resp)
			return
		}
		f := x.failureOf(t, err)
		t.end()
		again := n < s.Retries && x.mayRetry(t, f)
		x.logFailure(upstream, t, f, again)
		if !again {
			f.answer(x)
			return
		}
	}
}

// upstream is the upstream that the service's host names; nil if it is a host
// of the network.
func (x *exchange) upstream() *snapshot.Upstream {
	u, _ := x.snapshot.Upstream(x.match.Service.Host)
	return u
}

// destination is the host and port for the next try; false if the upstream has
// no target.
func (x *exchange) destination(u *snapshot.Upstream) (host string, port int, ok bool) {
	if u == nil {
		return x.match.Service.Host, x.match.Service.Port, true
	}
	var picker balancer.Picker = u.Ring
	t, ok := picker.Pick(x.wire.balancers.Of(u.ID), &x.tried)
	if !ok {
		return "", 0, false
	}
	return t.Host, t.Port, true
}

// hostHeader is the Host that the upstream sees (kong-router-balancer 5.6 in
// words: the client's if the route preserves it, else the upstream's
// host_header, else the target's own name; with its port unless that goes
// without saying).
func (x *exchange) hostHeader(u *snapshot.Upstream, host string, port int) string {
	if x.match.Route.PreserveHost && x.r.Host != "" {
		return x.r.Host
	}
	if u != nil && u.HostHeader != "" {
		host = u.HostHeader
	} else if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		host = "[" + host + "]"
	}
	switch x.match.Service.Protocol {
	case "http", "grpc":
		if port == 80 {
			return host
		}
	case "https", "grpcs":
		if port == 443 {
			return host
		}
	}
	return host + ":" + strconv.Itoa(port)
}

// dialFor says how to connect to a host.
func (x *exchange) dialFor(u *snapshot.Upstream, host string, port int, hostHeader string) destination {
	s := x.match.Service
	d := destination{
		address: net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(port)),
		connect: milli(s.ConnectTimeout),
		guarded: !x.options.AllowAdminUpstream,
		http2:   overHTTP2(s.Protocol),
	}
	if !secure(s.Protocol) {
		return d
	}
	d.tls = s.TLS(strings.Trim(hostOnly(hostHeader), "[]"), u, x.options.ProxySSLVerify)
	return d
}

// A failure is why a try got no response.
type failure struct {
	err     error
	status  int    // for the client
	message string // if Kong raises it itself; empty: nginx does
	final   bool   // trying elsewhere would not help
	client  bool   // it was the client's doing
}

// failureOf finds out what the error of a transport means.
func (x *exchange) failureOf(t *try, err error) failure {
	var dns *net.DNSError
	cause := context.Cause(t.Context)
	switch {
	// The first cause counts: to interrupt the client's body makes net/http
	// believe that the client is gone.
	case cause == errClientTimeout:
		return failure{err: os.ErrDeadlineExceeded, client: true, final: true}
	case cause == errReadTimeout, cause == errWriteTimeout:
		return failure{err: cause, status: http.StatusGatewayTimeout}
	case cause == errSendTimeout:
		return failure{err: cause, client: true, final: true}
	case x.clientGone():
		return failure{err: err, client: true, final: true}
	case t.bodyErr.Load() != nil:
		return failure{err: *t.bodyErr.Load(), client: true, final: true}
	case errors.Is(err, dial.ErrPrivate):
		return failure{err: err, status: http.StatusBadGateway, final: true}
	case errors.As(err, &dns):
		return x.dnsFailure(err, dns)
	case isTimeout(err):
		return failure{err: err, status: http.StatusGatewayTimeout}
	}
	return failure{err: err, status: http.StatusBadGateway}
}

// dnsFailure is a name that does not resolve. One target of several is like a
// target that cannot be reached.
func (x *exchange) dnsFailure(err error, dns *net.DNSError) failure {
	f := failure{err: err, status: http.StatusServiceUnavailable}
	switch {
	case x.upstream() != nil:
		f.message = "failure to get a peer from the ring-balancer"
	case dns.IsNotFound:
		f.message, f.final = "name resolution failed", true
	default:
		f.status, f.final = http.StatusInternalServerError, true
		f.message = "failed the initial dns/balancer resolve for '" + x.match.Service.Host + "' with: " + dns.Err
	}
	return f
}

// mayRetry applies nginx's rule (proxy_next_upstream error timeout): what a
// server may have begun to act on is sent again only if doing it twice does no
// harm, and only what is still at hand can be sent. An answer that is none, once
// it has begun, is not asked for again.
func (x *exchange) mayRetry(t *try, f failure) bool {
	if f.final || t.begun.Load() {
		return false
	}
	if !t.sent.Load() {
		return true
	}
	switch x.r.Method {
	case http.MethodPost, http.MethodPatch, "LOCK":
		return false
	}
	return x.body.replayable()
}

func (x *exchange) logFailure(u *snapshot.Upstream, t *try, f failure, again bool) {
	if f.client {
		if c := x.logger.Check(zap.DebugLevel, "client ended the request"); c != nil {
			c.Write(x.fields(zap.Error(f.err))...)
		}
		return
	}
	fields := x.fields(zap.String("target", t.target), zap.Duration("duration", time.Since(t.start)), zap.Error(f.err))
	if u != nil {
		fields = append(fields, zap.String("upstream", u.Name))
	}
	if again {
		x.logger.Warn("try failed, trying again", fields...)
		return
	}
	x.logger.Error("upstream gave no response", append(fields, zap.Int("status", f.status))...)
}

// answer tells the client.
func (f *failure) answer(x *exchange) {
	switch {
	case f.client:
		x.failBody(f.err)
		return
	case f.message != "":
		if f.final {
			x.sentAt = time.Time{} // a name without an address: no upstream was contacted
		}
		x.refuse(f.status, f.message)
	default:
		x.fail(f.status)
	}
	x.linger()
}

// isTimeout reports whether an error is about time.
func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}
