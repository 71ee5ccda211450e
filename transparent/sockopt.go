package transparent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// The files beside this one say how each system does it:
//
//	setTransparent(fd)           let a listener take connections to addresses of others
//	intakeOption                 whether a listener needs that, to be given connections to others
//	originalDestination(c, l)    what a firewall rewrote; errUntold if it may have and does not tell
//	intake                       whether connections to others can come here at all
//
// What a system lacks returns errors.ErrUnsupported.

// errUntold says that the kernel cannot tell the original destination although
// there may be one.
var errUntold = errors.New("the kernel does not tell the original destination")

// Control prepares a listener's socket for connections that were addressed to
// others, before it is bound; it is for the field of that name in
// net.ListenConfig. The modes say which ones: TPROXY needs a privilege on Linux,
// and an error says which one; for the others there is nothing to do. It may be
// called more than once for a socket.
func (m Modes) Control(_, _ string, c syscall.RawConn) error {
	intercepting.Store(true)
	if !intake {
		return explain(errors.ErrUnsupported)
	}
	if m&ModeTPROXY == 0 || !intakeOption {
		return nil
	}
	return control(c)
}

// control makes a socket transparent.
func control(c syscall.RawConn) error {
	var err error
	if ctlErr := c.Control(func(fd uintptr) { err = setTransparent(fd) }); ctlErr != nil {
		return ctlErr
	}
	return explain(err)
}

// Check reports whether this process can listen in these modes, by doing it for
// a moment.
func (m Modes) Check() error {
	lc := net.ListenConfig{Control: m.Control}
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), "tcp", "localhost:0")
	if err != nil {
		return unwrapControl(err)
	}
	return ln.Close()
}

// unwrapControl drops what package net says before an error of Control: the
// address of a throw-away socket would mislead.
func unwrapControl(err error) error {
	var denied *PrivilegeError
	if errors.As(err, &denied) {
		return denied
	}
	return err
}

// A PrivilegeError says that the system did not let a socket become
// transparent, and what would help.
type PrivilegeError struct {
	// Err is what the system said.
	Err error

	// Datagrams is set if the socket is not for connections.
	Datagrams bool
}

func (e *PrivilegeError) Unwrap() error { return e.Err }

// Error answers one sentence that an operator can act on.
func (e *PrivilegeError) Error() string {
	what := "cannot make the socket transparent: "
	if e.Datagrams {
		what = "cannot take and answer datagrams to others: "
	}
	switch {
	case errors.Is(e.Err, os.ErrPermission) && e.Datagrams:
		return fmt.Sprintf("%s%v: the process needs the capabilities CAP_NET_RAW (or CAP_NET_ADMIN) and, for answers from ports below 1024, CAP_NET_BIND_SERVICE "+
			"(systemd: AmbientCapabilities=CAP_NET_RAW CAP_NET_BIND_SERVICE; binary: setcap cap_net_raw,cap_net_bind_service=+ep; "+
			"container: --cap-add NET_RAW --cap-add NET_BIND_SERVICE)", what, e.Err)
	case errors.Is(e.Err, os.ErrPermission):
		return fmt.Sprintf("%s%v: the process needs the capability CAP_NET_RAW or CAP_NET_ADMIN "+
			"(systemd: AmbientCapabilities=CAP_NET_RAW; binary: setcap cap_net_raw=+ep; container: --cap-add NET_RAW), "+
			"or a socket that systemd passes with Transparent=yes; "+
			"connections that a firewall redirects (REDIRECT, DNAT) need none: ask for the mode redirect alone", what, e.Err)
	case errors.Is(e.Err, errors.ErrUnsupported):
		return what + "this system has no such sockets"
	}
	return fmt.Sprintf("%s%v", what, e.Err)
}

func explain(err error) error {
	if err == nil {
		return nil
	}
	return &PrivilegeError{Err: err}
}

func explainDatagrams(err error) error {
	if err == nil {
		return nil
	}
	return &PrivilegeError{Err: err, Datagrams: true}
}
