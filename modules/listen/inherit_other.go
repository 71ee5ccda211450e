//go:build !linux

package listen

import "net"

// inheritKeepAlive is not relied on here: net sets the keep-alive on each
// connection.
func inheritKeepAlive(*net.ListenConfig) {}
