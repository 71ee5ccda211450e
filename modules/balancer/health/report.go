package health

import (
	"context"
	"errors"
	"net/netip"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
)

// A Report tells how an upstream is.
type Report struct {
	Checked bool // it has health checks
	Healthy bool // enough of its weight is available
	Targets []balancer.TargetState
}

// Report tells how the upstream of a pool is. If names of its targets were never
// looked up yet, it waits for that until ctx ends.
func (c *Checks) Report(ctx context.Context, p *balancer.Pool) Report {
	p.Settled(ctx)
	c.mu.Lock()
	checked := c.upstreams[p] != nil
	c.mu.Unlock()
	return Report{Checked: checked, Healthy: p.Healthy(), Targets: p.Targets()}
}

// Why a health cannot be set.
var (
	ErrNoChecks  = errors.New("the upstream has no health checks")
	ErrNoAddress = errors.New("the target does not have the address")
)

// Set makes an address of a target healthy or unhealthy, as far as anyone
// knows; the zero address means all that the target has.
func (c *Checks) Set(p *balancer.Pool, id uuid.UUID, address netip.AddrPort, healthy bool) error {
	c.mu.Lock()
	u := c.upstreams[p]
	if u == nil {
		c.mu.Unlock()
		return ErrNoChecks
	}
	var targets []*target
	for _, a := range p.Addresses() {
		if a.Target.ID == id && (!address.IsValid() || a.Addr == address) {
			if t := u.targets[a.Peer]; t != nil {
				targets = append(targets, t)
			}
		}
	}
	c.mu.Unlock()
	if len(targets) == 0 && address.IsValid() {
		return ErrNoAddress
	}
	state := Unhealthy
	if healthy {
		state = Healthy
	}
	for _, t := range targets {
		t.set(state)
		t.settle(zap.String("reason", "set by the Admin API"))
	}
	return nil
}
