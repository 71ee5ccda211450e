// Package ports is for tests that need a port before they can listen on it, or
// one where nobody listens.
package ports

import (
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
)

// Ports of Free are below those that systems hand out, to whoever asks for any
// port and to outgoing connections: nobody else gets them in the meantime. So
// are those that are higher by 10,000, which a Redis cluster opens as well.
const first, count = 10_000, 9_000

var next atomic.Int64

func init() { next.Store(rand.Int64N(count)) }

// Free answers a port of 127.0.0.1 that nothing listens on, over TCP or UDP.
// Until the test ends no test gets it again, on Linux no test of another process
// either.
func Free(t testing.TB) int {
	t.Helper()
	for range count {
		port := first + int(next.Add(1)%count)
		if isFree(port) && reserve(t, port) {
			return port
		}
	}
	t.Fatal("no free port found")
	return 0
}

func isFree(port int) bool {
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	l.Close()
	p, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	p.Close()
	return true
}

// reserve tells the tests of other processes that the port is taken: by a name
// without a file, which ends with its socket.
func reserve(t testing.TB, port int) bool {
	if runtime.GOOS != "linux" {
		return true
	}
	l, err := net.Listen("unix", fmt.Sprintf("@portcullis-test-port-%d", port))
	if err != nil {
		return false
	}
	t.Cleanup(func() { l.Close() })
	return true
}

// Dead answers a port of 127.0.0.1 where nobody listens, nor will as long as the
// test runs: that of the near end of a connection to elsewhere.
func Dead(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.LocalAddr().(*net.TCPAddr).Port
}
