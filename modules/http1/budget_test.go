package http1

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"syscall"
	"testing"
)

const browserRequest = "GET /api/things?page=2 HTTP/1.1\r\nHost: example.com\r\nUser-Agent: curl/8.9\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n\r\n"

// answerSmall is a handler that does as little as one can.
var answerSmall = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["Content-Type"] = plainText
	h["Content-Length"] = lengthOfSmall
	_, _ = w.Write(smallBody)
})

var (
	smallBody     = bytes.Repeat([]byte("x"), 66)
	plainText     = []string{"text/plain"}
	lengthOfSmall = []string{"66"}
)

// turns sends one request after the other on a connection, and reads the
// answers. It allocates nothing itself.
func turns(t testing.TB, c net.Conn) func() {
	raw := []byte(browserRequest)
	in := make([]byte, 4096)
	return func() {
		if _, err := c.Write(raw); err != nil {
			t.Fatal(err)
		}
		for n := 0; ; {
			m, err := c.Read(in[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += m
			if i := bytes.Index(in[:n], crlfcrlf); i >= 0 && n >= i+4+len(smallBody) {
				return
			}
		}
	}
}

// A request costs the exchange, the *http.Request, the head's text, the map of
// the header with its values, and what the map grows by.
func TestServer_allocations(t *testing.T) {
	if raceDetector() {
		t.Skip("the race detector makes pools forget: run it without -race")
	}
	const budget = 6
	c, _ := dial(t, start(t, &Server{Handler: answerSmall}))
	turn := turns(t, c)
	turn()
	if n := testing.AllocsPerRun(2000, turn); n > budget {
		t.Errorf("a request allocates %v times, the budget is %d", n, budget)
	} else {
		t.Logf("%v allocations", n)
	}
}

// Of a handler that keeps nothing, not even a text, a request costs nothing.
func TestServer_recycledAllocations(t *testing.T) {
	if raceDetector() {
		t.Skip("the race detector makes pools forget: run it without -race")
	}
	const budget = 0
	c, _ := dial(t, start(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answerSmall(w, r)
		w.(Recycler).Recycle(true)
	})}))
	turn := turns(t, c)
	turn()
	if n := testing.AllocsPerRun(2000, turn); n > budget {
		t.Errorf("a request allocates %v times, the budget is %d", n, budget)
	}
}

// What somebody waits for is not used again, even if the handler says so.
func TestServer_recycleKeepsWhatIsWatched(t *testing.T) {
	kept := make(chan *http.Request, 2)
	c, in := dial(t, start(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Watch") != "" {
			_ = r.Context().Done()
		}
		kept <- r
		answerSmall(w, r)
		w.(Recycler).Recycle(true)
	})}))
	var requests []*http.Request
	for _, head := range append([]string{"Watch: 1"}, slices.Repeat([]string{"A: 1"}, 20)...) {
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n"+head+"\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		requests = append(requests, <-kept)
	}
	if requests[0] == requests[1] {
		t.Error("the request whose context was watched was used again")
	}
	again := false // each may have been let go for being idle
	for i := 1; i < len(requests)-1; i++ {
		again = again || requests[i] == requests[i+1]
	}
	if !again {
		t.Error("a request that nobody watched was not used again")
	}
}

func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// BenchmarkServe is one keep-alive connection over loopback, against net/http.
func BenchmarkServe(b *testing.B) {
	b.Run("http1", func(b *testing.B) {
		c, _ := dial(b, start(b, &Server{Handler: answerSmall}))
		benchmarkTurns(b, c)
	})
	b.Run("nethttp", func(b *testing.B) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		s := &http.Server{Handler: answerSmall}
		go s.Serve(ln)
		b.Cleanup(func() { s.Close() })
		c, _ := dial(b, ln.Addr().String())
		benchmarkTurns(b, c)
	})
}

func benchmarkTurns(b *testing.B, c net.Conn) {
	turn := turns(b, c)
	turn()
	b.ReportAllocs()
	for b.Loop() {
		turn()
	}
}

// A repeated is a connection on which the same request comes n times.
type repeated struct {
	recorder
	left int
}

func (c *repeated) Read(p []byte) (int, error) {
	if c.left--; c.left < 0 {
		return 0, io.EOF
	}
	return copy(p, browserRequest), nil
}
func (c *repeated) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkParse is the server without sockets, and how net/http reads the same.
func BenchmarkParse(b *testing.B) {
	b.Run("http1", func(b *testing.B) {
		s := &Server{Handler: answerSmall}
		defer s.Close()
		b.ReportAllocs()
		s.ServeConn(&repeated{left: b.N})
	})
	b.Run("nethttp", func(b *testing.B) {
		raw := bytes.NewReader([]byte(browserRequest))
		in := bufio.NewReader(raw)
		b.ReportAllocs()
		for b.Loop() {
			raw.Reset([]byte(browserRequest))
			in.Reset(raw)
			if _, err := http.ReadRequest(in); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkIdle reports what a connection costs that waits for its second
// request: the kilobytes of the heap and the stacks, not those of the kernel.
// PORTCULLIS_IDLE says how many there are; each takes two descriptors.
func BenchmarkIdle(b *testing.B) {
	count := 2000
	if n, err := strconv.Atoi(os.Getenv("PORTCULLIS_IDLE")); err == nil {
		count = n
	}
	for _, name := range []string{"http1", "nethttp"} {
		for _, kind := range []string{"plain", "tls"} {
			b.Run(name+"/"+kind, func(b *testing.B) {
				addr := startKind(b, name, kind)
				for b.Loop() {
					before := inUse()
					fds := make([]int, 0, count)
					for range count {
						fds = append(fds, idleClient(b, addr, kind))
					}
					b.ReportMetric(float64(inUse()-before)/1024/float64(count), "kB/conn")
					for _, fd := range fds {
						syscall.Close(fd)
					}
				}
			})
		}
	}
}

// startKind runs this server or net/http's, with TLS or plain.
func startKind(b testing.TB, name, kind string) string {
	var s interface {
		Serve(net.Listener) error
		Close() error
	} = &Server{Handler: answerSmall}
	if name == "nethttp" {
		s = &http.Server{Handler: answerSmall}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	if kind == "tls" {
		ln = tls.NewListener(ln, testTLS(b))
	}
	go s.Serve(ln)
	b.Cleanup(func() { s.Close() })
	return ln.Addr().String()
}

// idleClient makes one request, and keeps nothing of the connection but its
// descriptor.
func idleClient(b *testing.B, addr, kind string) int {
	tcp, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer tcp.Close()
	c := tcp
	if kind == "tls" {
		c = tls.Client(tcp, &tls.Config{InsecureSkipVerify: true})
	}
	turns(b, c)()
	raw, err := tcp.(*net.TCPConn).SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	fd := -1
	_ = raw.Control(func(d uintptr) { fd, err = syscall.Dup(int(d)) })
	if err != nil {
		b.Fatal(err)
	}
	return fd
}

// inUse is how many bytes of memory Go uses.
func inUse() uint64 {
	var m runtime.MemStats
	for range 3 { // pools give up what they hold in two
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
