//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// A loop serves many connections on one thread with as little work as the
// kernel allows: one read and one write for a request. What load generator and
// upstream leave over is what the proxies can be seen to differ in.
type loop struct {
	epoll  int
	events [256]syscall.EpollEvent
}

func newLoop() (*loop, error) {
	runtime.LockOSThread()
	fd, err := syscall.EpollCreate1(0)
	return &loop{epoll: fd}, err
}

// edge asks to be told once when there is something new to read or room to
// write.
const edge = syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | 1<<31

func (l *loop) add(fd int, events uint32) error {
	return syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)})
}

// wait answers what happened, after at most so many milliseconds.
func (l *loop) wait(milliseconds int) ([]syscall.EpollEvent, error) {
	n, err := syscall.EpollWait(l.epoll, l.events[:], milliseconds)
	if err == syscall.EINTR {
		return nil, nil
	}
	return l.events[:max(n, 0)], err
}

// until calls f for what happens before a deadline. It fails if nothing does for
// long.
func (l *loop) until(deadline time.Time, f func(fd int, events uint32) error) error {
	last := time.Now()
	for now := last; now.Before(deadline); now = time.Now() {
		events, err := l.wait(100)
		if err != nil {
			return err
		}
		if len(events) > 0 {
			last = now
		} else if now.Sub(last) > 5*time.Second {
			return errors.New("nothing happened for five seconds")
		}
		for _, event := range events {
			if err := f(int(event.Fd), event.Events); err != nil {
				return err
			}
		}
	}
	return nil
}

func read(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), errno
}

func write(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), errno
}

// listenFD opens a listening socket that does not block.
func listenFD(addr string) (int, error) {
	where, err := netip.ParseAddrPort(addr)
	if err != nil {
		return 0, err
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: int(where.Port()), Addr: where.Addr().As4()}); err != nil {
		return 0, fmt.Errorf("bind %s: %v", addr, err)
	}
	return fd, syscall.Listen(fd, 16384)
}

// dialFD opens a connection that does not block any more once it is there.
func dialFD(addr string) (int, error) {
	where, err := netip.ParseAddrPort(addr)
	if err != nil {
		return 0, err
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: int(where.Port()), Addr: where.Addr().As4()}); err != nil {
		syscall.Close(fd)
		return 0, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	return fd, tune(fd)
}

func tune(fd int) error {
	if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
		return err
	}
	return syscall.SetNonblock(fd, true)
}
