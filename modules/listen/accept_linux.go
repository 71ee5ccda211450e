package listen

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/portcullis-gateway/portcullis/transparent"
)

// A Taker takes a Socket's connections as descriptors that nobody else knows:
// neither net nor Go's poller. It may be used by one goroutine at a time, while
// none accepts.
type Taker struct {
	raw   syscall.RawConn
	try   func(uintptr) // made once
	from  unix.RawSockaddrAny
	fd    int
	errno syscall.Errno
}

// Taker makes one for the socket.
func (s *Socket) Taker() (*Taker, error) {
	raw, err := s.SyscallConn()
	if err != nil {
		return nil, err
	}
	t := &Taker{raw: raw}
	t.try = t.accept
	return t, nil
}

// Control lets f have the socket itself.
func (t *Taker) Control(f func(fd uintptr)) error { return t.raw.Control(f) }

// ErrNone is that no connection waits.
var ErrNone = errors.New("no connection waits to be accepted")

// Take accepts a connection without waiting. It answers a socket that does not
// block, and the address at its other end; ErrNone if there is none.
func (t *Taker) Take() (fd int, peer netip.AddrPort, err error) {
	if err := t.raw.Control(t.try); err != nil {
		return 0, peer, err
	}
	switch t.errno {
	case 0:
		return t.fd, addrPortOf(&t.from), nil
	case syscall.EAGAIN:
		return 0, peer, ErrNone
	}
	return 0, peer, os.NewSyscallError("accept4", t.errno)
}

func (t *Taker) accept(listener uintptr) {
	for {
		size := uint32(unix.SizeofSockaddrAny)
		n, _, errno := syscall.RawSyscall6(unix.SYS_ACCEPT4, listener, uintptr(unsafe.Pointer(&t.from)), uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		if errno == syscall.EINTR || errno == syscall.ECONNABORTED { // closed while it waited
			continue
		}
		t.fd, t.errno = int(n), errno
		return
	}
}

// Locate tells how a connection came that a Taker has taken, as Arrival does, and
// its address at this end.
func (s *Socket) Locate(fd int, peer netip.AddrPort) (a transparent.Arrival, local netip.AddrPort, ok bool) {
	if s.modes == 0 && !s.addr.Addr().IsUnspecified() {
		return a, s.addr, true
	}
	var name unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	if _, _, errno := syscall.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&name)), uintptr(unsafe.Pointer(&size))); errno != 0 {
		return a, local, false
	}
	local = addrPortOf(&name)
	if s.modes == 0 {
		return a, local, true
	}
	a = s.modes.LocateSocket(Descriptor(fd), peer, local, s.addr)
	return a, local, s.modes.Admits(a.How, s.intercepted)
}

// Conn makes a connection of net out of one that a Taker has taken. If it fails,
// the descriptor is closed.
func Conn(fd int) (*net.TCPConn, error) {
	f := os.NewFile(uintptr(fd), "")
	defer f.Close() // net has made a copy
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	tcp := c.(*net.TCPConn)
	_ = tcp.SetNoDelay(true) // as net does with those that it accepts
	return tcp, nil
}

// A Descriptor is a socket as a Control function sees it.
type Descriptor int

// Control calls f.
func (d Descriptor) Control(f func(fd uintptr)) error { f(uintptr(d)); return nil }

// Read and Write need a poller, and fail.
func (Descriptor) Read(func(uintptr) bool) error  { return errors.ErrUnsupported }
func (Descriptor) Write(func(uintptr) bool) error { return errors.ErrUnsupported }

// addrPortOf reads a socket's address.
func addrPortOf(a *unix.RawSockaddrAny) netip.AddrPort {
	port := func(p *uint16) uint16 { b := (*[2]byte)(unsafe.Pointer(p)); return uint16(b[0])<<8 | uint16(b[1]) }
	switch a.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(a))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), port(&in.Port))
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(a))
		return netip.AddrPortFrom(netip.AddrFrom16(in.Addr).Unmap(), port(&in.Port))
	}
	return netip.AddrPort{}
}

// Interface guard
var _ syscall.RawConn = Descriptor(0)
