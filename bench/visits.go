//go:build linux

package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// A visit is a connection for one request: connect, send, receive to the end.
type visit struct {
	sent bool
	got  []byte
}

// visits makes one connection after the other, a number of them at a time. The
// other end closes first, so that no port of ours is used up by waiting. An
// answer begins with prefix.
func (b *blast) visits(connections int, payload []byte, prefix string, deadline time.Time, r *result) error {
	l, err := newLoop()
	if err != nil {
		return err
	}
	where, err := netip.ParseAddrPort(b.addr)
	if err != nil {
		return err
	}
	to := &syscall.SockaddrInet4{Port: int(where.Port()), Addr: where.Addr().As4()}
	open := make(map[int]*visit, connections)
	defer func() {
		for fd := range open {
			syscall.Close(fd)
		}
	}()
	begin := func() error {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		open[fd] = new(visit)
		if err := syscall.Connect(fd, to); err != nil && err != syscall.EINPROGRESS {
			return fmt.Errorf("connect: %v", err)
		}
		return l.add(fd, edge)
	}
	for range connections {
		if err := begin(); err != nil {
			return err
		}
	}
	buf := make([]byte, 16<<10)
	return l.until(deadline, func(fd int, events uint32) error {
		v := open[fd]
		if !v.sent && events&syscall.EPOLLOUT != 0 {
			v.sent = true
			if _, errno := write(fd, payload); errno != 0 {
				return fmt.Errorf("write: %v", errno)
			}
		}
		if events&(syscall.EPOLLIN|syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) == 0 {
			return nil
		}
		n, errno := read(fd, buf)
		for ; errno == 0 && n > 0; n, errno = read(fd, buf) {
			v.got = append(v.got, buf[:n]...)
		}
		if errno == syscall.EAGAIN {
			return nil
		}
		if errno != 0 {
			return fmt.Errorf("read: %v", errno)
		}
		if !bytes.HasPrefix(v.got, []byte(prefix)) {
			return fmt.Errorf("the answer is %q", v.got)
		}
		r.Count++
		syscall.Close(fd)
		delete(open, fd)
		return begin()
	})
}

// pingPong sends 64 bytes and waits for them to come back, on a number of
// connections.
func (b *blast) pingPong(connections int, deadline time.Time, r *result) error {
	l, err := newLoop()
	if err != nil {
		return err
	}
	ping := bytes.Repeat([]byte("ping"), 16)
	missing := make(map[int]int, connections)
	for range connections {
		fd, err := dialFD(b.addr)
		if err != nil {
			return err
		}
		defer syscall.Close(fd)
		if err := l.add(fd, syscall.EPOLLIN|1<<31); err != nil {
			return err
		}
		missing[fd] = len(ping)
		if _, errno := write(fd, ping); errno != 0 {
			return fmt.Errorf("write: %v", errno)
		}
	}
	buf := make([]byte, 4096)
	return l.until(deadline, func(fd int, _ uint32) error {
		n, errno := read(fd, buf)
		if errno == syscall.EAGAIN {
			return nil
		}
		if errno != 0 || n == 0 || n > missing[fd] {
			return fmt.Errorf("read: %d bytes, %v", n, errno)
		}
		if missing[fd] -= n; missing[fd] > 0 {
			return nil
		}
		r.Count++
		missing[fd] = len(ping)
		if _, errno := write(fd, ping); errno != 0 {
			return fmt.Errorf("write: %v", errno)
		}
		return nil
	})
}

// bulk takes what comes on one connection until the deadline, and counts
// megabytes.
func (b *blast) bulk(deadline time.Time, r *result) error {
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	for time.Now().Before(deadline) {
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		const piece = 16_000_000
		if err := drop(conn.(*net.TCPConn), piece); err != nil {
			return err
		}
		r.Count += piece / 1_000_000
		r.Bytes += piece
	}
	return nil
}

// clientHello is what a TLS client sends first to a server of that name.
func clientHello(name string) []byte {
	ours, theirs := net.Pipe()
	go func() {
		tls.Client(ours, &tls.Config{ServerName: name}).Handshake()
		ours.Close()
	}()
	defer theirs.Close()
	head := make([]byte, 5) // of a record: RFC 8446, 5.1
	if _, err := io.ReadFull(theirs, head); err != nil {
		return nil
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(theirs, body); err != nil {
		return nil
	}
	return append(head, body...)
}
