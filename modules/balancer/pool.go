package balancer

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// rememberFor is how long the peer of an address that left is kept, for the
// case that it comes back (kong/runloop/balancer/healthcheckers.lua).
const rememberFor = 300 * time.Second

// ErrNoPeer says that no address of an upstream may get traffic.
var ErrNoPeer = errors.New("no peer is available")

// A Pool is an upstream alive: the addresses that its targets stand for now,
// and how to choose among them. Safe for concurrent use.
type Pool struct {
	ID uuid.UUID // of the upstream

	pools    *Pools
	table    atomic.Pointer[table] // nil until it follows a plan
	turns    turns
	measures atomic.Bool // whether it matters how long tries take

	build sync.Mutex          // one change at a time; held while the watcher is told
	plan  *Plan               // protected by build; nil: the upstream is gone
	names map[string]*finding // protected by build; by the hosts of the plan that are no addresses
	stop  context.CancelFunc  // protected by build; ends the asking
	asked chan struct{}       // protected by build; see table

	mu    sync.Mutex        // held by those who compute table.healthy
	peers map[PeerKey]*Peer // protected by mu
}

// A table is what a pool consists of, compiled. It does not change, except for
// healthy.
type table struct {
	plan      *Plan
	addresses []*Address
	picker    picker // nil if there are no addresses
	key       keyRule
	total     int64         // weight of all addresses
	asked     chan struct{} // closed when each name had its first answer
	healthy   atomic.Bool   // whether enough of the weight is available
}

// Pick chooses the address for the next try of a request, and notes its peer
// in tried. It avoids the peers noted there until all were tried, then it starts
// over. The caller must call Release of the address's peer when the try is over.
//
// The key matters for consistent hashing alone; see Key. The error is ErrNoPeer
// if nothing may get traffic. Pick waits, until ctx ends, for nothing but the
// first answer to the names of targets when there is no other address.
func (p *Pool) Pick(ctx context.Context, key uint32, tried *RetrySet) (*Address, error) {
	t := p.table.Load()
	if t == nil {
		return nil, ErrNoPeer
	}
	if !t.healthy.Load() {
		if t = p.await(ctx, t); !t.healthy.Load() {
			return nil, ErrNoPeer
		}
	}
	a := t.picker.pick(&p.turns, key, tried)
	if a == nil && tried.len() > 0 { // all were tried: once more from the start
		tried.reset()
		a = t.picker.pick(&p.turns, key, tried)
	}
	if a == nil {
		return nil, ErrNoPeer
	}
	a.Peer.inFlight.Add(1)
	tried.add(a.Peer)
	return a, nil
}

// await waits for the names that were never answered, and answers the table
// that is current then.
func (p *Pool) await(ctx context.Context, t *table) *table {
	if len(t.addresses) > 0 {
		return t // it has them, but they are not well
	}
	select {
	case <-t.asked:
	case <-ctx.Done():
	}
	return p.table.Load()
}

// Addresses are those that may be picked, if their peers are available. The
// slice must not be changed.
func (p *Pool) Addresses() []*Address {
	if t := p.table.Load(); t != nil {
		return t.addresses
	}
	return nil
}

// Settled waits until each name of the targets had its first answer, or ctx
// ends.
func (p *Pool) Settled(ctx context.Context) {
	if t := p.table.Load(); t != nil {
		select {
		case <-t.asked:
		case <-ctx.Done():
		}
	}
}

// A TargetState is what became of a target.
type TargetState struct {
	Target    *Target
	Kind      string // of its records: A, AAAA or SRV; empty if there are none
	Err       error  // why its name does not resolve; nil if it does
	Addresses []*Address
}

// Targets tells what became of each target. It is for people, not for requests.
func (p *Pool) Targets() []TargetState {
	p.build.Lock()
	defer p.build.Unlock()
	if p.plan == nil {
		return nil
	}
	addresses := p.Addresses()
	list := make([]TargetState, len(p.plan.Targets))
	for i, t := range p.plan.Targets {
		s := &list[i]
		s.Target = t
		if f := p.names[t.Host]; f != nil {
			s.Err = f.err
			if f.answer != nil {
				s.Kind = f.answer.Type
			}
		} else if t.IP.IsValid() {
			s.Kind = map[bool]string{true: "A", false: "AAAA"}[t.IP.Is4()]
		}
		for _, a := range addresses {
			if a.Target == t {
				s.Addresses = append(s.Addresses, a)
			}
		}
	}
	return list
}

// Healthy reports whether more than the threshold of the weight is available.
// An unhealthy pool gives no address.
func (p *Pool) Healthy() bool {
	t := p.table.Load()
	return t != nil && t.healthy.Load()
}

// Follow makes the pool what the plan says; nil takes the upstream away.
// Requests under way are not disturbed.
func (p *Pool) Follow(plan *Plan) {
	p.build.Lock()
	defer p.build.Unlock()
	if plan == nil {
		p.remove()
		return
	}
	if reflect.DeepEqual(p.plan, plan) {
		return
	}
	p.plan = plan
	p.askNames()
	p.rebuild()
}

// remove ends the pool. The caller holds build.
func (p *Pool) remove() {
	if p.plan == nil {
		return
	}
	p.plan = nil
	p.stopAsking()
	p.pools.drop(p)
	if _, _, watcher := p.pools.means(); watcher != nil {
		watcher.Removed(p)
	}
}

// rebuild compiles the plan with what is known of its names. The caller holds
// build.
func (p *Pool) rebuild() {
	t := &table{plan: p.plan, key: keyRuleOf(p.plan.Upstream), asked: p.asked}
	p.mu.Lock()
	for _, target := range p.plan.Targets {
		if target.Weight > 0 {
			t.addresses = p.expand(t.addresses, target)
		}
	}
	for _, a := range t.addresses {
		t.total += int64(a.Weight)
	}
	p.forget(t.addresses)
	if len(t.addresses) > 0 {
		t.picker = newPicker(p.plan, t.addresses)
	}
	t.recount()
	p.measures.Store(p.plan.Upstream.Algorithm == "latency")
	p.table.Store(t)
	p.mu.Unlock()
	if _, _, watcher := p.pools.means(); watcher != nil {
		watcher.Changed(p, t.plan, t.addresses)
	}
}

// expand appends the addresses of a target. The caller holds build and mu.
func (p *Pool) expand(to []*Address, t *Target) []*Address {
	if t.IP.IsValid() {
		return append(to, p.address(t, t.IP, t.Port, t.Weight, t.Host))
	}
	f := p.names[t.Host]
	if f == nil || f.answer == nil {
		return to
	}
	start := len(to)
records:
	for _, r := range f.answer.Records {
		port, weight, host := t.Port, t.Weight, t.Host
		if f.answer.Type == "SRV" {
			weight = r.Weight
			if r.Port != 0 {
				port = int(r.Port)
			}
			if p.plan.Upstream.UseSRVName {
				host = r.Name
			}
		}
		addr := netip.AddrPortFrom(r.IP, uint16(port))
		for _, a := range to[start:] {
			if a.Addr == addr {
				continue records
			}
		}
		to = append(to, p.address(t, r.IP, port, weight, host))
	}
	return to
}

func (p *Pool) address(t *Target, ip netip.Addr, port, weight int, host string) *Address {
	addr := netip.AddrPortFrom(ip, uint16(port))
	key := PeerKey{addr, t.Host}
	peer := p.peers[key]
	if peer == nil {
		peer = &Peer{PeerKey: key, pool: p}
		p.peers[key] = peer
	}
	return &Address{Target: t, Addr: addr, Weight: weight, Host: host, Text: addr.String(), Peer: peer}
}

// forget notes which peers have no address any more, and drops those that have
// had none for long. The caller holds mu.
func (p *Pool) forget(addresses []*Address) {
	now := time.Now()
	present := make(map[*Peer]bool, len(addresses))
	for _, a := range addresses {
		present[a.Peer] = true
		a.Peer.left = time.Time{}
	}
	for key, peer := range p.peers {
		switch {
		case present[peer]:
		case peer.left.IsZero():
			peer.left = now
		case now.Sub(peer.left) > rememberFor:
			delete(p.peers, key)
		}
	}
}

// recount finds out whether the pool is healthy after a peer changed.
func (p *Pool) recount() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.table.Load(); t != nil {
		t.recount()
	}
}

// recount compares what is available with the threshold, which has to be
// exceeded. The caller holds the pool's mu.
func (t *table) recount() {
	available := int64(0)
	for _, a := range t.addresses {
		if a.Peer.Available() {
			available += int64(a.Weight)
		}
	}
	t.healthy.Store(t.total > 0 && float64(available)/float64(t.total)*100 > t.plan.Upstream.Healthchecks.Threshold)
}
