package ports

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"syscall"
	"testing"
)

func TestFree_isForOneTestOnly(t *testing.T) {
	seen := map[int]bool{}
	for range 20 {
		port := Free(t)
		if seen[port] {
			t.Fatalf("%d was given twice", port)
		}
		seen[port] = true
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		if runtime.GOOS == "linux" && reserve(t, port) {
			t.Errorf("%d may be given to another process", port)
		}
	}
}

func TestDead_refuses(t *testing.T) {
	for range 20 {
		addr := fmt.Sprintf("127.0.0.1:%d", Dead(t))
		if c, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %v, %v", addr, c, err)
		}
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			t.Errorf("somebody else may listen on %s", addr)
		}
	}
}
