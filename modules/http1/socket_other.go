//go:build !unix

package http1

import "net"

// A socket is not to be had on this system; connections keep their buffers.
type socket struct{}

func socketOf(net.Conn) *socket { return nil }

func (*socket) await() (*[]byte, int, error) { panic("http1: no socket") }

func (*socket) send([]byte) (int, error) { panic("http1: no socket") }

func (*socket) gone() bool { panic("http1: no socket") }

func (*socket) quiet() bool { return true }

func outOfMemory(error) bool { return false }
