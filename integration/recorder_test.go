package integration

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
)

// A recorder is an upstream that writes down what it was asked, and complains
// about everything that another upstream might understand differently.
type recorder struct {
	addr string

	mu         sync.Mutex
	requests   []message // protected by mu
	complaints []string  // protected by mu
}

func newRecorder(t testing.TB) *recorder {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{addr: listener.Addr().String()}
	var conns sync.WaitGroup
	open := make(map[net.Conn]bool) // protected by r.mu
	t.Cleanup(func() {
		listener.Close()
		r.mu.Lock()
		for conn := range open {
			conn.Close()
		}
		r.mu.Unlock()
		conns.Wait()
	})
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			open[conn] = true
			r.mu.Unlock()
			conns.Go(func() {
				defer conn.Close()
				r.serve(conn)
			})
		}
	}()
	return r
}

// serve answers each request with its number, and with what it was in the
// body.
func (r *recorder) serve(conn net.Conn) {
	in := bufio.NewReader(conn)
	for {
		m, err := readStrict(in, false, "")
		r.mu.Lock()
		if errors.Is(err, errAmbiguous) {
			r.complaints = append(r.complaints, err.Error())
		}
		if err == nil && m.whole {
			r.requests = append(r.requests, m)
		}
		n := len(r.requests)
		r.mu.Unlock()
		if err != nil || !m.whole {
			return
		}
		said := seen(m)
		answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Record: %d\r\nContent-Length: %d\r\n\r\n", n, len(said))
		if !strings.HasPrefix(m.start, "HEAD ") {
			answer += said
		}
		if _, err := conn.Write([]byte(answer)); err != nil {
			return
		}
	}
}

// seen is what a request was: method, target and size of the body.
func seen(m message) string {
	return fmt.Sprintf("%s %d", strings.TrimSuffix(m.start, " HTTP/1.1"), len(m.body))
}

// take answers what has come since the last call.
func (r *recorder) take() (requests []message, complaints []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	requests, complaints = r.requests, r.complaints
	r.requests, r.complaints = nil, nil
	return requests, complaints
}
