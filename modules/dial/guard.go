package dial

import (
	"fmt"
	"net/netip"

	"github.com/portcullis-gateway/portcullis/modules/listen"
	"github.com/portcullis-gateway/portcullis/transparent"
)

// A Guard judges the destinations that clients choose themselves: those of
// intercepted connections that are passed on to where they wanted to go. A
// gateway that dials whatever it is given reaches what only it can reach.
//
// Refused are loopback, unspecified, link-local and multicast addresses, those of
// this host's network interfaces, and in any case the listeners of this process.
// An IPv6 address that stands for one of IPv4 (NAT64, 6to4, Teredo, ISATAP) is
// judged as both.
//
// The zero value allows and denies nothing beyond that. It is safe for concurrent
// use.
type Guard struct {
	// Allow is what may be dialled although it would be refused. A range has to
	// lie within what is refused to lift that: 127.0.0.0/8 or a part of it for
	// loopback, the address itself for one of this host's. So a wide range,
	// such as one of a network that this host is in, does not open the host's
	// own services.
	Allow []netip.Prefix

	// Deny is what may not be dialled. Of all ranges that an address is in, the
	// longest one decides; Deny, if both have it.
	Deny []netip.Prefix
}

// A RefusedError says that a destination is not dialled, and why.
type RefusedError struct {
	Destination netip.AddrPort
	Reason      string
}

// Error tells both.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("the original destination %s is %s", e.Destination, e.Reason)
}

// Check answers nil if dst may be dialled, else a *RefusedError.
func (g *Guard) Check(dst netip.AddrPort) error {
	refused := func(reason string) error { return &RefusedError{dst, reason} }
	ip := dst.Addr().Unmap().WithZone("")
	if !ip.IsValid() || dst.Port() == 0 {
		return refused("none at all")
	}
	if listen.IsOwn(dst) {
		return refused("a listener of this process")
	}
	if reason := g.judge(ip); reason != "" {
		return refused(reason)
	}
	if v4, ok := transparent.Embedded(ip); ok {
		if listen.IsOwn(netip.AddrPortFrom(v4, dst.Port())) {
			return refused("another form of " + v4.String() + ", which is a listener of this process")
		}
		if reason := g.judge(v4); reason != "" {
			return refused("another form of " + v4.String() + ", which is " + reason)
		}
	}
	return nil
}

// CheckFor does the same for a connection that came from a client. Those of
// clients on this host may be the gateway's own, unless rules can tell them by
// their mark: so without marks there is a risk of a loop, and they are refused.
func (g *Guard) CheckFor(dst netip.AddrPort, client netip.Addr) error {
	if client.IsValid() && !transparent.CanMark() && transparent.IsHostAddress(client) {
		return &RefusedError{dst, "not safe for a client on this host: the process needs the capability CAP_NET_RAW or CAP_NET_ADMIN " +
			"to mark its own connections, which would otherwise be intercepted again"}
	}
	return g.Check(dst)
}

// judge answers why an address may not be dialled; "" if it may.
func (g *Guard) judge(ip netip.Addr) string {
	allowed, denied := longest(g.Allow, ip), longest(g.Deny, ip)
	if denied >= 0 && denied >= allowed {
		return "denied (original_destination_deny)"
	}
	if what, width := special(ip); what != "" && allowed < width {
		return what + " (see original_destination_allow)"
	}
	return ""
}

// longest is the length of the longest prefix that an address is in; -1 if it is
// in none.
func longest(prefixes []netip.Prefix, ip netip.Addr) int {
	bits := -1
	for _, p := range prefixes {
		if p.Contains(ip) {
			bits = max(bits, p.Bits())
		}
	}
	return bits
}

// specials are the ranges that are never dialled without being allowed.
var specials = []struct {
	netip.Prefix
	what string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "an unspecified address"}, // "this network" (RFC 1122, section 3.2.1.3)
	{netip.MustParsePrefix("127.0.0.0/8"), "a loopback address"},
	{netip.MustParsePrefix("169.254.0.0/16"), "a link-local address"},
	{netip.MustParsePrefix("224.0.0.0/4"), "a multicast address"},
	{netip.MustParsePrefix("255.255.255.255/32"), "the broadcast address"},
	{netip.MustParsePrefix("::/128"), "an unspecified address"},
	{netip.MustParsePrefix("::1/128"), "a loopback address"},
	{netip.MustParsePrefix("fe80::/10"), "a link-local address"},
	{netip.MustParsePrefix("ff00::/8"), "a multicast address"},
}

// special answers what is special about an address, and how long a prefix has to
// be to mean just that.
func special(ip netip.Addr) (what string, width int) {
	for _, s := range specials {
		if s.Contains(ip) {
			return s.what, s.Bits()
		}
	}
	if transparent.IsHostAddress(ip) {
		return "an address of this host", ip.BitLen()
	}
	return "", 0
}
