package proxy

import (
	"errors"
	"net/http"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/dns"
	"github.com/portcullis-gateway/portcullis/modules/snapshot"
)

// A place is where a try goes.
type place struct {
	host    string // the name that it goes by
	port    int
	address string // as net.Dial reads it: an IP address and a port
}

// place chooses where the next try goes. Of an upstream's address the exchange
// holds the peer until release.
func (x *exchange) place(u *snapshot.Upstream) (place, error) {
	s := x.match.Service
	if u == nil {
		if s.Original {
			return x.originalPlace()
		}
		if s.Address != "" {
			return place{s.Host, s.Port, s.Address}, nil
		}
		return x.resolve()
	}
	if x.tries == 0 {
		x.key = u.Pool.Key(x)
	}
	a, err := u.Pool.Pick(x.r.Context(), x.key, &x.tried)
	if err != nil {
		return place{}, err
	}
	x.chosen = a.Peer
	return place{a.Host, int(a.Addr.Port()), a.Text}, nil
}

// resolve finds a host of the network: each try takes the next of its records.
func (x *exchange) resolve() (place, error) {
	s := x.match.Service
	answer, err := x.resolver.Lookup(x.r.Context(), s.Host)
	if err != nil {
		return place{}, err
	}
	r := answer.Next()
	p := place{host: s.Host, port: s.Port}
	if r.Port != 0 {
		p.port = int(r.Port)
	}
	p.address = netip.AddrPortFrom(r.IP, uint16(p.port)).String()
	return p, nil
}

// originalPlace is where the client wanted to go, if that is somebody else's
// and harmless.
func (x *exchange) originalPlace() (place, error) {
	if !x.arrived.Intercepted() {
		return place{}, errNotIntercepted
	}
	to := x.routing.Destination
	if err := x.options.Destinations.CheckFor(to, x.peer.Addr()); err != nil {
		return place{}, err
	}
	return place{to.Addr().String(), int(to.Port()), to.String()}, nil
}

// errNotIntercepted is why a request has no original destination.
var errNotIntercepted = errors.New("the connection was not intercepted, so it has no original destination")

// failSource answers when there is no address that a try could come from.
func (x *exchange) failSource(err error) {
	x.release(0)
	x.logger.Error("service cannot be connected to", x.fields(zap.Error(err))...)
	x.fail(http.StatusBadGateway)
}

// failPlace answers when there is no place for a try.
func (x *exchange) failPlace(u *snapshot.Upstream, err error) {
	var failed *dns.Error
	switch {
	case x.clientGone():
		return
	case x.match.Service.Original:
		x.logger.Warn("original destination is not passed on", x.fields(zap.Stringer("remote", x.peer), zap.Error(err))...)
		x.fail(http.StatusBadGateway)
	case u != nil && x.tries > 0: // as nginx
		x.logger.Error("upstream has no peer for another try", x.fields(zap.String("upstream", u.Name), zap.Error(err))...)
		x.fail(http.StatusServiceUnavailable)
	case u != nil:
		x.logger.Error("upstream has no peer", x.fields(zap.String("upstream", u.Name), zap.Error(err))...)
		x.refuse(http.StatusServiceUnavailable, "failure to get a peer from the ring-balancer")
	case errors.As(err, &failed) && failed.NotFound:
		x.logger.Error("name does not resolve", x.fields(zap.Error(err))...)
		x.refuse(http.StatusServiceUnavailable, "name resolution failed")
	default:
		x.logger.Error("name does not resolve", x.fields(zap.Error(err))...)
		reason := err.Error()
		if failed != nil {
			reason = failed.Reason
		}
		x.refuse(http.StatusInternalServerError,
			"failed the initial dns/balancer resolve for '"+x.match.Service.Host+"' with: "+reason)
	}
}

// observe tells the peer's health checks what became of the try.
func (x *exchange) observe(event balancer.Event, status int) {
	if x.chosen != nil {
		x.chosen.Observed(balancer.Outcome{Event: event, Status: status})
	}
}

// release gives the peer back after the try took so long, or failed.
func (x *exchange) release(took time.Duration) {
	if x.chosen != nil {
		x.chosen.Release(took)
		x.chosen = nil
	}
}
