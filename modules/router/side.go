package router

import (
	"encoding/binary"
	"net/netip"

	"github.com/gaissmai/bart"

	"github.com/portcullis-gateway/portcullis/modules/trie"
)

// A side is a map from one end of a connection, an address and a port, to what
// stands there. It never changes: set answers the next one.
type side[T any] struct {
	anyAddress ports[T]
	networks   *bart.Table[ports[T]] // nil: none
}

// ports is what stands at one address, by port.
type ports[T any] struct {
	anyPort T
	has     bool // whether there is something at anyPort
	byPort  trie.Map[T]
}

func (p ports[T]) empty() bool { return !p.has && p.byPort.Len() == 0 }

func (s side[T]) empty() bool { return s.anyAddress.empty() && s.networks == nil }

// A change makes of what stands somewhere what shall stand there; nothing, if
// keep is false.
type change[T any] func(now T) (next T, keep bool)

// set changes what stands at an endpoint.
func (s side[T]) set(o trie.Owner, at endpoint, c change[T]) side[T] {
	if !at.addresses.IsValid() {
		s.anyAddress = s.anyAddress.set(o, at.port, c)
		return s
	}
	if s.networks == nil {
		s.networks = new(bart.Table[ports[T]])
	}
	network := at.addresses.Masked()
	now, _ := s.networks.Get(network)
	if next := now.set(o, at.port, c); next.empty() {
		s.networks = s.networks.DeletePersist(network)
	} else {
		s.networks = s.networks.InsertPersist(network, next)
	}
	if s.networks.Size() == 0 {
		s.networks = nil
	}
	return s
}

func (p ports[T]) set(o trie.Owner, port uint16, c change[T]) ports[T] {
	if port == 0 {
		var none T
		if p.anyPort, p.has = c(p.anyPort); !p.has {
			p.anyPort = none
		}
		return p
	}
	key := portKey(port)
	now, _ := p.byPort.Get(string(key[:]))
	if next, keep := c(now); keep {
		p.byPort.Put(o, string(key[:]), next)
	} else {
		p.byPort.Delete(o, string(key[:]))
	}
	return p
}

func portKey(port uint16) (key [2]byte) {
	binary.BigEndian.PutUint16(key[:], port)
	return key
}

// match calls visit with all that stands where an end of a connection is.
func (s *side[T]) match(at netip.AddrPort, visit func(*T)) {
	s.anyAddress.match(at.Port(), visit)
	if s.networks == nil || !at.IsValid() {
		return
	}
	address := at.Addr()
	for _, p := range s.networks.Supernets(netip.PrefixFrom(address, address.BitLen())) {
		p.match(at.Port(), visit)
	}
}

func (p *ports[T]) match(port uint16, visit func(*T)) {
	if p.has {
		visit(&p.anyPort)
	}
	if p.byPort.Len() > 0 {
		key := portKey(port)
		if v, ok := p.byPort.Get(string(key[:])); ok {
			visit(&v)
		}
	}
}

// all yields everything.
func (s *side[T]) all(yield func(*T) bool) bool {
	if !s.anyAddress.all(yield) {
		return false
	}
	if s.networks != nil {
		for _, p := range s.networks.All() {
			if !p.all(yield) {
				return false
			}
		}
	}
	return true
}

func (p *ports[T]) all(yield func(*T) bool) bool {
	if p.has && !yield(&p.anyPort) {
		return false
	}
	for v := range p.byPort.Values() {
		if !yield(&v) {
			return false
		}
	}
	return true
}
