package proxy

import (
	"context"
	"errors"
	"fmt"
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
	s := x.match.Service
	send := x.sender(s.Protocol)
	if send == nil {
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
	path := x.upstreamPath()
	logs := x.chain.Logs()
	bodyRead := false
	for n := 0; ; n++ {
		var began time.Time // of the choice; zero: there is none
		if logs && (upstream != nil || s.Address == "") {
			began = time.Now()
		}
		to, err := x.place(upstream)
		if err != nil {
			x.failPlace(upstream, err)
			return
		}
		if !bodyRead {
			if err := x.takeBody(); err != nil {
				x.failBody(err)
				return
			}
			bodyRead = true
			if x.sentAt = x.start; x.plugins != nil || !x.body.none || s.Address == "" {
				x.sentAt = x.now() // else there was nothing to wait for
			}
		}
		source, err := s.Sources.For(to.address, x.client.Addr(), x.tries)
		if err != nil {
			x.failSource(err)
			return
		}
		hostHeader := x.hostHeader(upstream, to)
		d := x.dialFor(upstream, to.address, hostHeader)
		d.source = source
		start := x.sentAt
		if n > 0 {
			start = time.Now()
		}
		t, req := x.newTry(d, start, hostHeader, path)
		x.last = t
		x.tries++
		resp, err := send(t, req)
		if err == nil && resp.StatusCode < 100 { // three digits, and no status
			resp.Body.Close()
			resp, err = nil, fmt.Errorf("malformed status %q", resp.Status)
		}
		t.settle()
		if err == nil {
			if logs {
				x.upstreamStatus = resp.StatusCode
				x.note(t, began, 0, false)
			}
			x.observe(balancer.Responded, resp.StatusCode)
			x.respond(t, resp)
			if x.chosen != nil {
				x.release(x.took(t, resp))
			}
			return
		}
		f := x.failureOf(t, err)
		if logs {
			x.note(t, began, f.status, true)
		}
		t.end()
		switch {
		case f.client, f.own:
		case f.status == http.StatusGatewayTimeout:
			x.observe(balancer.TimedOut, 0)
		default:
			x.observe(balancer.ConnectFailed, 0)
		}
		x.release(0)
		again := n < s.Retries && !s.Original && x.mayRetry(t, f)
		x.logFailure(upstream, t, f, again)
		if !again {
			f.answer(x)
			return
		}
	}
}

// upstreamPath is the path that the service gets.
func (x *exchange) upstreamPath() string {
	if x.plugins != nil {
		if p, ok := x.plugins.Changes().Path(); ok {
			return p
		}
	}
	route := x.match.Route
	return router.UpstreamPath(x.match.Service.Path, x.routing.Path, x.match.Prefix, route.StripPath, "v0")
}

// upstream is the upstream that the service's host names; nil if it is a host
// of the network.
func (x *exchange) upstream() *snapshot.Upstream {
	if s := x.match.Service; s.Address != "" || s.Original {
		return nil
	}
	u, _ := x.snapshot.Upstream(x.match.Service.Host)
	return u
}

// took is how long a try took that got a response: all of it or, if connections
// were joined, up to the response's head.
func (x *exchange) took(t *try, resp *http.Response) time.Duration {
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return x.waited
	}
	return time.Since(t.start)
}

// hostHeader is the Host that the upstream sees (kong-router-balancer 5.6 in
// words: the client's if the route preserves it, else the upstream's
// host_header, else the target's own name; with its port unless that goes
// without saying). To the original destination the client has named the host.
func (x *exchange) hostHeader(u *snapshot.Upstream, to place) string {
	if x.plugins != nil {
		if h := x.plugins.Changes().Host; h != "" {
			return h
		}
	}
	host, port := to.host, to.port
	if (x.match.Route.PreserveHost || x.match.Service.Original) && x.r.Host != "" {
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
	if u == nil && (x.match.Service.Address != "" || x.match.Service.Original) && host[0] != '[' {
		return to.address // the host is one of IPv4
	}
	return host + ":" + strconv.Itoa(port)
}

// dialFor says how to connect to an address.
func (x *exchange) dialFor(u *snapshot.Upstream, address, hostHeader string) destination {
	s := x.match.Service
	d := destination{
		address: address,
		connect: milli(s.ConnectTimeout),
		guarded: !x.options.AllowAdminUpstream,
		http2:   overHTTP2(s.Protocol),
	}
	if !secure(s.Protocol) {
		return d
	}
	// The name stays with the connection, longer than the request that it may be from.
	d.tls = s.TLS(strings.Clone(strings.Trim(hostOnly(hostHeader), "[]")), u, x.options.ProxySSLVerify)
	x.options.Identify(d.tls)
	return d
}

// A failure is why a try got no response.
type failure struct {
	err    error
	status int  // for the client
	final  bool // trying elsewhere would not help
	client bool // it was the client's doing
	own    bool // it was this host's doing, and says nothing of the server
}

// failureOf finds out what the error of a transport means.
func (x *exchange) failureOf(t *try, err error) failure {
	cause := t.why()
	switch {
	// The first cause counts: to interrupt the client's body makes net/http
	// believe that the client is gone.
	case cause == errClientTimeout:
		return failure{err: os.ErrDeadlineExceeded, client: true, final: true}
	case cause == errReadTimeout, cause == errWriteTimeout:
		return failure{err: cause, status: http.StatusGatewayTimeout}
	case cause == errSendTimeout:
		return failure{err: cause, client: true, final: true}
	case cause == errClientGone:
		return failure{err: cause, client: true, final: true}
	case x.clientGone():
		return failure{err: err, client: true, final: true}
	case t.bodyErr.Load() != nil:
		return failure{err: *t.bodyErr.Load(), client: true, final: true}
	case errors.Is(err, dial.ErrPrivate):
		return failure{err: err, status: http.StatusBadGateway, final: true}
	case errors.As(err, new(*dial.SourceError)):
		return failure{err: err, status: http.StatusBadGateway, own: true}
	case isTimeout(err):
		return failure{err: err, status: http.StatusGatewayTimeout}
	}
	return failure{err: err, status: http.StatusBadGateway}
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
	if f.client {
		x.failBody(f.err)
		return
	}
	x.fail(f.status)
	x.linger()
}

// isTimeout reports whether an error is about time.
func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}
