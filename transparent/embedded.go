package transparent

import (
	"encoding/binary"
	"net/netip"
)

// Prefixes of IPv6 addresses that stand for one of IPv4, which begins at a byte.
// Somebody on the way may send what goes to them to that address.
var embedding = []struct {
	netip.Prefix
	at       int
	inverted bool
}{
	{netip.MustParsePrefix("::/96"), 12, false},           // IPv4-compatible (RFC 4291, section 2.5.5.1)
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12, false}, // IPv4-translated (RFC 2765)
	{netip.MustParsePrefix("64:ff9b::/96"), 12, false},    // NAT64 (RFC 6052)
	{netip.MustParsePrefix("64:ff9b:1::/48"), 12, false},  // NAT64 of a network's own (RFC 8215), as a /96 of it
	{netip.MustParsePrefix("2002::/16"), 2, false},        // 6to4 (RFC 3056)
	{netip.MustParsePrefix("2001::/32"), 12, true},        // Teredo (RFC 4380)
}

// Embedded is the IPv4 address that an IPv6 address stands for: that of NAT64,
// 6to4, Teredo, ISATAP, and the old forms in which one is written as the other.
// A v4-mapped address is none of them: it is the IPv4 address itself.
func Embedded(ip netip.Addr) (netip.Addr, bool) {
	if !ip.Is6() || ip.Is4In6() || ip.IsUnspecified() || ip.IsLoopback() {
		return netip.Addr{}, false
	}
	b := ip.As16()
	for _, e := range embedding {
		if !e.Contains(ip.WithZone("")) {
			continue
		}
		v4 := [4]byte(b[e.at : e.at+4])
		if e.inverted {
			for i := range v4 {
				v4[i] = ^v4[i]
			}
		}
		return netip.AddrFrom4(v4), true
	}
	// ISATAP (RFC 5214, section 6.1): in the identifier of an interface.
	if id := binary.BigEndian.Uint32(b[8:12]); id == 0x00005efe || id == 0x02005efe {
		return netip.AddrFrom4([4]byte(b[12:16])), true
	}
	return netip.Addr{}, false
}
