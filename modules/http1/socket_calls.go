//go:build unix && (race || !(linux && (amd64 || arm64)))

package http1

import "syscall"

// recv and send are read(2) and write(2) of package syscall. The race detector needs
// those: from them it knows which bytes were there before which.
func recv(fd int, p []byte) (int, error) { return syscall.Read(fd, p) }

func send(fd int, p []byte) (int, error) { return syscall.Write(fd, p) }
