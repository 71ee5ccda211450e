package transparent

import (
	"os"

	"golang.org/x/sys/unix"
)

func setMark(fd uintptr) error {
	return os.NewSyscallError("setsockopt SO_MARK", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, Mark))
}

// setLatePort uses the option of IPv4, which is good for IPv6, too (ip(7)).
func setLatePort(fd uintptr) error {
	return os.NewSyscallError("setsockopt IP_BIND_ADDRESS_NO_PORT",
		unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1))
}
