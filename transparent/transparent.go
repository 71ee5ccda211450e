// Package transparent receives connections that were addressed to someone else.
//
// A firewall diverts them here in one of two ways. TPROXY hands them to a socket
// that has been made transparent: the connection's local address is the one that
// the client asked for. REDIRECT and DNAT rewrite the destination, and the kernel
// is asked what it was. In both cases the original destination becomes the
// connection's LocalAddr, so everything above that asks for the local address
// (routing, logs, the choice of a certificate) sees the truth without a special
// case. How a connection arrived is its [Arrival].
//
// The package has three ways in, for three kinds of users:
//
//   - the flag `transparent` of the gateway's own listeners, which calls
//     [Modes.Control] and [Modes.Locate];
//   - the network type `transparent`, as in `bind transparent/[::]`, for
//     Caddy's sites and caddy-l4's servers;
//   - the listener wrapper `caddy.listeners.transparent`, for sites that have a
//     `listener_wrappers` block.
package transparent

import (
	"net"
	"net/netip"
	"syscall"
)

// How tells in which way a connection came to its listener.
type How uint8

const (
	// Unknown: the kernel does not tell. A Multipath TCP connection that was
	// redirected looks like this.
	Unknown How = iota
	// Direct: the client asked for this listener.
	Direct
	// TPROXY: the firewall gave the connection to a transparent socket. On
	// FreeBSD and OpenBSD, so do ipfw's `fwd` and pf's `divert-to`.
	TPROXY
	// Redirect: the firewall rewrote the destination (REDIRECT, DNAT, pf's
	// `rdr`).
	Redirect
)

// String answers "unknown", "direct", "tproxy" or "redirect".
func (h How) String() string {
	switch h {
	case Direct:
		return "direct"
	case TPROXY:
		return "tproxy"
	case Redirect:
		return "redirect"
	}
	return "unknown"
}

// Intercepted reports whether the connection was addressed to someone else, as
// far as the kernel tells.
func (h How) Intercepted() bool { return h == TPROXY || h == Redirect }

// Arrival is what became known of a connection when it was accepted.
type Arrival struct {
	// How it came.
	How How

	// Destination is where the client wanted to go. Of a direct connection,
	// and of one of which the kernel does not tell, it is the socket's own
	// address.
	Destination netip.AddrPort
}

// Locate finds out how an accepted connection arrived at a listener that
// [Modes.Control] has prepared and that was bound to bound. It must be called
// when the connection is accepted: the kernel forgets what it has rewritten.
func (m Modes) Locate(c *net.TCPConn, bound netip.AddrPort) Arrival {
	local := AddrPort(c.LocalAddr())
	raw, err := c.SyscallConn()
	if err != nil {
		return Arrival{Direct, local}
	}
	return m.LocateSocket(raw, AddrPort(c.RemoteAddr()), local, bound)
}

// LocateSocket does the same for a socket whose addresses are known.
func (m Modes) LocateSocket(c syscall.RawConn, remote, local, bound netip.AddrPort) Arrival {
	transparent := m&ModeTPROXY != 0
	direct := Arrival{Direct, local}
	intercepted := Arrival{TPROXY, local}
	if transparent && (local.Port() != bound.Port() || !bound.Addr().IsUnspecified() && local.Addr() != bound.Addr().Unmap()) {
		return intercepted // nothing else gives a listener such a connection
	}
	switch dst, err := originalDestination(c, remote, local); {
	case err == errUntold:
		return Arrival{Unknown, local}
	case err == nil && dst != local:
		return Arrival{Redirect, dst}
	}
	if transparent && !IsHostAddress(local.Addr()) {
		return intercepted // the port asked for is the listener's own
	}
	return direct
}

// AddrPort is the address of a TCP or UDP socket in the form that compares equal
// to the same one read from text, without a zone; the zero value for others.
// Listener wrappers have address types of their own, which are read as text.
func AddrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		ap = a.AddrPort()
	case *net.UDPAddr:
		ap = a.AddrPort()
	case nil, *net.UnixAddr:
	default:
		ap, _ = netip.ParseAddrPort(a.String())
	}
	return netip.AddrPortFrom(bare(ap.Addr()), ap.Port())
}

// bare strips what makes two spellings of one address differ.
func bare(ip netip.Addr) netip.Addr { return ip.Unmap().WithZone("") }
