//go:build unix

package http1

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// A socket waits for bytes without holding a buffer for them, which is most of
// what an idle connection would cost, and reads and writes with fewer steps in
// between than a net.Conn. Reading is for one goroutine at a time, and so is
// writing.
type socket struct {
	raw syscall.RawConn

	// These are methods of the socket, bound once.
	read, peek, write func(fd uintptr) bool

	buf *[]byte // where the bytes are, once they have come
	n   int
	err error

	out    []byte // what is left to write
	outErr error
}

// socketOf finds the socket of a connection whose bytes all come from there.
func socketOf(nc net.Conn) *socket {
	var tcp *net.TCPConn
	switch c := nc.(type) {
	case *net.TCPConn:
		tcp = c
	case interface{ Socket() *net.TCPConn }:
		tcp = c.Socket()
	}
	if tcp == nil {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	s := &socket{raw: raw}
	s.read, s.peek, s.write = s.tryRead, s.tryPeek, s.tryWrite
	return s
}

// await waits for bytes, and answers a buffer of the pool with what has come.
func (s *socket) await() (*[]byte, int, error) {
	err := s.raw.Read(s.read)
	buf, n := s.buf, s.n
	s.buf = nil
	if err == nil {
		err = s.err
	}
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil && buf != nil {
		freeBuffer(buf)
		buf = nil
	}
	return buf, n, err
}

func (s *socket) tryRead(fd uintptr) bool {
	buf := newBuffer()
	for {
		s.n, s.err = recv(int(fd), *buf)
		switch s.err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			freeBuffer(buf)
			return false
		}
		s.buf = buf
		return true
	}
}

// send writes all of p, or as much as can be.
func (s *socket) send(p []byte) (int, error) {
	s.out, s.outErr = p, nil
	err := s.raw.Write(s.write)
	if err == nil && s.outErr != nil {
		err = os.NewSyscallError("write", s.outErr)
	}
	n := len(p) - len(s.out)
	s.out = nil
	return n, err
}

func (s *socket) tryWrite(fd uintptr) bool {
	for len(s.out) > 0 {
		n, err := send(int(fd), s.out)
		switch err {
		case nil:
			s.out = s.out[n:]
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			s.outErr = err
			return true
		}
	}
	return true
}

// gone waits until bytes have come or the connection has ended, and reports
// whether that is it; the bytes stay where they are. A deadline ends the wait.
func (s *socket) gone() bool {
	if err := s.raw.Read(s.peek); err != nil {
		return !isTimeout(err)
	}
	return s.n <= 0
}

func (s *socket) tryPeek(fd uintptr) bool {
	var one [1]byte
	for {
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK)
		switch err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return false
		case nil:
			s.n = n
		default:
			s.n = -1
		}
		return true
	}
}

func outOfMemory(err error) bool {
	return errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

// quiet reports whether the other end has neither closed nor sent anything.
func (s *socket) quiet() bool {
	quiet := false
	err := s.raw.Control(func(fd uintptr) {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = err == syscall.EAGAIN
	})
	return err == nil && quiet
}
