//go:build !unix

package stream

import "net"

// readDatagrams gives each datagram to pass until the socket is closed or
// broken.
func readDatagrams(c *net.UDPConn, pass func([]byte)) error {
	buf := make([]byte, maxDatagram)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return err
		}
		pass(buf[:n])
	}
}

// refusedByPeer reports whether the other side has said that nobody is there.
func refusedByPeer(error) bool { return false }
