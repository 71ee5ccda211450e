package dial

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/portcullis-gateway/portcullis/modules/listen"
)

// Begin connects as Stream does, to an address of IP, without waiting. It
// answers a socket that does not block and that nobody else knows, and whether
// it is connected yet; if not, it will be writable as soon as it is, or has
// failed.
func (d Dialer) Begin(to netip.AddrPort) (fd int, connected bool, err error) {
	family := unix.AF_INET6
	if to.Addr().Is4() {
		family = unix.AF_INET
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, false, d.Failed(to, os.NewSyscallError("socket", err))
	}
	call, unguarded := "", d
	if unguarded.Guarded = false; d.Guarded && listen.IsPrivate(to) {
		err = ErrPrivate
	} else if control := unguarded.control(); control != nil {
		err = control("tcp", "", listen.Descriptor(fd))
	}
	if err == nil && d.Source.Addr.IsValid() {
		call, err = "bind", unix.Bind(fd, sockaddr(netip.AddrPortFrom(d.Source.Addr, 0)))
	}
	if err == nil {
		call, err = "connect", unix.Connect(fd, sockaddr(to))
		if err == nil && ToItself(fd, to) {
			err = unix.ECONNREFUSED
		}
	}
	switch {
	case err == nil:
		return fd, true, nil
	case errors.Is(err, unix.EINPROGRESS):
		return fd, false, nil
	}
	unix.Close(fd)
	if call != "" {
		err = os.NewSyscallError(call, err)
	}
	return 0, false, d.Failed(to, err)
}

// ToItself reports whether a socket was connected to itself. That happens when
// nobody listens on a port of this host, and the kernel has chosen that one for the
// socket (simultaneous open, RFC 9293, section 3.5).
func ToItself(fd int, to netip.AddrPort) bool {
	name, err := unix.Getsockname(fd)
	if err != nil {
		return false
	}
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		return int(to.Port()) == a.Port && to.Addr() == netip.AddrFrom4(a.Addr)
	case *unix.SockaddrInet6:
		return int(to.Port()) == a.Port && to.Addr() == netip.AddrFrom16(a.Addr)
	}
	return false
}

// Failed is the error that Stream would have answered for what became of a
// socket of Begin.
func (d Dialer) Failed(to netip.AddrPort, err error) error {
	if _, ok := err.(syscall.Errno); ok {
		err = os.NewSyscallError("connect", err)
	}
	err = &net.OpError{Op: "dial", Net: "tcp", Source: d.Source.tcp(), Addr: net.TCPAddrFromAddrPort(to), Err: err}
	if d.Source.Addr.IsValid() {
		err = d.Source.failed(to.String(), err)
	}
	return err
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}
