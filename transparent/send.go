package transparent

import (
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// sendFrom sends a datagram from an address by a transparent socket whose port
// is the address's.
func sendFrom(c *net.UDPConn, b []byte, from, to netip.AddrPort) (int, error) {
	var control []byte
	if from.Addr().Is4() {
		control = (&ipv4.ControlMessage{Src: from.Addr().AsSlice()}).Marshal()
	} else {
		control = (&ipv6.ControlMessage{Src: from.Addr().AsSlice()}).Marshal()
	}
	if to.Addr().Is4() && AddrPort(c.LocalAddr()).Addr().Is6() {
		to = netip.AddrPortFrom(netip.AddrFrom16(to.Addr().As16()), to.Port())
	}
	n, _, err := c.WriteMsgUDPAddrPort(b, control, to)
	return n, err
}
