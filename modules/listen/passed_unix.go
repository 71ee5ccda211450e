//go:build unix

package listen

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// passedFits reports whether a socket is of the kind that is wanted. The error
// is that there is none of the number.
func passedFits(fd int, datagrams bool) (bool, error) {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return false, fmt.Errorf("the process was given no socket of that number: %w", err)
	}
	if datagrams {
		return kind == unix.SOCK_DGRAM, nil
	}
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	return kind == unix.SOCK_STREAM && (err != nil || listens != 0), nil
}

// duplicate answers the same socket by another number, which children do not
// inherit; nor do they the first from now on.
func duplicate(fd int) (*os.File, error) {
	unix.CloseOnExec(fd)
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, firstPassed)
	if err != nil {
		return nil, os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
	}
	return os.NewFile(uintptr(n), fmt.Sprintf("fd/%d", fd)), nil
}
