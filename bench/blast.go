//go:build linux

package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// A result is what the load generator prints, as JSON.
type result struct {
	Count   int64   `json:"count"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
	Errors  int64   `json:"errors"`
	Error   string  `json:"error"`
}

func (r result) rate() sample {
	return sample{value: float64(r.Count) / r.Seconds, count: float64(r.Count)}
}

// A blast is one run of the load generator: what wrk and h2load cannot do.
type blast struct {
	addr, path string
	tls        *tls.Config
}

// runLoad repeats what the mode says on a number of connections at a time
// until the duration is over, and prints the result.
func runLoad(args []string) error {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	mode := flags.String("mode", "", "visits, body, full, resumed, once, hello, pong, bulk or idle")
	addr := flags.String("addr", "", "address of the server")
	path := flags.String("path", "/", "path to ask for")
	connections := flags.Int("c", 16, "connections at a time")
	duration := flags.Duration("duration", 5*time.Second, "how long")
	flags.Parse(args)

	b := &blast{addr: *addr, path: *path}
	var each func(deadline time.Time, r *result) error
	all := *connections
	oneThread := func(run func(deadline time.Time, r *result) error) {
		*connections, each = 1, run
	}
	switch *mode {
	case "visits":
		request := []byte("GET " + b.path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		oneThread(func(deadline time.Time, r *result) error {
			return b.visits(all, request, "HTTP/1.1 200 ", deadline, r)
		})
	case "once":
		oneThread(func(deadline time.Time, r *result) error {
			return b.visits(all, []byte("once"), small, deadline, r)
		})
	case "hello":
		hello := clientHello("localhost")
		oneThread(func(deadline time.Time, r *result) error { return b.visits(all, hello, small, deadline, r) })
	case "pong":
		oneThread(func(deadline time.Time, r *result) error { return b.pingPong(all, deadline, r) })
	case "bulk":
		each = b.bulk
	case "idle":
		return b.holdIdle(all)
	case "body":
		each = b.bodies
	case "full", "resumed":
		b.tls = &tls.Config{
			InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{"http/1.1"},
			CurvePreferences:       []tls.CurveID{tls.X25519}, // what all peers have
			SessionTicketsDisabled: *mode == "full",
		}
		if *mode == "resumed" {
			b.tls.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		}
		each = b.handshakes
	default:
		return fmt.Errorf("there is no mode %q", *mode)
	}

	var (
		load  sync.WaitGroup
		mu    sync.Mutex
		total result // protected by mu
		began = time.Now()
	)
	for range *connections {
		load.Go(func() {
			var r result
			err := each(began.Add(*duration), &r)
			mu.Lock()
			defer mu.Unlock()
			total.Count += r.Count
			total.Bytes += r.Bytes
			if err != nil {
				total.Errors++
				total.Error = err.Error()
			}
		})
	}
	load.Wait()
	total.Seconds = time.Since(began).Seconds()
	return json.NewEncoder(os.Stdout).Encode(total)
}

// bodies reads large answers on one connection and lets the kernel drop them.
func (b *blast) bodies(deadline time.Time, r *result) error {
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	request := []byte("GET " + b.path + " HTTP/1.1\r\nHost: localhost\r\n\r\n")
	buf := make([]byte, 4096)
	for time.Now().Before(deadline) {
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Write(request); err != nil {
			return err
		}
		have, head := 0, -1
		for head < 0 {
			if have == len(buf) {
				return errors.New("the head of the answer is too large")
			}
			n, err := conn.Read(buf[have:])
			if err != nil {
				return err
			}
			have += n
			head = bytes.Index(buf[:have], []byte("\r\n\r\n"))
		}
		size, err := contentLength(buf[:head])
		if err != nil {
			return err
		}
		if err := drop(conn.(*net.TCPConn), size-int64(have-head-4)); err != nil {
			return err
		}
		r.Count++
		r.Bytes += size
	}
	return nil
}

func contentLength(head []byte) (int64, error) {
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
		return 0, fmt.Errorf("the answer begins with %q", head[:min(len(head), 40)])
	}
	_, value, ok := bytes.Cut(bytes.ToLower(head), []byte("\r\ncontent-length: "))
	if !ok {
		return 0, errors.New("the answer has no Content-Length")
	}
	value, _, _ = bytes.Cut(value, []byte("\r\n"))
	return strconv.ParseInt(string(value), 10, 64)
}

// drop takes n bytes off the connection without copying them: tcp(7),
// MSG_TRUNC.
func drop(conn *net.TCPConn, n int64) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var scratch [1]byte
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		for n > 0 {
			got, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&scratch[0])), uintptr(min(n, 1<<20)), syscall.MSG_TRUNC|syscall.MSG_DONTWAIT, 0, 0)
			switch {
			case errno == syscall.EAGAIN:
				return false
			case errno == syscall.EINTR:
			case errno != 0:
				failed = errno
				return true
			case got == 0:
				failed = io.ErrUnexpectedEOF
				return true
			default:
				n -= int64(got)
			}
		}
		return true
	})
	return errors.Join(err, failed)
}

// handshakes opens one TLS connection after the other and sends one request on
// each.
func (b *blast) handshakes(deadline time.Time, r *result) error {
	request := []byte("GET " + b.path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	for first := true; time.Now().Before(deadline); first = false {
		raw, err := net.Dial("tcp", b.addr)
		if err != nil {
			return err
		}
		raw.SetDeadline(time.Now().Add(10 * time.Second))
		conn := tls.Client(raw, b.tls)
		if _, err := conn.Write(request); err != nil {
			return err
		}
		if resumed := conn.ConnectionState().DidResume; resumed && b.tls.SessionTicketsDisabled {
			return errors.New("the session was resumed")
		} else if !resumed && !first && !b.tls.SessionTicketsDisabled {
			return errors.New("the session was not resumed")
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return err
		}
		conn.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("the answer is %s", resp.Status)
		}
		r.Count++
	}
	return nil
}
