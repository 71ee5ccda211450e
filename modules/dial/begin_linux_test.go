package dial_test

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portcullis-gateway/portcullis/modules/dial"
)

func TestToItself(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "::1"} {
		l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		to := l.Addr().(*net.TCPAddr).AddrPort()
		fd, _, err := dial.Dialer{}.Begin(to)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if dial.ToItself(fd, to) {
			t.Errorf("a socket that is connected to %s says that it is to itself", to)
		}

		// A socket that is bound to the address that it connects to meets itself.
		family, at := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
		if address == "::1" {
			family, at = unix.AF_INET6, &unix.SockaddrInet6{Addr: netip.IPv6Loopback().As16()}
		}
		self, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(self)
		if err := unix.Bind(self, at); err != nil {
			t.Fatal(err)
		}
		name, err := unix.Getsockname(self)
		if err != nil {
			t.Fatal(err)
		}
		port := 0
		switch a := name.(type) {
		case *unix.SockaddrInet4:
			port = a.Port
		case *unix.SockaddrInet6:
			port = a.Port
		}
		if err := unix.Connect(self, name); err != nil && !errors.Is(err, syscall.EINPROGRESS) {
			t.Fatal(err)
		}
		if to := netip.AddrPortFrom(to.Addr(), uint16(port)); !dial.ToItself(self, to) {
			t.Errorf("a socket that is connected to itself at %s does not say so", to)
		}
	}
}
