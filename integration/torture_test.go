package integration

import (
	"bufio"
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

// dial opens a connection to addr that ends with the test.
func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// serveRaw accepts connections until the test ends, each on a goroutine.
func serveRaw(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return listener.Addr().String()
}

// TestTorture_clientLeaves has a client leave while the upstream takes its
// time: before the answer, and within a body.
func TestTorture_clientLeaves(t *testing.T) {
	t.Parallel()
	h := newHome(t, usual)
	arrived, gone := make(chan struct{}, 1), make(chan struct{}, 1)
	behind := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			io.WriteString(w, "the beginning")
			http.NewResponseController(w).Flush()
		}
		arrived <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	})
	p := h.start()
	p.admin("POST", "/services", `{"name":"slow","url":"`+behind.URL+`"}`, 201)
	p.admin("POST", "/services/slow/routes", `{"paths":["/"],"strip_path":false}`, 201)

	for _, path := range []string{"/head", "/body"} {
		conn := dial(t, p.addr("PROXY"))
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path)
		await(t, arrived, path+": the request did not arrive")
		conn.Close()
		await(t, gone, path+": the upstream's request was not cancelled")
	}
}

func await(t *testing.T, what <-chan struct{}, otherwise string) {
	t.Helper()
	select {
	case <-what:
	case <-time.After(patience):
		t.Fatal(otherwise)
	}
}

// TestTorture_upstreamClosesKeptConnections has an upstream that closes
// connections without a word: behind an answer, or when the next request is
// there. What is safe to repeat always gets its answer, and what is not safe
// is never sent twice.
func TestTorture_upstreamClosesKeptConnections(t *testing.T) {
	t.Parallel()
	h := newHome(t, usual)
	var seen sync.Map // the target of each POST to a count
	var conns atomic.Int64
	addr := serveRaw(t, func(conn net.Conn) {
		n := conns.Add(1)
		in := bufio.NewReader(conn)
		for served := int64(0); ; served++ {
			m, err := readStrict(in, false, "")
			if err != nil {
				return
			}
			if strings.HasPrefix(m.start, "POST ") {
				count, _ := seen.LoadOrStore(m.start, new(atomic.Int64))
				count.(*atomic.Int64).Add(1)
			}
			if served > n%3 {
				return // the request came, and that is all
			}
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(m.start), m.start)
			if served == n%3 && n%2 == 0 {
				return // closed behind an answer
			}
		}
	})
	p := h.start()
	p.admin("POST", "/services", `{"name":"a","retries":5,"url":"http://`+addr+`"}`, 201)
	p.admin("POST", "/services/a/routes", `{"paths":["/"],"strip_path":false}`, 201)

	var clients sync.WaitGroup
	var failed, answered atomic.Int64
	for c := range 4 {
		clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: patience}
			defer client.CloseIdleConnections()
			for i := range 100 {
				path := fmt.Sprintf("/%d/%d", c, i)
				resp, err := client.Get("http://" + p.addr("PROXY") + path)
				if err != nil {
					t.Errorf("GET %s: %v", path, err)
					return
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if want := "GET " + path + " HTTP/1.1"; resp.StatusCode != 200 || string(body) != want {
					t.Errorf("GET %s: %s %q", path, resp.Status, body)
				}

				resp, err = client.Post("http://"+p.addr("PROXY")+path, "text/plain", strings.NewReader("once"))
				if err != nil {
					t.Errorf("POST %s: %v", path, err)
					return
				}
				body, _ = io.ReadAll(resp.Body)
				resp.Body.Close()
				switch want := "POST " + path + " HTTP/1.1"; {
				case resp.StatusCode == 200 && string(body) == want:
					answered.Add(1)
				case resp.StatusCode == 502:
					failed.Add(1)
				default:
					t.Errorf("POST %s: %s %q", path, resp.Status, body)
				}
			}
		})
	}
	clients.Wait()
	seen.Range(func(target, count any) bool {
		if n := count.(*atomic.Int64).Load(); n != 1 {
			t.Errorf("the upstream got %q %d times", target, n)
		}
		return true
	})
	if answered.Load() == 0 {
		t.Error("no POST was answered")
	}
	t.Logf("%d POSTs answered, %d lost by the upstream, %d connections", answered.Load(), failed.Load(), conns.Load())
}

// TestTorture_slowClients sends heads and bodies so slowly that nobody should
// wait for them, and one body that is slow but steady.
func TestTorture_slowClients(t *testing.T) {
	t.Parallel()
	caddyfile := strings.Replace(usual, "proxy_listen 127.0.0.1:{$PROXY}, 127.0.0.1:{$PROXY_SSL} ssl http2",
		"proxy_listen {\n\t\tbind 127.0.0.1:{$PROXY}\n\t\ttimeouts {\n\t\t\tread_header 1s\n\t\t\tread_body 1s\n\t\t\tidle 1s\n\t\t}\n\t}", 1)
	h := newHome(t, caddyfile)
	behind := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			fmt.Fprintf(w, "%d bytes", len(body))
		}
	})
	p := h.start()
	p.route("/", behind.URL)

	const head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n"
	for _, tt := range []struct {
		name  string
		first string        // at once
		drip  string        // again and again
		every time.Duration // how often
		times int           // 0: for ever
		want  string        // how the answer begins; "": none
	}{
		{"nothing", "", "", 0, 0, ""},
		{"a head without end", "GET / HTTP/1.1\r\n", "X: y\r\n", 200 * time.Millisecond, 0, "HTTP/1.1 408 "},
		{"half a head", "GET / HT", "", 0, 0, "HTTP/1.1 408 "},
		{"half a body", head + "half", "", 0, 0, "HTTP/1.1 408 "},
		{"a slow body", head, "x", 100 * time.Millisecond, 30, "HTTP/1.1 200 "},
		{"a second request that does not come", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "", 0, 0, "HTTP/1.1 200 "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, p.addr("PROXY"))
			io.WriteString(conn, tt.first)
			stop := make(chan struct{})
			var dripping sync.WaitGroup
			if tt.drip != "" {
				dripping.Go(func() {
					for n := 0; tt.times == 0 || n < tt.times; n++ {
						select {
						case <-stop:
							return
						case <-time.After(tt.every):
						}
						if _, err := io.WriteString(conn, tt.drip); err != nil {
							return
						}
					}
				})
			}
			got, err := io.ReadAll(conn) // to the end, that is
			close(stop)
			dripping.Wait()
			if !closed(err) && err != nil {
				t.Fatalf("the connection is still open: %q, %v", got, err)
			}
			// an answer to a head that is not there is optional
			if tt.want == "HTTP/1.1 408 " && len(got) == 0 && !strings.HasPrefix(tt.first, head) {
				return
			}
			if !strings.HasPrefix(string(got), tt.want) || tt.want == "" && len(got) > 0 {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestTorture_pipelining sends a hundred requests before it reads an answer.
func TestTorture_pipelining(t *testing.T) {
	t.Parallel()
	p := newHome(t, usual).start()
	behind := newRecorder(t)
	p.admin("POST", "/services", `{"name":"a","url":"http://`+behind.addr+`"}`, 201)
	p.admin("POST", "/services/a/routes", `{"paths":["/"],"strip_path":false}`, 201)

	conn := dial(t, p.addr("PROXY"))
	var all strings.Builder
	for i := range 100 {
		if i%3 == 0 {
			fmt.Fprintf(&all, "POST /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", i)
		} else {
			fmt.Fprintf(&all, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i)
		}
	}
	go io.WriteString(conn, all.String())
	in := bufio.NewReader(conn)
	for i := range 100 {
		want := fmt.Sprintf("GET /%d 0", i)
		if i%3 == 0 {
			want = fmt.Sprintf("POST /%d 3", i)
		}
		if m, err := readStrict(in, true, ""); err != nil || m.body != want {
			t.Fatalf("answer %d: %q, %v; want %q", i, m.body, err, want)
		}
	}
}

// TestTorture_expect waits for the word to go on before it sends a body, and
// does not send it when the answer is no.
func TestTorture_expect(t *testing.T) {
	t.Parallel()
	p := newHome(t, usual).start()
	behind := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	})
	p.admin("POST", "/services", `{"name":"a","url":"`+behind.URL+`"}`, 201)
	p.admin("POST", "/services/a/routes", `{"paths":["/"],"strip_path":false}`, 201)

	conn := dial(t, p.addr("PROXY"))
	in := bufio.NewReader(conn)
	io.WriteString(conn, "POST /yes HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	if m, err := readStrict(in, true, ""); err != nil || !strings.HasPrefix(m.start, "HTTP/1.1 100 ") {
		t.Fatalf("got %q, %v, want 100", m.start, err)
	}
	io.WriteString(conn, "hello")
	if m, err := readStrict(in, true, ""); err != nil || m.body != "hello" {
		t.Fatalf("got %q, %v", m.body, err)
	}

	// a client that is told no may go on with another request, or the
	// connection ends: what must not happen is that the request is a body
	io.WriteString(conn, "POST /no HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 50\r\n\r\n")
	m, err := readStrict(in, true, "")
	for err == nil && strings.HasPrefix(m.start, "HTTP/1.1 100 ") {
		io.WriteString(conn, strings.Repeat("x", 50))
		m, err = readStrict(in, true, "")
	}
	if err != nil || !strings.HasPrefix(m.start, "HTTP/1.1 403 ") {
		t.Fatalf("got %q, %v, want 403", m.start, err)
	}
	io.WriteString(conn, "GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
	if m, err := readStrict(in, true, ""); err == nil && !strings.HasPrefix(m.start, "HTTP/1.1 200 ") || errors.Is(err, errAmbiguous) {
		t.Errorf("the next request: %q, %v", m.start, err)
	}
}
