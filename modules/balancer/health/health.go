// Package health finds out which addresses of an upstream are well.
//
// There are two ways. Active checks probe each address at an interval; passive
// checks hear of the traffic. Both count successes and failures towards limits,
// as Kong does (lua-resty-healthcheck), and tell the address's peer whether it
// may get traffic. Upstreams are told apart, so an address that two of them have
// may be well in one and not in the other.
package health

import (
	"context"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
)

// rememberFor is how long the health of an address that left is kept, for the
// case that it comes back (kong/runloop/balancer/healthcheckers.lua).
const rememberFor = 300 * time.Second

// Checks are the health checks of all upstreams of a world. They outlive the
// configurations that read the world, so none of these begins anew, and two that
// are alive at once probe once. Safe for concurrent use.
type Checks struct {
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	schedule *schedule
	settings atomic.Pointer[Settings]

	mu        sync.Mutex
	upstreams map[*balancer.Pool]*upstream // protected by mu; those that have checks
	unchecked map[*balancer.Pool]string    // protected by mu; the names of the others
	closed    bool                         // protected by mu
}

// Settings are what a configuration says of all checks.
type Settings struct {
	Logger *zap.Logger

	// Guarded says that probes do not reach this process's private listeners.
	Guarded bool
}

// New answers checks that watch nothing yet: they are a watcher of Pools. Close
// them at the end.
func New() *Checks {
	c := &Checks{upstreams: make(map[*balancer.Pool]*upstream), unchecked: make(map[*balancer.Pool]string)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.settings.Store(&Settings{Logger: zap.NewNop(), Guarded: true})
	c.schedule = newSchedule(c.probe)
	living.add(c)
	return c
}

// Use sets what holds from now on. It may be called again: a configuration
// brings its own.
func (c *Checks) Use(s Settings) { c.settings.Store(&s) }

func (c *Checks) logger() *zap.Logger { return c.settings.Load().Logger }

// Close ends all checks, and waits for the probes that are under way, which end
// at once. Peers stay as they are.
func (c *Checks) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	living.remove(c)
	c.cancel()
	c.schedule.close()
}

// Changed makes the checks of a pool what its plan says, for the addresses that
// it has.
func (c *Checks) Changed(p *balancer.Pool, plan *balancer.Plan, addresses []*balancer.Address) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if !Enabled(plan.Upstream) {
		c.drop(p)
		c.unchecked[p] = plan.Upstream.Name
		return
	}
	delete(c.unchecked, p)
	u := c.upstreams[p]
	next := newRules(plan)
	anew := true // whether the times of probes are others than before
	if u == nil {
		u = &upstream{pool: p, targets: make(map[*balancer.Peer]*target)}
		c.upstreams[p] = u
	} else {
		before := u.rules.Load()
		anew = before.intervals != next.intervals
		if before.upstream != next.upstream {
			forgetMetrics(before.upstream)
		}
	}
	u.rules.Store(next)

	present := make(map[*balancer.Peer]bool, len(addresses))
	for _, a := range addresses {
		if present[a.Peer] {
			continue
		}
		present[a.Peer] = true
		t := u.targets[a.Peer]
		switch {
		case t == nil:
			t = c.target(u, a)
			c.schedule.begin(t)
		case !t.left.IsZero():
			t.left = time.Time{}
			c.schedule.resume(t)
		case anew:
			c.schedule.begin(t)
		}
		if next.passive.counts() {
			a.Peer.SetObserver(t)
		} else {
			a.Peer.SetObserver(nil)
		}
	}
	now := time.Now()
	for peer, t := range u.targets {
		switch {
		case present[peer]:
		case t.left.IsZero():
			t.left = now
			c.schedule.end(t)
		case now.Sub(t.left) > rememberFor:
			delete(u.targets, peer)
			t.end()
		}
	}
}

// target begins to know a peer. The caller holds mu.
func (c *Checks) target(u *upstream, a *balancer.Address) *target {
	t := &target{
		place:     place{at: -1},
		checks:    c,
		up:        u,
		peer:      a.Peer,
		name:      nameOf(a.Target),
		available: true,
	}
	t.ctx, t.cancel = context.WithCancel(c.ctx)
	a.Peer.SetAvailable(true)
	u.targets[a.Peer] = t
	return t
}

// nameOf is a target as it was written.
func nameOf(t *balancer.Target) string { return net.JoinHostPort(t.Host, strconv.Itoa(t.Port)) }

// Removed ends the checks of an upstream that is gone.
func (c *Checks) Removed(p *balancer.Pool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(p)
	delete(c.unchecked, p)
}

// drop ends the checks of a pool, if it has any. The caller holds mu.
func (c *Checks) drop(p *balancer.Pool) {
	u := c.upstreams[p]
	if u == nil {
		return
	}
	delete(c.upstreams, p)
	for _, t := range u.targets {
		t.end()
	}
	forgetMetrics(u.rules.Load().upstream)
}

// probe asks a target how it is.
func (c *Checks) probe(t *target) {
	r := t.up.rules.Load()
	f := r.probe.ask(t.ctx, t.peer.Addr.String(), t.peer.Host, c.settings.Load().Guarded)
	if t.ctx.Err() == nil {
		t.probed(r.active.finding(f))
	}
}

// Interface guard
var _ balancer.Watcher = (*Checks)(nil)
