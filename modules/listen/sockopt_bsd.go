//go:build darwin || openbsd || netbsd || dragonfly

package listen

import (
	"errors"

	"golang.org/x/sys/unix"
)

// These systems let sockets share an address, but give all of its connections
// to one of them.
const (
	sharesAddresses    = true
	spreadsConnections = false
)

func setReusePort(fd uintptr) error {
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
}

func setDeferAccept(uintptr) error { return errors.ErrUnsupported }

func backlogCap() int {
	for _, name := range []string{"kern.ipc.somaxconn", "kern.somaxconn"} {
		if n, err := unix.SysctlUint32(name); err == nil {
			return int(n)
		}
	}
	return 0
}
