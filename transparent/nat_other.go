//go:build !(linux || darwin || freebsd || openbsd)

package transparent

import (
	"errors"
	"net/netip"
	"syscall"
)

const (
	intake       = false
	intakeOption = false
)

func originalDestination(syscall.RawConn, netip.AddrPort, netip.AddrPort) (netip.AddrPort, error) {
	return netip.AddrPort{}, errors.ErrUnsupported
}
