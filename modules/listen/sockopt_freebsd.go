package listen

import (
	"errors"

	"golang.org/x/sys/unix"
)

const (
	sharesAddresses    = true
	spreadsConnections = true
)

// setReusePort uses the option that balances: plain SO_REUSEPORT gives all
// connections to one socket there.
func setReusePort(fd uintptr) error {
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT_LB, 1)
}

func setDeferAccept(uintptr) error { return errors.ErrUnsupported }

func backlogCap() int {
	n, err := unix.SysctlUint32("kern.ipc.soacceptqueue")
	if err != nil {
		return 0
	}
	return int(n)
}
