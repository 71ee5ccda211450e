package http1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A caller is a Call to one address.
type caller struct {
	addr string

	dials, informed atomic.Int32
	mu              sync.Mutex
	conn            Interrupter
}

func (c *caller) Dial() (net.Conn, error) {
	c.dials.Add(1)
	return net.Dial("tcp", c.addr)
}

func (c *caller) Attach(i Interrupter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = i
}

func (c *caller) Detach()                 { c.Attach(nil) }
func (c *caller) Wrote()                  {}
func (c *caller) Began() time.Time        { return time.Now() }
func (c *caller) Answers() time.Time      { return time.Now() }
func (c *caller) Inform(int, http.Header) { c.informed.Add(1) }
func (c *caller) Reply() *Reply           { return new(Reply) }

func (c *caller) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		c.conn.Interrupt()
	}
}

func transport(t testing.TB) *Transport {
	tr := &Transport{MaxIdle: 10, MaxIdlePerKey: 10, IdleTimeout: time.Minute}
	t.Cleanup(tr.CloseIdle)
	return tr
}

func get(method string) *http.Request {
	return &http.Request{Method: method, Host: "h", RequestURI: "/p?q", Header: http.Header{"A": {"b"}}}
}

// scripted runs a server that answers each request on a connection with the next
// text, whatever it was, and closes the connection after the last one; "close" is
// no text.
func scripted(t testing.TB, texts ...string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for _, text := range texts {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, req.Body)
					if text == "close" {
						return
					}
					_, _ = io.WriteString(c, text)
				}
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

func TestTransport_readsResponses(t *testing.T) {
	for _, tt := range []struct{ name, method, text, want string }{
		{"length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "200 abc"},
		{"chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: v\r\n\r\n", "200 abc T"},
		{"until the end", "GET", "HTTP/1.1 200 OK\r\n\r\nabc", "200 abc"},
		{"1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", "200 abc"},
		{"no reason", "GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200 "},
		{"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "200 "},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", "204 "},
		{"304 with a length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "304 "},
		{"103 before", "GET", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "200 abc"},

		{"two lengths", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", ""},
		{"length and chunked", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ""},
		{"another coding", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc", ""},
		{"bare LF", "GET", "HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", ""},
		{"folded", "GET", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n", ""},
		{"status of two digits", "GET", "HTTP/1.1 20 OK\r\n\r\n", ""},
		{"status of four digits", "GET", "HTTP/1.1 2000 OK\r\n\r\n", ""},
		{"status below 100", "GET", "HTTP/1.1 099 OK\r\n\r\n", ""},
		{"version", "GET", "HTTP/2.0 200 OK\r\n\r\n", ""},
		{"lower case version", "GET", "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""},
		{"two blanks before the status", "GET", "HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n", ""},
		{"control byte in the reason", "GET", "HTTP/1.1 200 O\x00K\r\nContent-Length: 0\r\n\r\n", ""},
		{"CR in the reason", "GET", "HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n", ""},
		{"blank before the colon", "GET", "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n", ""},
		{"control byte in a value", "GET", "HTTP/1.1 200 OK\r\nA: b\x01\r\nContent-Length: 0\r\n\r\n", ""},
		{"line without a name", "GET", "HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 0\r\n\r\n", ""},
		{"length with a sign", "GET", "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc", ""},
		{"negative length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", ""},
		{"length in hexadecimal", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0x3\r\n\r\nabc", ""},
		{"list of lengths", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc", ""},
		{"length of too many digits", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 00000000000000000003\r\n\r\nabc", ""},
		{"chunked twice", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", ""},
		{"two codings", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", ""},
		{"chunked with a vertical tab", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n", ""},
		{"chunked in 1.0", "GET", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ""},
		{"forbidden trailer", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n0\r\n\r\n", ""},
		{"noise", "GET", "SSH-2.0-OpenSSH\r\n\r\n", ""},
		{"short", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", "200 ab unexpected EOF"},
		{"short chunk", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", "200 ab unexpected EOF"},
		{"endless 1xx", "GET", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 200), ""},
		{"large head", "GET", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", DefaultMaxHeaderBytes) + "\r\n\r\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &caller{addr: scripted(t, tt.text)}
			tr := transport(t)
			resp, err := tr.RoundTrip(get(tt.method), nil, Key{Address: c.addr}, c)
			if err != nil {
				if tt.want != "" {
					t.Fatal(err)
				}
				return
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			got := fmt.Sprintf("%d %s", resp.StatusCode, body)
			for name := range resp.Trailer {
				got += " " + name
			}
			if err != nil {
				got += " " + err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTransport_reusesConnections(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"
	for _, tt := range []struct {
		name  string
		texts []string
		want  int32 // connections for two requests
	}{
		{"keep-alive", []string{ok, ok}, 1},
		{"said to close", []string{"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na"}, 2},
		{"1.0", []string{"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na"}, 2},
		{"closed without a word", []string{ok, "close"}, 2},
		{"more than was asked for", []string{ok + "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb", ok}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &caller{addr: scripted(t, tt.texts...)}
			tr := transport(t)
			for range 2 {
				resp, err := tr.RoundTrip(get("GET"), nil, Key{Address: c.addr}, c)
				if err != nil {
					t.Fatal(err)
				}
				if body, err := io.ReadAll(resp.Body); string(body) != "a" || err != nil {
					t.Fatalf("got %q, %v", body, err)
				}
			}
			if got := c.dials.Load(); got != tt.want {
				t.Errorf("got %d connections, want %d", got, tt.want)
			}
		})
	}
}

// A request that a server may have acted upon is not sent twice.
func TestTransport_doesNotRepeatWhatMayDoHarm(t *testing.T) {
	c := &caller{addr: scripted(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "close")}
	tr := transport(t)
	resp, err := tr.RoundTrip(get("POST"), nil, Key{Address: c.addr}, c)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if _, err := tr.RoundTrip(get("POST"), nil, Key{Address: c.addr}, c); err == nil {
		t.Error("the second request was answered")
	}
	if got := c.dials.Load(); got != 1 {
		t.Errorf("got %d connections, want 1", got)
	}
}

func TestTransport_sendsRequests(t *testing.T) {
	addr := start(t, &Server{Handler: tell})
	again := func(s string) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(s)), nil }
	}
	large := strings.Repeat("x", 100000)
	for _, tt := range []struct {
		name    string
		prepare func(*http.Request)
		want    string
	}{
		{"plain", func(*http.Request) {}, `GET /p?q host=h len=0 body="" trailer=map[]`},
		{"small body", func(r *http.Request) {
			r.Method, r.ContentLength, r.GetBody = "POST", 3, again("abc")
			r.Body, _ = r.GetBody()
		}, `POST /p?q host=h len=3 body="abc" trailer=map[]`},
		{"streamed body", func(r *http.Request) {
			r.Method, r.ContentLength, r.Body = "POST", 100000, io.NopCloser(strings.NewReader(large))
		}, `POST /p?q host=h len=100000 body="` + large + `" trailer=map[]`},
		{"chunked body", func(r *http.Request) {
			r.Method, r.ContentLength, r.Body = "POST", -1, io.NopCloser(strings.NewReader(large))
			r.Trailer = http.Header{"T": {"v"}}
		}, `POST /p?q host=h len=-1 body="` + large + `" trailer=map[T:[v]]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr, c := transport(t), &caller{addr: addr}
			r := get("GET")
			tt.prepare(r)
			resp, err := tr.RoundTrip(r, nil, Key{Address: addr}, c)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(resp.Body); string(body) != tt.want || err != nil {
				t.Errorf("got %.200q, %v", body, err)
			}
		})
	}
}

// A server that answers before it has the whole body is heard.
func TestTransport_earlyAnswer(t *testing.T) {
	addr := start(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	})})
	tr, c := transport(t), &caller{addr: addr}
	r := get("POST")
	in, out := io.Pipe()
	defer out.Close()
	r.Body, r.ContentLength = in, -1
	resp, err := tr.RoundTrip(r, nil, Key{Address: addr}, c)
	if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Fatalf("got %v, %v", resp, err)
	}
	resp.Body.Close()
}

// Both sides may speak at once.
func TestTransport_fullDuplex(t *testing.T) {
	addr := start(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 1)
		for {
			n, err := r.Body.Read(buf)
			if err != nil {
				return
			}
			_, _ = w.Write(bytes.ToUpper(buf[:n]))
			_ = http.NewResponseController(w).Flush()
		}
	})})
	tr, c := transport(t), &caller{addr: addr}
	r := get("POST")
	in, out := io.Pipe()
	r.Body, r.ContentLength = in, -1
	go func() { _, _ = io.WriteString(out, "a") }()
	resp, err := tr.RoundTrip(r, nil, Key{Address: addr}, c)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1)
	for _, word := range []string{"", "b", "c"} {
		if word != "" {
			_, _ = io.WriteString(out, word)
		}
		if _, err := io.ReadFull(resp.Body, buf); err != nil {
			t.Fatal(err)
		}
	}
	if string(buf) != "C" {
		t.Errorf("got %q", buf)
	}
	out.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
}

func TestTransport_interrupt(t *testing.T) {
	arrived := make(chan struct{})
	addr := start(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})})
	tr, c := transport(t), &caller{addr: addr}
	go func() {
		<-arrived
		c.interrupt()
	}()
	if _, err := tr.RoundTrip(get("GET"), nil, Key{Address: addr}, c); err == nil {
		t.Error("an interrupted request was answered")
	}
}

// Idle connections end after their time, and with the transport.
func TestTransport_idle(t *testing.T) {
	var open atomic.Int32
	addr := start(t, &Server{Handler: tell, ConnState: func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}})
	for _, end := range []func(*Transport){func(*Transport) {}, (*Transport).CloseIdle} {
		tr := &Transport{MaxIdle: 10, MaxIdlePerKey: 10, IdleTimeout: 50 * time.Millisecond}
		c := &caller{addr: addr}
		resp, err := tr.RoundTrip(get("GET"), nil, Key{Address: addr}, c)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		end(tr)
		for deadline := time.Now().Add(patience); open.Load() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the connection is still open")
			}
		}
		tr.CloseIdle()
	}
}

// Whatever this package takes for a response, net/http takes for the same.
func FuzzResponse(f *testing.F) {
	for _, text := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.0 404 \r\n\r\nrest",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n1\r\na\r\n0\r\nT: v\r\n\r\n",
		"HTTP/1.1 204 No\r\nConnection: close\r\n\r\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		tr := &Transport{MaxHeaderBytes: 64 << 10}
		c := newClientConn(tr, Key{}, bytesConn{in: bytes.NewReader(raw)})
		call := &caller{}
		r := get("GET")
		resp := new(Reply)
		if c.readHead(call, resp) != nil {
			return
		}
		if c.parse(r, resp) != nil || resp.StatusCode < 200 {
			return
		}
		resp.Body.(*responseBody).call = call
		body, bodyErr := io.ReadAll(resp.Body)
		want, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), r)
		if err != nil {
			t.Fatalf("%q: net/http refuses it: %v", raw, err)
		}
		wantBody, wantErr := io.ReadAll(want.Body)
		if bodyErr != nil {
			if wantErr == nil && errors.Is(bodyErr, io.ErrUnexpectedEOF) {
				t.Fatalf("%q: the body is cut short; net/http has %q", raw, wantBody)
			}
			return
		}
		if wantErr != nil || string(body) != string(wantBody) || resp.StatusCode != want.StatusCode || resp.ContentLength != want.ContentLength {
			t.Fatalf("%q: got %d %d %q, net/http %d %d %q %v", raw, resp.StatusCode, resp.ContentLength, body,
				want.StatusCode, want.ContentLength, wantBody, wantErr)
		}
	})
}

// A server that sends a body where there can be none does not answer the next
// request with it, even if that follows at once.
func TestTransport_bodyWhereThereIsNone(t *testing.T) {
	for _, tt := range []struct{ method, head string }{
		{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n"},
		{"GET", "HTTP/1.1 204 No Content\r\n\r\n"},
		{"GET", "HTTP/1.1 304 Not Modified\r\n\r\n"},
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		answered, more := make(chan struct{}), make(chan struct{})
		var server sync.WaitGroup
		server.Go(func() {
			for n := 0; ; n++ {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				r := bufio.NewReader(c)
				if _, err := http.ReadRequest(r); err != nil {
					return
				}
				if n > 0 {
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine")
					continue
				}
				_, _ = io.WriteString(c, tt.head)
				<-answered
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
				close(more)
			}
		})
		tr, call := transport(t), &caller{addr: ln.Addr().String()}
		if _, err := tr.RoundTrip(get(tt.method), nil, Key{Address: call.addr}, call); err != nil {
			t.Fatal(err)
		}
		close(answered)
		<-more
		resp, err := tr.RoundTrip(get("GET"), nil, Key{Address: call.addr}, call)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); string(body) != "mine" || err != nil {
			t.Errorf("%s, %q: the next request got %q, %v", tt.method, tt.head[:12], body, err)
		}
		ln.Close()
		tr.CloseIdle()
		server.Wait()
	}
}
