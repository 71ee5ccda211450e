//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"
)

// A hammer is a connection that sends the next request as soon as the answer
// to the last one is complete.
type hammer struct {
	request []byte
	answer  []byte // as far as it has come
	size    int    // of the body, known from the first answer
}

// hammerDown sends requests on a number of connections until the deadline.
// With routes, each request goes to another one of as many, far ones after
// another, so that no cache of a few has its answer ready.
func (b *blast) hammerDown(connections, routes int, deadline time.Time, r *result) error {
	l, err := newLoop()
	if err != nil {
		return err
	}
	hammers := make(map[int]*hammer, connections)
	route := 0
	strike := func(fd int, h *hammer) error {
		h.request = append(h.request[:0], "GET "...)
		if routes > 0 {
			route = (route + 61_803) % routes
			h.request = append(h.request, "/r/"...)
			h.request = strconv.AppendInt(h.request, int64(route), 10)
			h.request = append(h.request, "/x"...)
		} else {
			h.request = append(h.request, b.path...)
		}
		h.request = append(h.request, " HTTP/1.1\r\nHost: localhost\r\n\r\n"...)
		if _, errno := write(fd, h.request); errno != 0 {
			return fmt.Errorf("write: %v", errno)
		}
		return nil
	}
	for range connections {
		fd, err := dialFD(b.addr)
		if err != nil {
			return err
		}
		defer syscall.Close(fd)
		if err := l.add(fd, syscall.EPOLLIN|1<<31); err != nil {
			return err
		}
		hammers[fd] = new(hammer)
	}
	for fd, h := range hammers {
		if err := strike(fd, h); err != nil {
			return err
		}
	}
	buf := make([]byte, 64<<10)
	for now := time.Now(); now.Before(deadline); now = time.Now() {
		events, err := l.wait(100)
		if err != nil {
			return err
		}
		if len(events) == 0 && time.Since(now) > 50*time.Millisecond && now.Add(100*time.Millisecond).Before(deadline) {
			if b.quiet++; b.quiet > 50 {
				return errors.New("no answer for five seconds")
			}
		}
		for _, event := range events {
			fd := int(event.Fd)
			n, errno := read(fd, buf)
			if errno == syscall.EAGAIN {
				continue
			}
			if errno != 0 || n == 0 {
				return fmt.Errorf("the connection was closed: %v", errno)
			}
			b.quiet = 0
			h := hammers[fd]
			whole, err := h.take(buf[:n])
			if err != nil {
				return err
			}
			if !whole {
				continue
			}
			r.Count++
			if err := strike(fd, h); err != nil {
				return err
			}
		}
	}
	return nil
}

// take reports whether the answer is complete.
func (h *hammer) take(got []byte) (bool, error) {
	if len(h.answer) > 0 {
		h.answer = append(h.answer, got...)
		got = h.answer
	}
	end := bytes.Index(got, []byte("\r\n\r\n"))
	if end >= 0 && h.size == 0 {
		size, err := contentLength(got[:end])
		if err != nil {
			return false, err
		}
		if size == 0 {
			return false, errors.New("the answer is empty")
		}
		h.size = int(size)
	}
	if end < 0 || len(got) < end+4+h.size {
		h.answer = append(h.answer[:0:0], got...)
		return false, nil
	}
	if !bytes.HasPrefix(got, []byte("HTTP/1.1 200 ")) || len(got) != end+4+h.size {
		return false, fmt.Errorf("the answer is %q", got)
	}
	h.answer = h.answer[:0]
	return true, nil
}
