package transparent

import (
	"encoding/binary"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

const intakePackets = true

// tellDestinations asks for a control message with each datagram. A socket of
// both families wants both options: for IPv4 it gets the message of IPv4.
func tellDestinations(fd uintptr) error {
	domain, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return os.NewSyscallError("getsockopt SO_DOMAIN", err)
	}
	if err := unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_RECVORIGDSTADDR, 1); err != nil {
		return os.NewSyscallError("setsockopt IP_RECVORIGDSTADDR", err)
	}
	if domain == unix.AF_INET6 {
		return os.NewSyscallError("setsockopt IPV6_RECVORIGDSTADDR",
			unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_RECVORIGDSTADDR, 1))
	}
	return nil
}

// destinationOf reads the control message, whose data is a struct sockaddr_in or
// sockaddr_in6 (ip(7), ipv6(7)).
func destinationOf(control []byte) (netip.AddrPort, bool) {
	for len(control) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			break
		}
		switch {
		case h.Level == unix.SOL_IP && h.Type == unix.IP_ORIGDSTADDR && len(data) >= unix.SizeofSockaddrInet4:
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte(data[4:8])), binary.BigEndian.Uint16(data[2:4])), true
		case h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_ORIGDSTADDR && len(data) >= unix.SizeofSockaddrInet6:
			return netip.AddrPortFrom(netip.AddrFrom16([16]byte(data[8:24])).Unmap(), binary.BigEndian.Uint16(data[2:4])), true
		}
		control = rest
	}
	return netip.AddrPort{}, false
}

// prepareReply sets what a socket needs before it is bound to an address of
// somebody else's: the right to, and to stand beside other sockets there. Whole
// tells it to fragment nothing. It is never read, so it may keep nothing either.
func prepareReply(fd uintptr, whole bool) error {
	if err := setTransparent(fd); err != nil {
		return err
	}
	for _, option := range []struct {
		name       string
		opt, value int
	}{
		{"SO_REUSEADDR", unix.SO_REUSEADDR, 1},
		{"SO_REUSEPORT", unix.SO_REUSEPORT, 1},
		{"SO_RCVBUF", unix.SO_RCVBUF, 0},
	} {
		if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option.opt, option.value); err != nil {
			return os.NewSyscallError("setsockopt "+option.name, err)
		}
	}
	if whole { // one of the two is for the other family
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
	}
	return nil
}

// deafen makes a socket that is bound to from hear nobody: it is connected to
// itself, and the kernel gives a connected socket what comes from its peer
// alone. Datagrams of clients then go where they went before there was a
// socket at their destination, and it can still send to everyone (udp(7)). Where
// there is no way to that address, it stays as it was.
func deafen(fd uintptr, from netip.AddrPort) {
	if from.Addr().Is4() {
		_ = unix.Connect(int(fd), &unix.SockaddrInet4{Port: int(from.Port()), Addr: from.Addr().As4()})
	} else {
		_ = unix.Connect(int(fd), &unix.SockaddrInet6{Port: int(from.Port()), Addr: from.Addr().As16()})
	}
}
