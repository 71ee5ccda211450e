package balancer

import (
	"math/rand/v2"
	"time"
)

// latency takes the better one of two addresses chosen at random: that with the
// lower average latency for its weight (kong/runloop/balancer/latency.lua, peak
// EWMA). Never to ask all for the best keeps requests from all running to the
// same one.
type latency struct{ addresses []*Address }

func newLatency(_ *Plan, addresses []*Address) picker {
	startAverages(addresses)
	return &latency{addresses}
}

func (l *latency) pick(_ *turns, _ uint32, tried *RetrySet) *Address {
	n := len(l.addresses)
	i, j := two(n)
	a, b := l.addresses[i], l.addresses[j]
	if !a.free(tried) || !b.free(tried) {
		free := 0
		for _, a := range l.addresses {
			if a.free(tried) {
				free++
			}
		}
		if free == 0 {
			return nil
		}
		i, j = two(free)
		a, b = l.nth(i, tried), l.nth(j, tried)
		if a == nil || b == nil { // health changed meanwhile
			return firstFree(l.addresses, tried)
		}
	}
	now := time.Since(epoch)
	if b.Peer.latency.read(now)*float64(a.Weight) < a.Peer.latency.read(now)*float64(b.Weight) {
		return b
	}
	return a
}

// nth is a free address: the one that n others come before.
func (l *latency) nth(n int, tried *RetrySet) *Address {
	for _, a := range l.addresses {
		if !a.free(tried) {
			continue
		}
		if n == 0 {
			return a
		}
		n--
	}
	return nil
}

// two are different numbers below n, at random; equal ones if n is 1.
func two(n int) (int, int) {
	if n == 1 {
		return 0, 0
	}
	i, j := rand.IntN(n), rand.IntN(n-1)
	if j >= i {
		j++
	}
	return i, j
}

// startAverages lets addresses that nothing was measured for begin with the mean
// of the others, so that they are not taken for the fastest.
func startAverages(addresses []*Address) {
	now := time.Since(epoch)
	sum, n := 0.0, 0
	for _, a := range addresses {
		if l := &a.Peer.latency; !l.fresh() && a.Peer.Available() {
			sum += l.read(now)
			n++
		}
	}
	if n == 0 {
		return
	}
	for _, a := range addresses {
		if l := &a.Peer.latency; l.fresh() {
			l.start(sum/float64(n), now)
		}
	}
}
