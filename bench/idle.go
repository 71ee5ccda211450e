//go:build linux

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"
)

// idleConnections is how many connections the row idle would like to open.
const idleConnections = 50_000

// idle measures how much memory a proxy needs for a connection that has been
// used and now waits. The proxy starts afresh, because what it has once taken
// it seldom gives back.
func (l *lab) idle(s *server) (sample, error) {
	s.stop()
	delete(l.servers, s.name)
	os.RemoveAll(s.dir)
	s, err := l.server(s.name)
	if err != nil {
		return sample{}, err
	}
	n := int(l.files)
	if s.name == "haproxy" { // sets two files aside for each connection
		n /= 2
	}
	n = min(idleConnections, n-500)
	if _, err := l.hold(s, 100); err != nil { // it has seen a little traffic
		return sample{}, err
	}
	before := resident(s.cmd.Process.Pid)
	after, err := l.hold(s, n)
	return sample{value: float64(after-before) / float64(n) / 1000}, err
}

// hold opens n connections, and answers how much memory the proxy then has.
func (l *lab) hold(s *server, n int) (int64, error) {
	cmd := l.command(l.loadCore, os.Args[0], "load", "-mode", "idle", "-addr", s.ports["http"], "-c", strconv.Itoa(n))
	cmd.Stderr = os.Stderr
	release, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	said, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer cmd.Wait()
	defer release.Close()
	if line, err := bufio.NewReader(said).ReadString('\n'); line != "open\n" {
		return 0, fmt.Errorf("idle connections: %q, %v", line, err)
	}
	time.Sleep(2 * time.Second) // buffers go back, collectors run
	return resident(s.cmd.Process.Pid), nil
}

// holdIdle opens connections, asks once on each, says so, and keeps them until
// its input ends. They come from several addresses, as one has too few ports.
func (b *blast) holdIdle(connections int) error {
	where, err := netip.ParseAddrPort(b.addr)
	if err != nil {
		return err
	}
	request := []byte("GET " + b.path + " HTTP/1.1\r\nHost: localhost\r\n\r\n")
	buf := make([]byte, 4096)
	for i := range connections {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		const perAddress = 10_000
		from := &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(2 + i/perAddress)}}
		const bindAddressNoPort = 24 // ip(7): the port is chosen at connect
		if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, bindAddressNoPort, 1); err != nil {
			return err
		}
		if err := syscall.Bind(fd, from); err != nil {
			return fmt.Errorf("bind: %v", err)
		}
		if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: int(where.Port()), Addr: where.Addr().As4()}); err != nil {
			return fmt.Errorf("connection %d: %v", i, err)
		}
		if _, err := syscall.Write(fd, request); err != nil {
			return err
		}
		var got []byte
		for !bytes.HasSuffix(got, []byte(small)) {
			n, err := syscall.Read(fd, buf)
			if err != nil || n == 0 {
				return fmt.Errorf("connection %d: %q, %v", i, got, err)
			}
			got = append(got, buf[:n]...)
		}
	}
	fmt.Println("open")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
