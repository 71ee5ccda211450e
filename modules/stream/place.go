package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/dial"
	"github.com/portcullis-gateway/portcullis/modules/snapshot"
)

// A place is where a flow goes to.
type place struct {
	host    string // the name that it goes by
	address string // as net.Dial reads it: an IP address and a port
}

// A chooser answers one place after the other for the tries of a flow.
type chooser struct {
	flow     *flow
	upstream *snapshot.Upstream // nil: the service's host is one of the network
	key      uint32             // see balancer.Pool.Key
	tried    balancer.RetrySet
}

func (f *flow) choices(c *chooser) *failure {
	c.flow = f
	c.upstream, _ = f.snapshot.Upstream(f.match.Service.Host)
	switch u := c.upstream; {
	case u == nil:
	case u.Err != nil:
		return &failure{reason: "upstream", status: statusError, alert: alertInternalError, text: "upstream cannot be used", err: u.Err}
	default:
		c.key = u.Pool.Key(f)
	}
	return nil
}

// next chooses the place of the next try. Of an upstream's address the flow
// holds the peer until release.
func (c *chooser) next(ctx context.Context) *failure {
	f, s := c.flow, c.flow.match.Service
	f.tries++
	f.began = time.Now()
	switch {
	case c.upstream != nil:
		a, err := c.upstream.Pool.Pick(ctx, c.key, &c.tried)
		if err != nil {
			return &failure{reason: "no_peer", status: statusBadGateway, alert: alertInternalError, text: "failure to get a peer from the ring-balancer", err: err}
		}
		f.chosen = a.Peer
		f.place = place{a.Host, a.Text}
	case s.Original:
		var err error
		if f.place, err = f.original(); err != nil {
			return &failure{reason: "original_destination", status: statusBadGateway, alert: alertInternalError, text: "original destination is not passed on", err: err, mild: true}
		}
	case s.Address != "":
		f.place = place{s.Host, s.Address}
	default:
		answer, err := f.engine.resolver.Lookup(ctx, s.Host)
		if err != nil {
			return &failure{reason: "dns", status: statusUnavailable, alert: alertInternalError, text: "name resolution failed", err: err}
		}
		r, port := answer.Next(), uint16(s.Port)
		if r.Port != 0 {
			port = r.Port
		}
		f.place = place{s.Host, netip.AddrPortFrom(r.IP, port).String()}
	}
	return nil
}

// original is where the client wanted to go, if that is somebody else's and
// harmless.
func (f *flow) original() (place, error) {
	if f.arrived == nil || !f.arrived.How.Intercepted() {
		return place{}, errors.New("the connection was not intercepted, so it has no original destination")
	}
	to := f.arrived.Destination
	if err := f.engine.options.Destinations.CheckFor(to, f.peer.Addr()); err != nil {
		return place{}, err
	}
	return place{to.Addr().String(), to.String()}, nil
}

// HashValue answers what consistent hashing asks for; of a stream that is the
// client's address alone.
func (f *flow) HashValue(source balancer.KeySource) (string, bool) {
	if source.On != "ip" {
		return "", false
	}
	return f.facts.Source.Addr().String(), true
}

// observe tells the peer's health checks what became of a try.
func (f *flow) observe(event balancer.Event) {
	if f.chosen != nil {
		f.chosen.Observed(balancer.Outcome{Event: event})
	}
}

// tryFailed notes that a try has failed, and why.
func (f *flow) tryFailed(err error) {
	f.note(statusBadGateway)
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, new(*dial.SourceError)): // says nothing of the server
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		f.observe(balancer.TimedOut)
	default:
		f.observe(balancer.ConnectFailed)
	}
	f.release()
}

// release gives the peer back when the flow has ended with it.
func (f *flow) release() {
	if f.chosen != nil {
		f.chosen.Release(f.connected)
		f.chosen = nil
	}
}

// connect makes a connection to the flow's service: to as many places, one
// after the other, as it takes and as may be. Nothing has been passed on before.
func (f *flow) connect() (net.Conn, *failure) {
	c := new(chooser)
	if fail := f.choices(c); fail != nil {
		return nil, fail
	}
	return f.tryAll(c)
}

// tryAll makes tries until one is good, or no other one may be.
func (f *flow) tryAll(c *chooser) (net.Conn, *failure) {
	for {
		conn, err, fail := f.try(c)
		if fail != nil {
			return nil, fail
		}
		if err == nil {
			f.reached()
			return conn, nil
		}
		if fail := f.missed(err); fail != nil {
			return nil, fail
		}
	}
}

// reached notes that the last try was a good one.
func (f *flow) reached() {
	f.connected = time.Since(f.began)
	f.note(0)
	f.observe(balancer.Connected)
}

// missed notes that the last try has failed. The failure is that there may be no
// other one.
func (f *flow) missed(err error) *failure {
	f.tryFailed(err)
	s := f.match.Service
	if errors.Is(err, dial.ErrPrivate) || f.tries > s.Retries || s.Original {
		return &failure{reason: "connect", status: statusBadGateway, alert: alertInternalError, text: "service could not be reached", err: err}
	}
	f.engine.logger.Warn("try failed, trying again",
		append(f.fields(), zap.Duration("duration", time.Since(f.began)), zap.Error(err))...)
	return nil
}

// try makes one connection. The failure is that there is no place for it.
func (f *flow) try(c *chooser) (net.Conn, error, *failure) {
	s, u := f.match.Service, c.upstream
	ctx := context.Context(deadline{context.Background(), time.Now().Add(milli(s.ConnectTimeout))})
	if u != nil || s.Address == "" || f.encrypts() { // something else than a connect may have to wait
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.Background(), milli(s.ConnectTimeout))
		defer cancel()
	}
	if fail := c.next(ctx); fail != nil {
		return nil, nil, fail
	}
	source, err := s.Sources.For(f.place.address, f.facts.Source.Addr(), f.tries-1)
	if err != nil {
		return nil, err, nil
	}
	dialer := dial.Dialer{Guarded: !f.engine.options.AllowAdminUpstream, Source: source}
	if f.facts.Protocol == "udp" {
		conn, err := dialer.UDP(ctx, f.place.address)
		if err != nil {
			return nil, err, nil // an interface that holds nil is not nil
		}
		return conn, nil, nil
	}
	conn, err := dialer.Stream(ctx, f.place.address)
	if err != nil {
		return nil, err, nil
	}
	if err := f.introduce(conn); err != nil {
		conn.Close()
		return nil, err, nil
	}
	if f.postgres && (f.encrypts() || f.passesThrough()) {
		if err := requestTLS(ctx, conn); err != nil {
			conn.Close()
			return nil, err, nil
		}
	}
	if !f.encrypts() {
		return conn, nil, nil
	}
	secure := s.TLS(f.upstreamName(u), u, f.engine.options.ProxySSLVerify)
	f.engine.options.Identify(secure)
	t := tls.Client(conn, secure.Config())
	if err := t.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("tls handshake with %s: %w", f.place.address, err), nil
	}
	return t, nil, nil
}

// A deadline is a context that only has one. Dialers need no goroutine for it.
type deadline struct {
	context.Context
	at time.Time
}

// Deadline answers it.
func (d deadline) Deadline() (time.Time, bool) { return d.at, true }

// encrypts reports whether the gateway speaks TLS with the service. What a
// client has encrypted for the service itself is passed on as it is.
func (f *flow) encrypts() bool {
	if f.passesThrough() {
		return false
	}
	switch f.match.Service.Protocol {
	case "tls", "https", "grpcs":
		return true
	}
	return false
}

// upstreamName is the server name that the service is asked for: the client's
// if the route preserves it or the service is where the client wanted to go, else the upstream's host_header, else the target's
// own.
func (f *flow) upstreamName(u *snapshot.Upstream) string {
	switch {
	case (f.match.Route.PreserveHost || f.match.Service.Original) && f.facts.SNI != "":
		return f.facts.SNI
	case u != nil && u.HostHeader != "":
		name, _, err := net.SplitHostPort(u.HostHeader)
		if err != nil {
			name = u.HostHeader
		}
		return strings.Trim(name, "[]")
	}
	return f.place.host
}

// milli is a duration of so many milliseconds.
func milli(n int) time.Duration { return time.Duration(n) * time.Millisecond }
