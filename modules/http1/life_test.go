package http1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/patient"
)

// A body that another goroutine still reads does not keep the answer, nor its
// connection, from ending.
func TestServer_answerBeforeTheBody(t *testing.T) {
	for _, how := range []string{"returns", "aborts"} {
		t.Run(how, func(t *testing.T) {
			var reading sync.WaitGroup
			addr := start(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				begun := make(chan struct{})
				reading.Go(func() {
					close(begun)
					if _, err := io.Copy(io.Discard, r.Body); err == nil {
						t.Error("the body had an end")
					}
				})
				<-begun
				w.WriteHeader(http.StatusTeapot)
				_ = http.NewResponseController(w).Flush()
				if how == "aborts" {
					panic(http.ErrAbortHandler)
				}
			})})
			c, r := dial(t, addr)
			fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nnot all")
			answer, err := io.ReadAll(r)
			if !strings.HasPrefix(string(answer), "HTTP/1.1 418 ") {
				t.Errorf("got %q, %v", answer, err)
			}
			reading.Wait()
		})
	}
}

// A client that is told neither to go on nor to stop knows that the connection
// ends.
func TestServer_expectationUnanswered(t *testing.T) {
	addr := start(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) })})
	c, r := dial(t, addr)
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n")
	answer, err := io.ReadAll(r)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 401 ") || !strings.Contains(string(answer), "Connection: close\r\n") {
		t.Errorf("got %q, %v", answer, err)
	}
}

// 100 Continue comes before the answer or not at all, whoever reads the body.
func TestServer_continueNeverFollowsTheAnswer(t *testing.T) {
	var reading sync.WaitGroup
	addr := start(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reading.Go(func() { _, _ = io.Copy(io.Discard, r.Body) })
		w.WriteHeader(http.StatusTeapot)
		_ = http.NewResponseController(w).Flush()
	})})
	for range 200 {
		c, r := dial(t, addr)
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
		answer, _ := io.ReadAll(r)
		before, after, found := strings.Cut(string(answer), "HTTP/1.1 418 ")
		if !found || strings.Contains(after, "Continue") || before != "" && before != "HTTP/1.1 100 Continue\r\n\r\n" {
			t.Fatalf("got %q", answer)
		}
		c.Close()
	}
	reading.Wait()
}

// A handler may say 101 as it says any status, and then take the connection.
func TestServer_hijackAfterTheHead(t *testing.T) {
	addr := start(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "echo")
		w.WriteHeader(http.StatusSwitchingProtocols)
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.Copy(c, rw)
	})})
	c, r := dial(t, addr)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "echo" || resp.Header.Get("Connection") != "Upgrade" {
		t.Fatalf("got %+v, %v", resp, err)
	}
	fmt.Fprint(c, "there and back")
	_ = c.CloseWrite()
	if got, err := io.ReadAll(r); err != nil || string(got) != "there and back" {
		t.Errorf("got %q, %v", got, err)
	}
}

// Who sends the body that nobody wanted one byte at a time does not keep the
// connection.
func TestServer_slowUnwantedBody(t *testing.T) {
	t.Parallel()
	addr := start(t, &Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
	c, r := dial(t, addr)
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
	stop := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				if _, err := c.Write([]byte("x")); err != nil {
					return
				}
			}
		}
	})
	began := time.Now()
	_, _ = io.ReadAll(r)
	if took := time.Since(began); took > patience-time.Second {
		t.Errorf("the connection was open for %v", took)
	}
	close(stop)
	sending.Wait()
}

func TestServer_headOfExactlyTheLimit(t *testing.T) {
	for _, limit := range []int{200, 4096, 4097, DefaultMaxHeaderBytes} {
		addr := start(t, &Server{Handler: tell, MaxHeaderBytes: limit})
		for more, want := range []string{"200 ", "431 "} {
			head := "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: "
			head += strings.Repeat("a", limit-len(head)-4+more) + "\r\n\r\n"
			got := bodies(t, exchangeRaw(t, addr, head))
			if len(got) != 1 || !strings.HasPrefix(got[0], want) {
				t.Errorf("a head of %d bytes with a limit of %d: got %q, want %s", len(head), limit, got, want)
			}
		}
	}
}

// What a handler does not send by itself when the client must have it.
func TestServer_flushIsAtOnce(t *testing.T) {
	next := make(chan struct{})
	addr := start(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			<-next
		}
	})})
	c, r := dial(t, addr)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		want := fmt.Sprintf("data: %d\n\n", i)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
			t.Fatalf("got %q, %v", got, err)
		}
		next <- struct{}{}
	}
}

func TestServer_timeouts(t *testing.T) {
	t.Run("a body", func(t *testing.T) {
		failed := make(chan error, 1)
		addr := start(t, &Server{ReadTimeout: 50 * time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			failed <- err
			w.WriteHeader(http.StatusRequestTimeout)
		})})
		c, r := dial(t, addr)
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
		answer, _ := io.ReadAll(r)
		if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("reading failed with %v", err)
		}
		if !strings.HasPrefix(string(answer), "HTTP/1.1 408 ") {
			t.Errorf("got %q", answer)
		}
	})
	t.Run("an answer", func(t *testing.T) {
		failed := make(chan error, 1)
		addr := start(t, &Server{WriteTimeout: 50 * time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					failed <- err
					return
				}
			}
		})})
		c, _ := dial(t, addr)
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("writing failed with %v", err)
		}
	})
	t.Run("none for the next request", func(t *testing.T) {
		addr := start(t, &Server{ReadTimeout: time.Second, WriteTimeout: time.Second, Handler: tell})
		c, r := dial(t, addr)
		for n := range 2 {
			if n > 0 {
				time.Sleep(1500 * time.Millisecond) // longer than either
			}
			fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
		}
	})
}

// A recorder is a connection that remembers the writes it got.
type recorder struct {
	net.Conn
	in     *strings.Reader
	writes []string
	copies int
}

func (c *recorder) Read(p []byte) (int, error)     { return c.in.Read(p) }
func (c *recorder) Close() error                   { return nil }
func (*recorder) SetReadDeadline(time.Time) error  { return nil }
func (*recorder) SetWriteDeadline(time.Time) error { return nil }
func (*recorder) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*recorder) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *recorder) Write(p []byte) (int, error) {
	c.writes = append(c.writes, string(p))
	return len(p), nil
}
func (c *recorder) ReadFrom(r io.Reader) (int64, error) {
	c.copies++
	return io.Copy(struct{ io.Writer }{c}, r)
}

// A small answer is one write, however its body comes; the kernel copies large
// ones.
func TestServer_writes(t *testing.T) {
	small, large := strings.Repeat("s", 2000), strings.Repeat("l", 100_000)
	for _, tt := range []struct {
		name           string
		answer         func(w http.ResponseWriter)
		writes, copies int
	}{
		{"written", func(w http.ResponseWriter) { io.WriteString(w, small) }, 1, 0},
		{"written in pieces", func(w http.ResponseWriter) {
			for _, c := range small {
				fmt.Fprintf(w, "%c", c)
			}
		}, 1, 0},
		{"written and flushed", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "2000")
			io.WriteString(w, small)
			w.(http.Flusher).Flush()
		}, 1, 0},
		{"copied, of known length", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "2000")
			io.Copy(w, struct{ io.Reader }{strings.NewReader(small)})
		}, 1, 0},
		{"copied", func(w http.ResponseWriter) { io.Copy(w, struct{ io.Reader }{strings.NewReader(small)}) }, 1, 0},
		{"large, copied", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "100000")
			io.Copy(w, struct{ io.Reader }{strings.NewReader(large)})
		}, 5, 1}, // the head, and what io.Copy makes of it
		{"nothing", func(w http.ResponseWriter) {}, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tt.answer(w) })}
			c := &recorder{in: strings.NewReader("GET / HTTP/1.1\r\nHost: x\r\n\r\n")}
			s.ServeConn(c)
			s.Close()
			if len(c.writes) != tt.writes || c.copies != tt.copies {
				t.Errorf("%d writes and %d copies, want %d and %d: %.300q", len(c.writes), c.copies, tt.writes, tt.copies, c.writes)
			}
		})
	}
}

// Files and bodies of any size take no more memory than small ones.
func TestServer_largeBodies(t *testing.T) {
	const size = 64 << 20
	path := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	addr := start(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/file":
			http.ServeFile(w, r, path)
		case "/echo":
			_, _ = io.Copy(w, r.Body)
		}
	})})
	piece := bytes.Repeat([]byte("0123456789abcdef"), 1<<12)
	for _, raw := range []string{
		"GET /file HTTP/1.1\r\nHost: x\r\n\r\n",
		fmt.Sprintf("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c, r := dial(t, addr)
		fmt.Fprint(c, raw)
		var sending sync.WaitGroup
		if strings.HasPrefix(raw, "POST") {
			sending.Go(func() {
				for n := 0; n < size; n += len(piece) {
					if _, err := c.Write(piece); err != nil {
						return
					}
				}
			})
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1<<20)
		total := 0
		for {
			n, err := resp.Body.Read(buf)
			total += n
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("after %d bytes: %v", total, err)
			}
		}
		sending.Wait()
		runtime.ReadMemStats(&after)
		if total != size {
			t.Errorf("%q: got %d bytes, want %d", raw, total, size)
		}
		// A chunk of 32 KiB takes two small pieces of memory to gather a write.
		if grew := after.TotalAlloc - before.TotalAlloc; grew > 8<<20 {
			t.Errorf("%q: %d KiB were allocated", raw, grew>>10)
		}
	}
}

// poor is a listener of a system that has run out of descriptors for a while.
type poor struct {
	net.Listener
	failures int
}

func (p *poor) Accept() (net.Conn, error) {
	if p.failures--; p.failures < 0 {
		return nil, net.ErrClosed
	}
	errno := []error{syscall.EMFILE, syscall.ENOBUFS, syscall.ENOMEM}[p.failures]
	return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", errno)}
}

func TestServer_acceptsAgain(t *testing.T) {
	p := &poor{failures: 3}
	if err := new(Server).Serve(p); err != net.ErrClosed || p.failures != -1 {
		t.Errorf("ended with %v, with %d failures to come", err, p.failures)
	}
}

// The goroutines that wait for other connections end with the server.
func TestServer_restingGoroutinesEnd(t *testing.T) {
	s := &Server{Handler: tell}
	addr := start(t, s)
	for range 20 {
		c, in := dial(t, addr)
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, in); err != nil {
			t.Fatal(err)
		}
	}
	resting := func() bool {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		return bytes.Contains(stacks, fmt.Appendf(nil, ".serveConns(%p", s))
	}
	patient.Until(t, "a goroutine rests", func() bool { return s.resting.Load() > 0 && resting() })
	s.Close()
	patient.Until(t, "those that rest end", func() bool { return !resting() })
}
