package balancer

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// A PeerKey tells the peers of one upstream apart. Kong keeps health by the
// same three.
type PeerKey struct {
	Addr netip.AddrPort
	Host string // the target's, as it was written
}

// A Peer is what is remembered of one address of an upstream. It outlives
// changes of the upstream and of its targets, and reloads: an address that comes
// back within rememberFor finds the peer that it had. Safe for concurrent use.
type Peer struct {
	PeerKey

	pool        *Pool
	unavailable atomic.Bool
	inFlight    atomic.Int64
	latency     average
	observer    atomic.Pointer[Observer]
	left        time.Time // protected by pool.mu; zero: an address has it
}

// Available reports whether the peer may get traffic. It is at first.
func (p *Peer) Available() bool { return !p.unavailable.Load() }

// SetAvailable says whether the peer may get traffic from now on.
func (p *Peer) SetAvailable(ok bool) {
	if p.unavailable.Swap(!ok) == ok {
		p.pool.recount()
	}
}

// InFlight is how many tries are under way: requests, or connections of
// streams.
func (p *Peer) InFlight() int64 { return p.inFlight.Load() }

// An Event is what became of a try.
type Event int

const (
	Connected     Event = iota // a connection of a stream was made
	Responded                  // a response began; Outcome.Status tells which
	ConnectFailed              // refused, reset, or broken before a response began
	TimedOut                   // while connecting, sending or waiting for the response
)

// An Outcome is an event and what belongs to it.
type Outcome struct {
	Event  Event
	Status int // of the response, if the event is Responded
}

// An Observer hears what becomes of the tries of a peer: passive health checks
// are made of this. It is called on the goroutine of the request, and must not
// block.
type Observer interface{ Observe(*Peer, Outcome) }

// SetObserver replaces the observer; nil takes it away.
func (p *Peer) SetObserver(o Observer) {
	if o == nil {
		p.observer.Store(nil)
		return
	}
	p.observer.Store(&o)
}

// Observed tells the observer, if there is one, what became of a try. What a
// client did, such as to leave, is no outcome.
func (p *Peer) Observed(o Outcome) {
	if observer := p.observer.Load(); observer != nil {
		(*observer).Observe(p, o)
	}
}

// Release ends a try that Pick began. Whoever picks calls it once. The duration
// is that from the begin of the try to the end of its response, connecting
// included; 0 if there was none.
func (p *Peer) Release(took time.Duration) {
	p.inFlight.Add(-1)
	if took > 0 && p.pool.measures.Load() {
		p.latency.add(took)
	}
}
