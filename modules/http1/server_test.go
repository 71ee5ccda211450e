package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/patient"
)

func TestMain(m *testing.M) { patient.NoLeaks(m) }

// patience bounds what ought to happen at once.
const patience = patient.Limit

// start runs a server on loopback, and answers its address.
func start(t testing.TB, s *Server) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(ln)
	}()
	t.Cleanup(func() {
		s.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("the server does not end: %v", err)
		}
		<-done
	})
	return ln.Addr().String()
}

func dial(t testing.TB, addr string) (*net.TCPConn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn), bufio.NewReader(c)
}

// tell answers what the server understood of a request.
var tell = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "%s %s host=%s len=%d body=%q trailer=%v", r.Method, r.URL, r.Host, r.ContentLength, body, r.Trailer)
})

// exchangeRaw sends bytes and reads all answers, until the server closes.
func exchangeRaw(t testing.TB, addr, raw string) string {
	t.Helper()
	c, r := dial(t, addr)
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	_ = c.CloseWrite()
	answer, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("after %q: %v", answer, err)
	}
	return string(answer)
}

// bodies are the statuses and bodies of a series of answers.
func bodies(t testing.TB, answers string, methods ...string) (list []string) {
	t.Helper()
	r := bufio.NewReader(strings.NewReader(answers))
	for i := 0; ; i++ {
		if _, err := r.Peek(1); err == io.EOF {
			return list
		}
		req := &http.Request{Method: "GET"}
		if i < len(methods) {
			req.Method = methods[i]
		}
		resp, err := http.ReadResponse(r, req)
		if err != nil {
			t.Fatalf("answer %d of %q: %v", i, answers, err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("answer %d of %q: %v", i, answers, err)
		}
		list = append(list, fmt.Sprintf("%d %s", resp.StatusCode, body))
	}
}

func TestServer_understands(t *testing.T) {
	addr := start(t, &Server{Handler: tell})
	for _, tt := range []struct{ name, raw, want string }{
		{"plain", "GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n", `200 GET /a?b=c host=x len=0 body="" trailer=map[]`},
		{"empty line before", "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", `200 GET / host=x len=0 body="" trailer=map[]`},
		{"http/1.0", "GET / HTTP/1.0\r\n\r\n", `200 GET / host= len=0 body="" trailer=map[]`},
		{"absolute form", "GET http://y/z HTTP/1.1\r\nHost: x\r\n\r\n", `200 GET http://y/z host=y len=0 body="" trailer=map[]`},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", `200 OPTIONS * host=x len=0 body="" trailer=map[]`},
		{"length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", `200 POST / host=x len=3 body="abc" trailer=map[]`},
		{"chunked", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
			`200 POST / host=x len=-1 body="abc0123456789" trailer=map[]`},
		{"trailers", "POST / HTTP/1.1\r\nHost: x\r\nTrailer: T\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nT: v\r\n\r\n",
			`200 POST / host=x len=-1 body="a" trailer=map[T:[v]]`},
		{"names with _ and .", "GET / HTTP/1.1\r\nHost: x\r\na_b: c\r\na.b: c\r\n\r\n", `200 GET / host=x len=0 body="" trailer=map[]`},

		{"no host", "GET / HTTP/1.1\r\n\r\n", "400 Bad Request"},
		{"two hosts", "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", "400 Bad Request"},
		{"bad host", "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", "400 Bad Request"},
		{"two lengths", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "400 Bad Request"},
		{"lengths in one", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc", "400 Bad Request"},
		{"signed length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc", "400 Bad Request"},
		{"negative length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -3\r\n\r\nabc", "400 Bad Request"},
		{"huge length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\nabc", "400 Bad Request"},
		{"empty length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\nabc", "400 Bad Request"},
		{"length and chunked", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400 Bad Request"},
		{"another coding", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "501 Not Implemented"},
		{"two codings", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", "501 Not Implemented"},
		{"disguised coding", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", "400 Bad Request"},
		{"chunked in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400 Bad Request"},
		{"bare LF", "GET / HTTP/1.1\nHost: x\r\n\r\n", "400 Bad Request"},
		{"bare CR", "GET / HTTP/1.1\r\nHost: x\rX: y\r\n\r\n", "400 Bad Request"},
		{"folded line", "GET / HTTP/1.1\r\nHost: x\r\nX: y\r\n z\r\n\r\n", "400 Bad Request"},
		{"blank before the colon", "GET / HTTP/1.1\r\nHost : x\r\n\r\n", "400 Bad Request"},
		{"no colon", "GET / HTTP/1.1\r\nHost: x\r\nabc\r\n\r\n", "400 Bad Request"},
		{"no name", "GET / HTTP/1.1\r\nHost: x\r\n: abc\r\n\r\n", "400 Bad Request"},
		{"control byte", "GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", "400 Bad Request"},
		{"two blanks", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n", "400 Bad Request"},
		{"blank in the target", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", "400 Bad Request"},
		{"method", "G@T / HTTP/1.1\r\nHost: x\r\n\r\n", "400 Bad Request"},
		{"no version", "GET /\r\nHost: x\r\n\r\n", "400 Bad Request"},
		{"version 2", "GET / HTTP/2.0\r\nHost: x\r\n\r\n", "505 HTTP Version Not Supported"},
		{"preface without http2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 HTTP Version Not Supported"},
		{"expectation", "POST / HTTP/1.1\r\nHost: x\r\nExpect: cake\r\nContent-Length: 3\r\n\r\nabc", "417 Expectation Failed"},
		{"large head", "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", DefaultMaxHeaderBytes) + "\r\n\r\n", "431 Request Header Fields Too Large"},
		{"forbidden trailer", "POST / HTTP/1.1\r\nHost: x\r\nTrailer: Content-Length\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400 Bad Request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer := exchangeRaw(t, addr, tt.raw)
			got := bodies(t, answer)
			if len(got) != 1 || got[0] != tt.want {
				t.Errorf("%q\ngot  %q\nwant %q", tt.raw, got, tt.want)
			}
			if !strings.HasPrefix(tt.want, "200") && !strings.Contains(answer, "Connection: close\r\n") {
				t.Errorf("the answer does not say that the connection ends: %q", answer)
			}
		})
	}
}

// A chunked body that goes wrong breaks the connection: nothing behind it is
// taken for a request.
func TestServer_brokenChunks(t *testing.T) {
	var served atomic.Int32
	addr := start(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		tell(w, r)
	})})
	for _, body := range []string{
		"g\r\n", "-1\r\na\r\n", "+1\r\na\r\n", "0x1\r\na\r\n", " 1\r\na\r\n", "1 x\r\na\r\n", "\r\n", "1\na\n", "1\r\nab\r\n", "1\r\na\n0\r\n\r\n",
		"ffffffffffffffff1\r\n", "1;a\rb\r\na\r\n", "1;a\x00\r\na\r\n", "0\r\nA b: c\r\n\r\n", "0\r\nHost: c\r\n\r\n", "0\r\n x: c\r\n\r\n",
		strings.Repeat("1;"+strings.Repeat("x", 4000)+"\r\na\r\n", 5),
	} {
		served.Store(0)
		answer := exchangeRaw(t, addr, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"+body+
			"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
		if served.Load() != 1 || strings.Contains(answer, "smuggled") {
			t.Errorf("%q: %d requests were served; the answer was %q", body, served.Load(), answer)
		}
	}
}

func TestServer_answers(t *testing.T) {
	long := strings.Repeat("x", 10000)
	for _, tt := range []struct {
		name    string
		request string
		handler http.HandlerFunc
		want    string // of the head and the body, without the Date
	}{
		{"nothing", "GET / HTTP/1.1", func(http.ResponseWriter, *http.Request) {},
			"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		{"small", "GET / HTTP/1.1", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hi") },
			"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 2\r\n\r\nhi"},
		{"no type", "GET / HTTP/1.1", func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			io.WriteString(w, "hi")
		},
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"},
		{"large", "GET / HTTP/1.1", func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			io.WriteString(w, long)
		},
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2710\r\n" + long + "\r\n0\r\n\r\n"},
		{"large with a length", "GET / HTTP/1.1", func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			w.Header().Set("Content-Length", "10000")
			io.WriteString(w, long)
		}, "HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n" + long},
		{"large in 1.0", "GET / HTTP/1.0", func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			io.WriteString(w, long)
		},
			"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n" + long},
		{"HEAD", "HEAD / HTTP/1.1", func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			io.WriteString(w, "hi")
		},
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"},
		{"204", "GET / HTTP/1.1", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
			"HTTP/1.1 204 No Content\r\n\r\n"},
		{"304 with a length", "GET / HTTP/1.1", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "7")
			w.WriteHeader(304)
		}, "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"},
		{"flushed", "GET / HTTP/1.1", func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			io.WriteString(w, "a")
			w.(http.Flusher).Flush()
			io.WriteString(w, "b")
		}, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n"},
		{"trailers", "GET / HTTP/1.1", func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			w.Header().Set("Trailer", "A")
			io.WriteString(w, "x")
			w.Header().Set("A", "1")
		}, "HTTP/1.1 200 OK\r\nTrailer: A\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: 1\r\n\r\n"},
		{"103", "GET / HTTP/1.1", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</x>")
			w.WriteHeader(103)
			w.Header().Del("Link")
		}, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		{"line break in a value", "GET / HTTP/1.1", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("A", "b\r\nC: d") },
			"HTTP/1.1 200 OK\r\nA: b  C: d\r\nContent-Length: 0\r\n\r\n"},
		{"unknown status", "GET / HTTP/1.1", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(777) },
			"HTTP/1.1 777 status code 777\r\nContent-Length: 0\r\n\r\n"},
		{"100 when the body is read", "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2",
			func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) },
			"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addr := start(t, &Server{Handler: tt.handler})
			answer := exchangeRaw(t, addr, tt.request+"\r\nHost: x\r\n\r\nab")
			// what follows is the refusal of "ab", or the end
			answer, _, _ = strings.Cut(answer, "HTTP/1.1 400")
			var kept []string
			for _, line := range strings.SplitAfter(answer, "\r\n") {
				if !strings.HasPrefix(line, "Date: ") {
					kept = append(kept, line)
				}
			}
			if got := strings.Join(kept, ""); got != tt.want {
				t.Errorf("got\n%q\nwant\n%q", got, tt.want)
			}
		})
	}
}

func TestServer_pipelining(t *testing.T) {
	addr := start(t, &Server{Handler: tell})
	var raw, want []string
	for i := range 50 {
		if i%2 == 0 {
			raw = append(raw, fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: x\r\n\r\n", i))
			want = append(want, fmt.Sprintf(`200 GET /%d host=x len=0 body="" trailer=map[]`, i))
		} else {
			raw = append(raw, fmt.Sprintf("POST /%d HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", i))
			want = append(want, fmt.Sprintf(`200 POST /%d host=x len=-1 body="a" trailer=map[]`, i))
		}
	}
	got := bodies(t, exchangeRaw(t, addr, strings.Join(raw, "")))
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q", got)
	}
}

// A body that the handler leaves is not taken for the next request.
func TestServer_unreadBody(t *testing.T) {
	addr := start(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) })})
	got := bodies(t, exchangeRaw(t, addr, "POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 28\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n"))
	if fmt.Sprint(got) != "[200 /1 200 /2]" {
		t.Errorf("got %q", got)
	}
}

func TestServer_contextEndsWhenTheClientLeaves(t *testing.T) {
	ended := make(chan error, 1)
	arrived := make(chan struct{})
	addr := start(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(arrived)
		select {
		case <-r.Context().Done():
			ended <- r.Context().Err()
		case <-time.After(patience):
			ended <- nil
		}
	})})
	c, _ := dial(t, addr)
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na")
	<-arrived
	c.Close()
	if err := <-ended; err != context.Canceled {
		t.Errorf("got %v, want context canceled", err)
	}
}

// Asking whether the client is there costs nothing of what it sends next.
func TestServer_watchedConnectionGoesOn(t *testing.T) {
	addr := start(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.Context().Done()
		io.WriteString(w, r.URL.Path)
	})})
	c, r := dial(t, addr)
	for i := range 20 {
		fmt.Fprintf(c, "GET /%d HTTP/1.1\r\nHost: x\r\n\r\n", i)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != fmt.Sprintf("/%d", i) {
			t.Fatalf("got %q", body)
		}
	}
}

func TestServer_deadlines(t *testing.T) {
	addr := start(t, &Server{Handler: tell, ReadHeaderTimeout: 50 * time.Millisecond, IdleTimeout: 50 * time.Millisecond})
	for _, tt := range []struct{ name, raw string }{
		{"silence", ""},
		{"half a head", "GET / HTTP/1.1\r\nHo"},
		{"idle", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"idle, then half a head", "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, r := dial(t, addr)
			fmt.Fprint(c, tt.raw)
			// Of what the server has not read when its patience ends, the client
			// hears by a reset.
			if _, err := io.ReadAll(r); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the connection was not closed in time: %v", err)
			}
		})
	}
}

func TestServer_hijack(t *testing.T) {
	addr := start(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if rw.Reader.Buffered() < len("early") {
			t.Errorf("got %d bytes buffered", rw.Reader.Buffered())
		}
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		rw.Flush()
		_, _ = io.Copy(c, rw)
	})})
	c, r := dial(t, addr)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\nearly") // one segment
	fmt.Fprint(c, " late")
	_ = c.CloseWrite()
	got, err := io.ReadAll(r)
	if want := "HTTP/1.1 101 Switching Protocols\r\n\r\nearly late"; err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func TestServer_panics(t *testing.T) {
	var logs bytes.Buffer
	s := &Server{ErrorLog: log.New(&logs, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/abort" {
			io.WriteString(w, "begun")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		panic("ouch")
	})}
	addr := start(t, s)
	if got := exchangeRaw(t, addr, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); got != "" {
		t.Errorf("got %q", got)
	}
	if got := exchangeRaw(t, addr, "GET /abort HTTP/1.1\r\nHost: x\r\n\r\n"); strings.HasSuffix(got, "0\r\n\r\n") || !strings.Contains(got, "begun") {
		t.Errorf("got %q", got)
	}
	if err := s.Shutdown(t.Context()); err != nil { // all is logged then
		t.Fatal(err)
	}
	if got := logs.String(); strings.Count(got, "http: panic serving") != 1 || !strings.Contains(got, "ouch") {
		t.Errorf("logged %q", got)
	}
}

// What a handler may keep is not used again.
func TestServer_headersAreSafeToKeep(t *testing.T) {
	var kept []http.Header
	addr := start(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { kept = append(kept, r.Header) })})
	c, r := dial(t, addr)
	for i := range 100 {
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\nN: %d\r\n\r\n", i)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	for i, h := range kept {
		if h.Get("N") != fmt.Sprint(i) {
			t.Fatalf("the header of request %d says %q", i, h.Get("N"))
		}
	}
}
