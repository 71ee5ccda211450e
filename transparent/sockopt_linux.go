package transparent

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	intake       = true
	intakeOption = true
)

// setTransparent sets the option of the socket's own family, which on an
// AF_INET6 socket is good for both. A socket that was passed with it needs no
// privilege any more.
func setTransparent(fd uintptr) error {
	domain, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return os.NewSyscallError("getsockopt SO_DOMAIN", err)
	}
	name, level, option := "IP_TRANSPARENT", unix.SOL_IP, unix.IP_TRANSPARENT
	if domain == unix.AF_INET6 {
		name, level, option = "IPV6_TRANSPARENT", unix.SOL_IPV6, unix.IPV6_TRANSPARENT
	}
	if on, err := unix.GetsockoptInt(int(fd), level, option); err == nil && on != 0 {
		return nil
	}
	return os.NewSyscallError("setsockopt "+name, unix.SetsockoptInt(int(fd), level, option, 1))
}

// soOriginalDst is SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST
// (linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h).
const soOriginalDst = 80

// originalDestination asks conntrack. The family to ask for is that of the
// address, not of the socket. x/sys has no call of this name; two others read
// the same sizes: a struct ipv6_mreq is large enough for a sockaddr_in, and
// a struct ip6_mtuinfo begins with a sockaddr_in6.
func originalDestination(c syscall.RawConn, _, local netip.AddrPort) (dst netip.AddrPort, err error) {
	ctlErr := c.Control(func(fd uintptr) {
		if local.Addr().Is4() {
			var in *unix.IPv6Mreq
			if in, err = unix.GetsockoptIPv6Mreq(int(fd), unix.SOL_IP, soOriginalDst); err == nil {
				addr := netip.AddrFrom4([4]byte(in.Multiaddr[4:8]))
				dst = netip.AddrPortFrom(addr, binary.BigEndian.Uint16(in.Multiaddr[2:4]))
			}
			return
		}
		var in6 *unix.IPv6MTUInfo
		if in6, err = unix.GetsockoptIPv6MTUInfo(int(fd), unix.SOL_IPV6, soOriginalDst); err == nil {
			port := binary.NativeEndian.AppendUint16(nil, in6.Addr.Port)
			dst = netip.AddrPortFrom(netip.AddrFrom16(in6.Addr.Addr), binary.BigEndian.Uint16(port))
		}
	})
	switch {
	case ctlErr != nil:
		return dst, ctlErr
	case errors.Is(err, unix.EOPNOTSUPP):
		return dst, errUntold // Multipath TCP
	}
	return dst, err
}
