package transparent

import (
	"os"

	"golang.org/x/sys/unix"
)

// setTransparent uses the option of the socket's family (ip(4), ip6(4)); root
// alone may set it.
func setTransparent(fd uintptr) error {
	name, err := unix.Getsockname(int(fd))
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	if _, ok := name.(*unix.SockaddrInet6); ok {
		return os.NewSyscallError("setsockopt IPV6_BINDANY",
			unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_BINDANY, 1))
	}
	return os.NewSyscallError("setsockopt IP_BINDANY",
		unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BINDANY, 1))
}
