package transparent

import (
	"errors"
	"net/netip"
	"os"
	"syscall"
)

// The files beside this one say how each system does it:
//
//	intakePackets              whether datagrams to others can come here
//	tellDestinations(fd)       let the kernel tell of each datagram where it was sent to
//	destinationOf(oob)         what it told
//	prepareReply(fd, whole)    let a socket send from an address of somebody else's
//	deafen(fd, from)           and receive nothing there

// ControlPackets prepares a socket for datagrams that were addressed to others
// and that TPROXY gives it, before it is bound: it is for the field Control in
// net.ListenConfig. REDIRECT and DNAT leave no trace on a datagram, so there is
// one way only. Linux; a [PrivilegeError] says what is missing. It may be called
// more than once for a socket.
func ControlPackets(_, _ string, c syscall.RawConn) error {
	if !intakePackets {
		return explainDatagrams(errors.ErrUnsupported)
	}
	var err error
	ctlErr := c.Control(func(fd uintptr) {
		if err = setTransparent(fd); err == nil {
			err = tellDestinations(fd)
		}
	})
	if ctlErr != nil {
		return ctlErr
	}
	return explainDatagrams(err)
}

// DatagramDestination is where a datagram was sent to, by the control messages
// that came with it on a socket that [ControlPackets] has prepared.
func DatagramDestination(control []byte) (netip.AddrPort, bool) { return destinationOf(control) }

// LocateDatagram tells how a datagram to an address came to a socket that
// [ControlPackets] has prepared and that is bound to bound.
func LocateDatagram(to, bound netip.AddrPort) Arrival {
	switch {
	case to.Port() != bound.Port(),
		!bound.Addr().IsUnspecified() && to.Addr() != bound.Addr().Unmap(),
		!to.Addr().IsMulticast() && to.Addr() != limitedBroadcast && !IsHostAddress(to.Addr()):
		return Arrival{TPROXY, to}
	}
	return Arrival{Direct, to}
}

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// CheckReplies reports whether this process can answer in the name of others, on
// any of their ports, by opening a socket for it. It needs a capability more than
// [ControlPackets] if ports below 1024 do.
func CheckReplies() error {
	c, err := openReply(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 1), false)
	if errors.Is(err, os.ErrPermission) {
		var denied *os.SyscallError
		errors.As(err, &denied)
		return explainDatagrams(denied)
	}
	if err == nil {
		c.Close()
	}
	return nil // such as that somebody else has it
}
