package listen

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// inheritKeepAlive sets the keep-alive on the listening socket, from which
// Linux passes it on to the connections that it accepts (tcp(7)), and keeps net
// from setting it on each of them anew: that is four system calls less for a
// connection.
func inheritKeepAlive(lc *net.ListenConfig) {
	k := lc.KeepAliveConfig
	if !k.Enable {
		return
	}
	lc.KeepAlive, lc.KeepAliveConfig = -1, net.KeepAliveConfig{}
	control := lc.Control
	lc.Control = func(network, address string, c syscall.RawConn) error {
		if err := control(network, address, c); err != nil {
			return err
		}
		var err error
		set := func(fd uintptr, level, option, value int) {
			if err == nil && value > 0 {
				err = unix.SetsockoptInt(int(fd), level, option, value)
			}
		}
		ctlErr := c.Control(func(fd uintptr) {
			set(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
			set(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds(k.Idle))
			set(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, seconds(k.Interval))
			count := k.Count
			if count == 0 {
				count = 9 // as net does
			}
			set(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, count)
		})
		if err == nil {
			err = ctlErr
		}
		return err
	}
}

// seconds is a time of net.KeepAliveConfig: 0 is Go's default, and negative
// leaves the system's.
func seconds(d time.Duration) int {
	if d == 0 {
		return 15
	}
	return int(d / time.Second)
}
