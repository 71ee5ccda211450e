//go:build linux && (amd64 || arm64) && !race

package http1

import (
	"syscall"
	"unsafe"
)

// recv and send are read(2) and write(2) for sockets: the kernel need not find out
// that the descriptor is one, which is some five per cent of a small call. Neither
// blocks, so the scheduler is not told, which is worth as much again; a call of
// maxRaw bytes takes a few microseconds.
const maxRaw = 16 << 10

func recv(fd int, p []byte) (int, error) {
	if len(p) == 0 || len(p) > maxRaw {
		return syscall.Read(fd, p)
	}
	return socketCall(syscall.SYS_RECVFROM, fd, p, syscall.MSG_DONTWAIT)
}

func send(fd int, p []byte) (int, error) {
	if len(p) == 0 || len(p) > maxRaw {
		return syscall.Write(fd, p)
	}
	return socketCall(syscall.SYS_SENDTO, fd, p, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
}

func socketCall(number uintptr, fd int, p []byte, flags uintptr) (int, error) {
	n, _, errno := syscall.RawSyscall6(number, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}
