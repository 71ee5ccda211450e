package http1

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// canned answers every request without a body with the same bytes.
func canned(t testing.TB, text string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf, answer := make([]byte, 4096), []byte(text)
				for n := 0; ; {
					m, err := c.Read(buf[n:])
					if err != nil {
						return
					}
					if n += m; bytes.HasSuffix(buf[:n], crlfcrlf) {
						n = 0
						if _, err := c.Write(answer); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

const small = "HTTP/1.1 200 OK\r\nServer: s\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"

// ask sends one request and reads the whole answer.
func ask(t testing.TB, tr *Transport, r *http.Request, call *caller) {
	resp, err := tr.RoundTrip(r, nil, Key{Address: call.addr}, call)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
}

// A request and its response, over a real socket, with what the other side of it
// allocates, which is nothing.
func TestTransport_allocations(t *testing.T) {
	if raceDetector() {
		t.Skip("the race detector allocates; run it without -race")
	}
	const budget = 6
	call := &caller{addr: canned(t, small)}
	tr, r := transport(t), get("GET")
	n := testing.AllocsPerRun(500, func() { ask(t, tr, r, call) })
	if n > budget {
		t.Errorf("a request allocates %v times, the budget is %d", n, budget)
	} else {
		t.Logf("%v allocations", n)
	}
	if d := call.dials.Load(); d != 1 {
		t.Errorf("got %d connections, want 1", d)
	}
}

// BenchmarkTransport compares the transport with that of net/http.
func BenchmarkTransport(b *testing.B) {
	for _, body := range []struct{ name, text string }{
		{"small", small},
		{"100kB", "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100000)},
	} {
		addr := canned(b, body.text)
		b.Run(body.name+"/http1", func(b *testing.B) {
			call := &caller{addr: addr}
			tr, r := transport(b), get("GET")
			b.ReportAllocs()
			for b.Loop() {
				ask(b, tr, r, call)
			}
		})
		b.Run(body.name+"/net-http", func(b *testing.B) {
			tr := &http.Transport{DisableCompression: true}
			defer tr.CloseIdleConnections()
			r, _ := http.NewRequest("GET", "http://"+addr+"/p?q", nil)
			r.Header["A"] = []string{"b"}
			b.ReportAllocs()
			for b.Loop() {
				resp, err := tr.RoundTrip(r)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil {
					b.Fatal(err)
				}
				resp.Body.Close()
			}
		})
	}
}
