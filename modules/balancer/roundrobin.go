package balancer

import "github.com/portcullis-gateway/portcullis/modules/wheel"

// roundRobin lets addresses take turns by weight.
type roundRobin struct {
	addresses []*Address
	wheel     wheel.Wheel
}

func newRoundRobin(_ *Plan, addresses []*Address) picker {
	weights := make([]int, len(addresses))
	for i, a := range addresses {
		weights[i] = a.Weight
	}
	return &roundRobin{addresses, wheel.New(weights)}
}

func (r *roundRobin) pick(t *turns, _ uint32, tried *RetrySet) *Address {
	if tried.len() == 0 {
		if a := r.addresses[r.wheel.At(t.first.Add(1)-1)]; a.Peer.Available() {
			return a
		}
	}
	rest := uint64(0)
	for i, a := range r.addresses {
		if a.free(tried) {
			rest += r.wheel.Share(i)
		}
	}
	if rest == 0 {
		return nil
	}
	// What falls to others has a position of its own. Were it to continue with
	// the position that hit a dead address, the whole share of that would fall
	// on the one neighbour that the stride leads to.
	entry := wheel.Spread(t.again.Add(1), rest)
	for i, a := range r.addresses {
		if !a.free(tried) {
			continue
		}
		if share := r.wheel.Share(i); entry >= share {
			entry -= share
			continue
		}
		return a
	}
	// Health changed between the loops.
	return firstFree(r.addresses, tried)
}
