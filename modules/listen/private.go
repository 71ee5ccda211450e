package listen

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/portcullis-gateway/portcullis/transparent"
)

// private is the set of this process's listeners that must not be reached
// through its own proxy.
var private privateSet

type privateSet struct {
	mu    sync.RWMutex
	addrs map[uint16][]netip.Addr // by port, protected by mu
}

// MarkPrivate tells that a listener on addr belongs to an Admin API or the
// like, until the returned function is called. Marks are counted: an address
// marked twice is private until both are taken back.
func MarkPrivate(addr netip.AddrPort) (unmark func()) {
	ip, port := bare(addr.Addr()), addr.Port()
	private.mu.Lock()
	defer private.mu.Unlock()
	if private.addrs == nil {
		private.addrs = make(map[uint16][]netip.Addr)
	}
	private.addrs[port] = append(private.addrs[port], ip)
	return sync.OnceFunc(func() {
		private.mu.Lock()
		defer private.mu.Unlock()
		list := private.addrs[port]
		i := slices.Index(list, ip)
		if list = slices.Delete(list, i, i+1); len(list) == 0 {
			delete(private.addrs, port)
		} else {
			private.addrs[port] = list
		}
	})
}

// IsPrivate reports whether a connection to dst would arrive at a listener that
// [MarkPrivate] protects. Ask with the address that is really dialled, after
// name resolution, for example in the Control function of a [net.Dialer].
//
// A listener on a particular address is reached by that address only. One on a
// wildcard is reached by every address of this host. The unspecified address
// (0.0.0.0 or ::) is taken for one of them, as the kernel connects it to the
// host itself. An IPv6 address that stands for one of IPv4 (see
// [transparent.Embedded]) is judged as that one, too: a translator on the way could
// send it back here. Addresses that are local by a route alone (`ip route add
// local`) and other translations by a firewall are not seen.
func IsPrivate(dst netip.AddrPort) bool {
	if v4, ok := transparent.Embedded(bare(dst.Addr())); ok && IsPrivate(netip.AddrPortFrom(v4, dst.Port())) {
		return true
	}
	private.mu.RLock()
	defer private.mu.RUnlock()
	listeners := private.addrs[dst.Port()]
	if len(listeners) == 0 {
		return false
	}
	ip := bare(dst.Addr())
	if ip.IsUnspecified() || slices.Contains(listeners, ip) {
		return true
	}
	wildcard := slices.ContainsFunc(listeners, netip.Addr.IsUnspecified)
	return wildcard && transparent.IsHostAddress(ip)
}

// bare strips what makes two spellings of one address differ.
func bare(ip netip.Addr) netip.Addr { return ip.Unmap().WithZone("") }
