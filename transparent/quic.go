package transparent

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// destinationTail is how many bytes stand behind a client's address; see
// withDestination.
const destinationTail = 16 + 2

// withDestination is a client's address that remembers where the client had sent
// to. A QUIC connection keeps the address it was made with and answers to it, so
// nothing else has to know both. The destination stands in the capacity of IP,
// behind its end, where nobody looks who does not know.
func withDestination(client *net.UDPAddr, to netip.AddrPort) *net.UDPAddr {
	n := len(client.IP)
	ip := make(net.IP, n+destinationTail)
	copy(ip, client.IP)
	as16 := to.Addr().As16()
	copy(ip[n:], as16[:])
	binary.BigEndian.PutUint16(ip[n+16:], to.Port())
	return &net.UDPAddr{IP: ip[: n : n+destinationTail], Port: client.Port, Zone: client.Zone}
}

// destinationBehind is what withDestination has put behind an address.
func destinationBehind(client *net.UDPAddr) (netip.AddrPort, bool) {
	n := len(client.IP)
	if cap(client.IP) != n+destinationTail {
		return netip.AddrPort{}, false
	}
	tail := client.IP[n:cap(client.IP)]
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(tail)).Unmap(), binary.BigEndian.Uint16(tail[16:])), true
}

// QUICDestination is where a QUIC connection was addressed to, by the address of
// its client. It is not ok if its listener is none of [QUICNetwork].
func QUICDestination(client net.Addr) (to netip.AddrPort, ok bool) {
	if udp, is := client.(*net.UDPAddr); is {
		return destinationBehind(udp)
	}
	return to, false
}
