//go:build !linux

package transparent

import "net"

func newQUICConn(c *net.UDPConn, owner net.PacketConn, _ bool) net.PacketConn { return owner }
