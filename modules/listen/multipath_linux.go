package listen

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// isMultipath reports whether a socket speaks Multipath TCP.
func isMultipath(c syscall.RawConn) (is bool) {
	_ = c.Control(func(fd uintptr) {
		protocol, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PROTOCOL)
		is = err == nil && protocol == unix.IPPROTO_MPTCP
	})
	return is
}
