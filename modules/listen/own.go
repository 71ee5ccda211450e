package listen

import (
	"net/netip"

	"github.com/portcullis-gateway/portcullis/transparent"
)

// IsOwn reports whether a connection or a datagram to dst would arrive at a
// listener of this process: one of this package's, a private one, or one of a
// Caddy site. As for [IsPrivate], a listener on a wildcard is reached by every
// address of this host.
func IsOwn(dst netip.AddrPort) bool {
	dst = netip.AddrPortFrom(bare(dst.Addr()), dst.Port())
	if IsPrivate(dst) || ours(dst) {
		return true
	}
	if !transparent.IsHostAddress(dst.Addr()) && !dst.Addr().IsUnspecified() {
		return caddyListensAt(dst) // a socket can be bound to somebody else's address
	}
	return caddyListensOn(dst)
}

// ours reports whether this package has a socket that takes what goes to dst.
func ours(dst netip.AddrPort) bool {
	open.mu.Lock()
	tcp := open.takes(dst)
	open.mu.Unlock()
	return tcp || packets.takes(dst) || adopted.takes(dst)
}

// takes reports whether a socket at one of the addresses gets what goes to dst.
func takes(at, dst netip.AddrPort) bool {
	if at.Port() != dst.Port() {
		return false
	}
	ip := bare(at.Addr())
	return ip == dst.Addr() || dst.Addr().IsUnspecified() || ip.IsUnspecified() && transparent.IsHostAddress(dst.Addr())
}
