package stream

import (
	"errors"
	"net/netip"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/node"
	"github.com/portcullis-gateway/portcullis/modules/relay"
	"github.com/portcullis-gateway/portcullis/modules/router"
	"github.com/portcullis-gateway/portcullis/modules/snapshot"
	"github.com/portcullis-gateway/portcullis/transparent"
)

// A flow is a connection or a UDP session from its begin to its end.
type flow struct {
	engine   *Engine
	view     *node.View         // nil before it is routed
	snapshot *snapshot.Snapshot // of the view
	listener string             // as the configuration has it
	start    time.Time

	facts router.Flow
	peer  netip.AddrPort // the other end of the socket, whatever a PROXY header says
	local netip.AddrPort // this end, before port_maps

	arrived *transparent.Arrival // nil unless the listener is transparent

	acting // the plugins

	postgres bool // whether the client is PostgreSQL's and has asked for TLS

	match  snapshot.Match
	counts *routeCounts // of the route; nil before there is one
	place  place        // the last one that was tried
	tries  int

	began     time.Time      // the last try
	connected time.Duration  // what it took; 0: it failed
	chosen    *balancer.Peer // where it goes; nil: to no upstream

	up, down *atomic.Int64 // bytes passed on, once there is a relay or a session
	failure  *failure      // nil if all went well
}

// A failure is why a flow was not served to its end.
type failure struct {
	reason string // a word for metrics
	status int    // Kong's session status
	alert  alert  // what a TLS client is told before its handshake is over
	text   string // for the log
	err    error  // nil if text says it all
	answer []byte // what a client is sent that TLS is not spoken with
	client bool   // it was the client's doing: nothing to worry about
	mild   bool   // something to look at, but the gateway is well
}

// Session statuses, as nginx counts them and Kong sets them.
const (
	statusOK          = 200
	statusBadRequest  = 400
	statusError       = 500
	statusBadGateway  = 502
	statusUnavailable = 503
)

// newFlow begins a flow.
func (e *Engine) newFlow(listener, protocol string, source, destination netip.AddrPort) *flow {
	f := new(flow)
	e.begin(f, listener, protocol, source, destination)
	return f
}

// begin does the same with one that has its memory.
func (e *Engine) begin(f *flow, listener, protocol string, source, destination netip.AddrPort) {
	f.engine, f.listener, f.start = e, listener, time.Now()
	f.peer, f.local = source, destination
	f.facts = router.Flow{
		Protocol: protocol,
		Source:   source, Destination: public(e.options, destination),
	}
}

// arrive notes how the flow came to a transparent listener. Ports of others are not
// mapped.
func (f *flow) arrive(a transparent.Arrival) {
	f.arrived, f.local = &a, a.Destination
	f.facts.Destination = a.Destination
	if !a.How.Intercepted() {
		f.facts.Destination = public(f.engine.options, a.Destination)
	}
}

// public is an address with the port as seen from outside.
func public(o *gateway.Options, a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr(), o.PublicPort(a.Port()))
}

// route finds the flow's route and service, and asks the plugins.
func (f *flow) route() *failure {
	chain := f.find()
	if f.match.Route == nil {
		f.unrouted(chain)
		return &failure{reason: "no_route", status: statusError, alert: alertUnrecognizedName, text: "no route found with those values", err: f.nearMiss()}
	}
	f.counts = countsOf(f.match.Route)
	if chain != nil {
		if fail := f.preread(chain); fail != nil {
			return fail
		}
	}
	switch s := f.match.Service; {
	case s == nil:
		return &failure{reason: "no_service", status: statusUnavailable, alert: alertInternalError, text: "no service found with those values"}
	case s.Err != nil:
		return &failure{reason: "service", status: statusError, alert: alertInternalError, text: "service cannot be used", err: s.Err}
	}
	return nil
}

// nearMiss says what a person may have overlooked: a route that fits all but
// the protocol.
func (f *flow) nearMiss() error {
	for _, m := range f.snapshot.ExplainStream(&f.facts, 20).NearMisses {
		if len(m.Failed) == 1 && m.Failed[0].Attribute == "protocol" {
			return protocolMiss{route: routeName(m.Route.Name, m.Route.ID.String()), wants: m.Failed[0].Expected, got: f.facts.Protocol, listener: f.listener}
		}
	}
	return nil
}

func routeName(name, id string) string {
	if name != "" {
		return name
	}
	return id
}

// end logs and counts the flow. It is called once.
func (f *flow) end(fail *failure) {
	f.release()
	f.failure = fail
	if fail != nil {
		failed(f.counts, fail.reason)
		f.report(fail)
	}
	if f.counts != nil {
		f.counts.seconds.Add(int64(time.Since(f.start)))
	}
	f.log()
	f.leave()
}

// report writes why the flow was not served: once, at the place that gave up.
func (f *flow) report(fail *failure) {
	level := zap.ErrorLevel
	if fail.client {
		level = zap.DebugLevel
	} else if fail.mild || fail.reason == "no_route" {
		level = zap.WarnLevel
	}
	if c := f.engine.logger.Check(level, fail.text); c != nil {
		fields := f.fields()
		if fail.err != nil {
			fields = append(fields, zap.Error(fail.err))
		}
		c.Write(fields...)
	}
}

// ended is the failure that the end of a relay is, or nil.
func (f *flow) ended(err error) *failure {
	var side *relay.SideError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errDrained):
		return &failure{reason: "drained", status: statusOK, text: "connection was closed, as the grace period was over", err: err}
	case errors.Is(err, relay.ErrSilence):
		return &failure{reason: "idle", status: statusOK, text: "connection was idle for too long", err: err, client: true}
	case errors.Is(err, relay.ErrStall):
		return &failure{reason: "stalled", status: statusOK, text: "connection did not take what was sent", err: err, client: true}
	case errors.As(err, &side) && !side.Upstream:
		return &failure{reason: "client_reset", status: statusOK, text: "client broke the connection", err: err, client: true}
	case errors.As(err, &side):
		return &failure{reason: "upstream_reset", status: statusBadGateway, text: "service broke the connection", err: err, client: true}
	}
	return &failure{reason: "other", status: statusError, text: "connection ended with an error", err: err}
}
