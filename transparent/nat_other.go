//go:build !(linux || darwin || freebsd || openbsd)

package transparent

import (
	"errors"
	"net"
	"net/netip"
)

const (
	intake       = false
	intakeOption = false
)

func originalDestination(*net.TCPConn, netip.AddrPort) (netip.AddrPort, error) {
	return netip.AddrPort{}, errors.ErrUnsupported
}
