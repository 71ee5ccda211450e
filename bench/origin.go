//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// runOrigin serves the upstream of all peers: small answers and files over
// HTTP/1.1, a gRPC method that answers with what it was sent, and TCP servers.
func runOrigin(args []string) error {
	flags := flag.NewFlagSet("origin", flag.ExitOnError)
	web := flags.String("http", "", "address of the HTTP/1.1 server")
	grpc := flags.String("grpc", "", "address of the gRPC server")
	pong := flags.String("pong", "", "address of the TCP server that sends back what it gets")
	once := flags.String("once", "", "address of the TCP server that answers once")
	bulk := flags.String("bulk", "", "address of the TCP server that sends without end")
	data := flags.String("data", "", "folder with the files 100k and 10m")
	flags.Parse(args)

	failed := make(chan error, 3)
	go func() {
		server := &http.Server{Addr: *grpc, Handler: http.HandlerFunc(echoGRPC), Protocols: new(http.Protocols)}
		server.Protocols.SetUnencryptedHTTP2(true)
		server.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 1000}
		failed <- server.ListenAndServe()
	}()
	go func() { failed <- serveWeb(*web, *data) }()
	go func() { failed <- serveStreams(*pong, *once, *bulk, *data) }()
	return <-failed
}

func echoGRPC(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	w.Write(body)
	w.Header().Set("Grpc-Status", "0")
}

// A visitor is a connection of the HTTP/1.1 server. Requests have no body and
// are not pipelined.
type visitor struct {
	head []byte // of a request, as far as it has come

	file int // of an answer that is under way
	from int64
	left int
}

// serveWeb answers with the file that the path names, else with the small
// answer. Jobs come on the standard input, one at a time: the same thread then
// sends requests to a proxy, and it never sleeps. A core that sleeps has to be
// woken by whoever sends to it, and the bill would go to the proxy, a higher
// one to a slower proxy.
func serveWeb(addr, data string) error {
	l, err := newLoop()
	if err != nil {
		return err
	}
	listener, err := listenFD(addr)
	if err != nil {
		return err
	}
	if err := errors.Join(l.add(listener, syscall.EPOLLIN), l.add(0, syscall.EPOLLIN)); err != nil {
		return err
	}
	answer := head(len(small)) + small
	files := make(map[string]*os.File)
	for _, name := range []string{"100k", "10m"} {
		if files[name], err = os.Open(filepath.Join(data, name)); err != nil {
			return err
		}
	}
	large := func(head []byte) (*os.File, int) {
		for name, file := range files {
			if bytes.HasPrefix(head, []byte("GET /"+name+" ")) {
				info, err := file.Stat()
				if err != nil {
					return nil, 0
				}
				return file, int(info.Size())
			}
		}
		return nil, 0
	}

	visitors := make(map[int]*visitor)
	buf := make([]byte, 16<<10)
	var work *hammering
	for {
		patience := -1
		if work != nil {
			patience = 0
			if time.Since(work.began) > work.Duration {
				if err := work.end(nil); err != nil {
					return err
				}
				work = nil
			}
		}
		events, err := l.wait(patience)
		if err != nil {
			return err
		}
		for _, event := range events {
			fd := int(event.Fd)
			if fd == 0 {
				n, _ := read(0, buf)
				if n <= 0 {
					return nil // whoever asks has gone
				}
				work = new(hammering)
				err := json.Unmarshal(buf[:n], &work.job)
				if err == nil {
					err = work.start(l)
				}
				if err != nil {
					if err := work.end(err); err != nil {
						return err
					}
					work = nil
				}
				continue
			}
			if work != nil && work.hammers[fd] != nil {
				if err := work.receive(fd, work.hammers[fd], buf); err != nil {
					if err := work.end(err); err != nil {
						return err
					}
					work = nil
				}
				continue
			}
			if fd == listener {
				for {
					fd, _, err := syscall.Accept4(listener, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
					if err != nil {
						break
					}
					if tune(fd) != nil || l.add(fd, edge) != nil {
						syscall.Close(fd)
						continue
					}
					visitors[fd] = new(visitor)
				}
				continue
			}
			v := visitors[fd]
			if v == nil {
				continue // of a job that is over
			}
			if !v.serve(fd, event.Events, buf, answer, large) {
				syscall.Close(fd)
				delete(visitors, fd)
			}
		}
	}
}

// serve does what can be done now, and reports whether the connection stays.
func (v *visitor) serve(fd int, events uint32, buf []byte, answer string, large func([]byte) (*os.File, int)) bool {
	if !v.send(fd) {
		return false
	}
	if events&syscall.EPOLLIN == 0 {
		return events&(syscall.EPOLLRDHUP|syscall.EPOLLERR|syscall.EPOLLHUP) == 0
	}
	for {
		n, errno := read(fd, buf)
		if errno == syscall.EAGAIN {
			return true
		}
		if errno != 0 || n == 0 {
			return false
		}
		got := buf[:n]
		if len(v.head) > 0 {
			v.head = append(v.head, got...)
			got = v.head
		}
		if !bytes.HasSuffix(got, []byte("\r\n\r\n")) {
			v.head = append(v.head[:0:0], got...)
			continue
		}
		v.head = v.head[:0]
		if got[5] == '1' { // the files
			if file, size := large(got); file != nil {
				v.file, v.from, v.left = int(file.Fd()), 0, size
				if _, errno := write(fd, []byte(head(size))); errno != 0 || !v.send(fd) {
					return false
				}
				continue
			}
		}
		if _, errno := write(fd, []byte(answer)); errno != 0 {
			return false
		}
		if n < len(buf) { // more would be told
			return true
		}
	}
}

// send goes on with the file of an answer.
func (v *visitor) send(fd int) bool {
	for v.left > 0 {
		n, err := syscall.Sendfile(fd, v.file, &v.from, v.left)
		if n > 0 {
			v.left -= n
		}
		if err == syscall.EAGAIN {
			return true
		}
		if err != nil || n == 0 {
			return false
		}
	}
	return true
}

func head(size int) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Mon, 02 Jan 2006 15:04:05 GMT\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", size)
}
