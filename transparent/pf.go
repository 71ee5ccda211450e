//go:build darwin || freebsd || openbsd

package transparent

import (
	"encoding/binary"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pf's `rdr` rewrites, and tells afterwards; its `divert-to`, and ipfw's `fwd`,
// leave the address alone. None of them asks for a privileged socket.
const (
	intake       = true
	intakeOption = false
)

// device is /dev/pf, opened when it is first needed; only root may.
var device = sync.OnceValues(func() (*os.File, error) { return os.OpenFile("/dev/pf", os.O_RDWR, 0) })

const pfOut = 2 // PF_OUT (net/pfvar.h)

// originalDestination asks pf for the state that a connection belongs to
// (DIOCNATLOOK in pf(4)). A connection that pf does not know was not rewritten.
func originalDestination(_ syscall.RawConn, remote, local netip.AddrPort) (netip.AddrPort, error) {
	pf, err := device()
	if err != nil {
		return netip.AddrPort{}, errUntold
	}
	look := newNatLook(remote, local)
	// x/sys has no ioctl for a struct of our own, but one that takes a pointer
	// and nothing else of it.
	err = unix.IoctlSetWinsize(int(pf.Fd()), diocNatLook, (*unix.Winsize)(unsafe.Pointer(look)))
	if err != nil {
		return netip.AddrPort{}, os.NewSyscallError("ioctl DIOCNATLOOK", err)
	}
	return look.original(), nil
}

// newNatLook asks about a connection from client to local.
func newNatLook(client, local netip.AddrPort) *natLook {
	l := &natLook{proto: unix.IPPROTO_TCP, direction: pfOut, af: unix.AF_INET6}
	if local.Addr().Is4() {
		l.af = unix.AF_INET
	}
	copy(l.saddr[:], client.Addr().AsSlice())
	copy(l.daddr[:], local.Addr().AsSlice())
	binary.BigEndian.PutUint16(l.sport[:], client.Port())
	binary.BigEndian.PutUint16(l.dport[:], local.Port())
	return l
}

// original is what pf answered.
func (l *natLook) original() netip.AddrPort {
	addr := netip.AddrFrom16(l.rdaddr)
	if l.af == unix.AF_INET {
		addr = netip.AddrFrom4([4]byte(l.rdaddr[:4]))
	}
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(l.rdport[:]))
}

// The structs of the files beside this one have the size that is part of the
// request's number.
var _ [diocNatLook >> 16 & 0x1fff]byte = [unsafe.Sizeof(natLook{})]byte{}
