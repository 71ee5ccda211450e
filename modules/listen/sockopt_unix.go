//go:build linux || darwin || freebsd || openbsd || netbsd || dragonfly

package listen

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

func setIPv6Only(fd uintptr, on bool) error {
	value := 0
	if on {
		value = 1
	}
	return unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, value)
}

func setBacklog(fd uintptr, n int) error { return unix.Listen(int(fd), n) }

var errProbed = errors.New("the address is free")

// probe binds a socket without SO_REUSEPORT, which fails if any other socket
// listens there, even one that has it. The socket never listens, so no client
// can meet it: net makes it (close-on-exec, with SO_REUSEADDR, so connections
// of a dead predecessor do not count), the control function binds it, and its
// error makes net close it again.
func probe(addr netip.AddrPort, ipv6Only bool) error {
	network, sa := "tcp4", unix.Sockaddr(nil)
	if addr.Addr().Is4() {
		sa = &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	} else {
		network, sa = "tcp6", &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16(), ZoneId: zoneID(addr.Addr().Zone())}
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		result := errProbed
		err := c.Control(func(fd uintptr) {
			if addr.Addr().Is6() {
				setIPv6Only(fd, ipv6Only) // if it fails here, it will with a warning there
			}
			if err := unix.Bind(int(fd), sa); err != nil {
				result = os.NewSyscallError("bind", err)
			}
		})
		return errors.Join(err, result)
	}}
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), network, addr.String())
	if err == nil {
		ln.Close()
	}
	if errors.Is(err, errProbed) {
		return nil
	}
	return err
}

// zoneID is the index of the interface that an IPv6 zone names.
func zoneID(zone string) uint32 {
	if ifc, err := net.InterfaceByName(zone); err == nil {
		return uint32(ifc.Index)
	}
	n, _ := strconv.ParseUint(zone, 10, 32)
	return uint32(n)
}
