package health

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
)

// An upstream is one that has health checks.
type upstream struct {
	pool  *balancer.Pool
	rules atomic.Pointer[rules]
	turns // protected by the schedule's mu

	targets map[*balancer.Peer]*target // protected by Checks.mu; also those that left a while ago
}

// A target is what is known of one peer of an upstream.
type target struct {
	record
	place // protected by the schedule's mu

	checks *Checks
	up     *upstream
	peer   *balancer.Peer
	name   string          // the target's host:port
	ctx    context.Context // of its probes
	cancel context.CancelFunc
	left   time.Time // protected by Checks.mu; when its address went away; zero: it is there

	mu        sync.Mutex
	available bool // protected by mu; what the peer was told
	ended     bool // protected by mu; the peer is not to be told anything any more
}

// Observe takes the outcome of a try into account.
func (t *target) Observe(_ *balancer.Peer, o balancer.Outcome) {
	j := &t.up.rules.Load().passive
	kind, ok := j.outcome(o)
	if !ok || !t.report(kind, j.limits[kind]) {
		return
	}
	fields := []zap.Field{zap.String("reason", "traffic"), zap.Stringer("last", kind)}
	if o.Event == balancer.Responded {
		fields = append(fields, zap.Int("status", o.Status))
	}
	t.settle(fields...)
}

// probed takes what a probe found into account.
func (t *target) probed(f finding) {
	if f.silent || !t.report(f.kind, t.up.rules.Load().active.limits[f.kind]) {
		return
	}
	fields := []zap.Field{zap.String("reason", "probes"), zap.Stringer("last", f.kind)}
	if f.status != 0 {
		fields = append(fields, zap.Int("status", f.status))
	}
	if f.err != nil {
		fields = append(fields, zap.Error(f.err))
	}
	t.settle(fields...)
}

// settle tells the peer, and everyone else, if the record has another opinion
// than before. Two reports may meet here in any order: what counts is how the
// record is now.
func (t *target) settle(why ...zap.Field) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.state().Available()
	if t.ended || now == t.available {
		return
	}
	t.available = now
	t.peer.SetAvailable(now)
	name := t.up.rules.Load().upstream
	fields := append([]zap.Field{
		zap.String("upstream", name), zap.String("target", t.name), zap.Stringer("address", t.peer.Addr),
	}, why...)
	if now {
		changes.WithLabelValues(name, "healthy").Inc()
		t.checks.logger().Info("target became healthy", fields...)
	} else {
		changes.WithLabelValues(name, "unhealthy").Inc()
		t.checks.logger().Warn("target became unhealthy", fields...)
	}
	t.checks.schedule.begin(t)
}

// end lets go of the peer, which gets traffic again, whatever was counted.
func (t *target) end() {
	t.cancel()
	t.checks.schedule.end(t)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	t.peer.SetObserver(nil)
	t.peer.SetAvailable(true)
}

// Interface guard
var _ balancer.Observer = (*target)(nil)
