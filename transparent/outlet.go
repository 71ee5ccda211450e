package transparent

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// The files for each system have, beside what sockopt.go lists:
//
//	setMark(fd)      marks the packets of a socket with Mark
//	setLatePort(fd)  lets a bind without a port leave the port to connect

// Outgoing prepares the socket of a connection to an upstream, before it is
// bound, so that it may have an address that is not one of this host's; with
// foreign false, one that is. The port is chosen when the destination is known: so a
// source address has as many connections as there are ports to each destination, and
// not in all. An error is a *PrivilegeError if this process may not do it.
func Outgoing(c syscall.RawConn, foreign bool) error {
	var err error
	ctlErr := c.Control(func(fd uintptr) {
		_ = setLatePort(fd) // older kernels have fewer ports
		if foreign {
			if err = setTransparent(fd); err == nil {
				_ = setMark(fd) // what may be transparent may be marked
			}
		}
	})
	if ctlErr != nil {
		return ctlErr
	}
	return explain(err)
}

// CheckOutgoing reports whether this process may connect from addresses that
// are not this host's, by preparing a socket for it.
func CheckOutgoing() error {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return Outgoing(c, true) }}
	ln, err := lc.Listen(context.Background(), "tcp", "localhost:0")
	if err != nil {
		return unwrapControl(err)
	}
	return ln.Close()
}

// intercepting tells that this process has had a listener for connections that
// were addressed to others.
var intercepting atomic.Bool

// Marks reports whether the connections that this process makes are to be marked
// with [Mark]: it listens for those that a firewall intercepts, so the firewall has
// to tell them from those of others, and the process may mark them.
func Marks() bool { return intercepting.Load() && canMark() }

// CanMark reports whether this process may mark its connections (CAP_NET_RAW or
// CAP_NET_ADMIN).
func CanMark() bool { return canMark() }

var canMark = sync.OnceValue(func() bool {
	err := error(syscall.ENOTSUP)
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { err = setMark(fd) })
	}}
	if ln, listenErr := lc.Listen(context.Background(), "tcp", "localhost:0"); listenErr == nil {
		ln.Close()
	}
	return err == nil
})

// MarkSocket marks the packets of a socket with [Mark]. It does what it can.
func MarkSocket(c syscall.RawConn) {
	_ = c.Control(func(fd uintptr) { _ = setMark(fd) })
}
