//go:build unix

package listen

import "golang.org/x/sys/unix"

// waiting reports whether a connection is there that nobody has accepted yet.
func (s *Socket) waiting() (yes bool) {
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		list := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, _ := unix.Poll(list, 0)
		yes = n > 0
	})
	return yes
}
