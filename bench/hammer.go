//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
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

// A job is what the origin is asked to do besides answering: to send requests
// to a proxy.
type job struct {
	Addr        string        `json:"addr"`
	Connections int           `json:"connections"`
	Routes      int           `json:"routes"` // 0: one path; else each request goes to another of as many
	Header      string        `json:"header"` // of each request, whole lines; empty: Host alone
	Duration    time.Duration `json:"duration"`
}

// hammering is a job under way.
type hammering struct {
	job
	hammers map[int]*hammer
	route   int
	began   time.Time
	result  result
}

// start opens the connections and sends the first request on each.
func (j *hammering) start(l *loop) error {
	j.hammers = make(map[int]*hammer, j.Connections)
	for range j.Connections {
		fd, err := dialFD(j.Addr)
		if err != nil {
			return err
		}
		j.hammers[fd] = new(hammer)
		if err := l.add(fd, syscall.EPOLLIN|1<<31); err != nil {
			return err
		}
	}
	j.began = time.Now()
	for fd, h := range j.hammers {
		if err := j.strike(fd, h); err != nil {
			return err
		}
	}
	return nil
}

// strike sends the next request. With many routes, far ones follow each other,
// so that no cache of a few has its answer ready.
func (j *hammering) strike(fd int, h *hammer) error {
	h.request = append(h.request[:0], "GET /"...)
	if j.Routes > 0 {
		j.route = (j.route + 61_803) % j.Routes
		h.request = append(h.request, "r/"...)
		h.request = strconv.AppendInt(h.request, int64(j.route), 10)
		h.request = append(h.request, "/x"...)
	}
	h.request = append(h.request, " HTTP/1.1\r\nHost: localhost\r\n"...)
	h.request = append(h.request, j.Header...)
	h.request = append(h.request, "\r\n"...)
	if _, errno := write(fd, h.request); errno != 0 {
		return fmt.Errorf("write: %v", errno)
	}
	return nil
}

// receive takes what came on the connection of h.
func (j *hammering) receive(fd int, h *hammer, buf []byte) error {
	n, errno := read(fd, buf)
	if errno == syscall.EAGAIN {
		return nil
	}
	if errno != 0 || n == 0 {
		return fmt.Errorf("the connection was closed: %v", errno)
	}
	whole, err := h.take(buf[:n])
	if err != nil || !whole {
		return err
	}
	j.result.Count++
	return j.strike(fd, h)
}

// end closes the connections, and prints the result.
func (j *hammering) end(failed error) error {
	for fd := range j.hammers {
		syscall.Close(fd)
	}
	j.result.Seconds = time.Since(j.began).Seconds()
	if failed == nil && j.result.Count == 0 {
		failed = errors.New("no answer came")
	}
	if failed != nil {
		j.result.Errors, j.result.Error = 1, failed.Error()
	}
	return json.NewEncoder(os.Stdout).Encode(j.result)
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
