package transparent

import (
	"os"

	"golang.org/x/sys/unix"
)

// setTransparent lets the socket use addresses that are not the host's
// (getsockopt(2)); root alone may set it.
func setTransparent(fd uintptr) error {
	return os.NewSyscallError("setsockopt SO_BINDANY",
		unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BINDANY, 1))
}
