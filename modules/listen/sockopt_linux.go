package listen

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	sharesAddresses    = true
	spreadsConnections = true
)

func setReusePort(fd uintptr) error {
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
}

// deferSeconds is how long the kernel waits for data before it gives up; nginx
// uses client_header_timeout, whose default this is.
const deferSeconds = 60

func setDeferAccept(fd uintptr) error {
	return unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, deferSeconds)
}

func backlogCap() int {
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return n
}
