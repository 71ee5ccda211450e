package balancer

// leastConnections takes the address with the smallest (tries under way + 1) /
// weight (kong/runloop/balancer/least_connections.lua). It looks at all of them:
// they are in no order that would hold while others pick.
type leastConnections struct{ addresses []*Address }

func newLeastConnections(_ *Plan, addresses []*Address) picker { return &leastConnections{addresses} }

func (l *leastConnections) pick(t *turns, _ uint32, tried *RetrySet) *Address {
	n := len(l.addresses)
	// Equals take turns.
	i := int(t.first.Add(1) % uint64(n))
	var best *Address
	var load int64
	for range n {
		if i++; i >= n {
			i = 0
		}
		a := l.addresses[i]
		if !a.free(tried) {
			continue
		}
		mine := a.Peer.InFlight() + 1
		if best == nil || mine*int64(best.Weight) < load*int64(a.Weight) {
			best, load = a, mine
		}
	}
	return best
}
