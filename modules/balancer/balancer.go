// Package balancer chooses where the next try of a request goes: which of an
// upstream's addresses.
//
// An upstream has a [Plan], which is what was written of it and its targets, and
// a [Pool], which is alive: names of targets are resolved into addresses, again
// and again, and each [Address] has a [Peer], which remembers what the algorithms
// and the health checks need to know. Who sends something calls Pool.Pick and
// then, once, Peer.Release; in between Peer.Observed may tell what happened.
package balancer

import (
	"net/netip"
	"sync/atomic"
)

// An Address is one place that requests of an upstream can go to. It is
// immutable.
type Address struct {
	Target *Target
	Addr   netip.AddrPort
	Weight int // above 0

	// Host is the name that the place goes by: the target's host or, with
	// use_srv_name, the host that an SRV record names.
	Host string

	// Text is Addr as net.Dial reads it.
	Text string

	Peer *Peer
}

// free reports whether a request that was sent to some places may go to this
// one.
func (a *Address) free(tried *RetrySet) bool { return a.Peer.Available() && !tried.has(a.Peer) }

// firstFree is the first address that is free; nil if there is none.
func firstFree(addresses []*Address, tried *RetrySet) *Address {
	for _, a := range addresses {
		if a.free(tried) {
			return a
		}
	}
	return nil
}

// A picker is one way to choose among the addresses of an upstream. It is
// compiled when these change, never empty, and immutable: what must be
// remembered lives in turns and in the peers.
//
// pick answers an address that is available and was not tried; nil if there is
// none. It is safe for concurrent use, waits for nobody, and does not allocate.
type picker interface {
	pick(t *turns, key uint32, tried *RetrySet) *Address
}

// turns are the positions of an upstream's algorithms. They outlive pickers: a
// change of addresses goes on from the same position.
type turns struct {
	first atomic.Uint64 // for the first try of a request
	again atomic.Uint64 // for retries
}

// newPicker compiles the algorithm of a plan for these addresses, at least one.
func newPicker(p *Plan, addresses []*Address) picker {
	switch p.Upstream.Algorithm {
	case "consistent-hashing":
		return newHashing(p, addresses)
	case "least-connections":
		return newLeastConnections(p, addresses)
	case "latency":
		return newLatency(p, addresses)
	}
	return newRoundRobin(p, addresses)
}
