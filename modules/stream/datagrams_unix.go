//go:build unix

package stream

import (
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

var datagramBuffers = newBuffers(maxDatagram)

// readDatagrams gives each datagram to pass until the socket is closed or
// broken. While none comes, it holds no buffer.
func readDatagrams(c *net.UDPConn, pass func([]byte)) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	for {
		var buf *[]byte
		var n int
		var readErr error
		err := raw.Read(func(fd uintptr) bool {
			buf = datagramBuffers.Get().(*[]byte)
			for {
				n, readErr = unix.Read(int(fd), *buf)
				if readErr != unix.EINTR {
					break
				}
			}
			if readErr == unix.EAGAIN {
				datagramBuffers.Put(buf)
				buf = nil
				return false
			}
			return true
		})
		if err == nil && readErr == nil {
			pass((*buf)[:n])
		}
		if buf != nil {
			datagramBuffers.Put(buf)
		}
		if err != nil {
			return err
		}
		if readErr != nil {
			return os.NewSyscallError("read", readErr)
		}
	}
}

// refusedByPeer reports whether the other side has said that nobody is there.
func refusedByPeer(err error) bool { return errors.Is(err, unix.ECONNREFUSED) }
