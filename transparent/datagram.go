package transparent

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// The files beside this one say how each system does it:
//
//	intakePackets              whether datagrams to others can come here
//	tellDestinations(fd)       let the kernel tell of each datagram where it was sent to
//	destinationOf(oob)         what it told
//	prepareReply(fd, whole)    let a socket send from an address of somebody else's

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

// CheckReplies reports whether this process can send datagrams from addresses of
// others, by preparing a socket for it.
func CheckReplies() error {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		ctlErr := c.Control(func(fd uintptr) { err = prepareReply(fd, false) })
		return errors.Join(ctlErr, explainDatagrams(err))
	}}
	c, err := lc.ListenPacket(context.Background(), "udp4", "127.0.0.1:0")
	if err != nil {
		return unwrapControl(err)
	}
	return c.Close()
}
