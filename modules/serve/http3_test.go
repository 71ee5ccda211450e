package serve

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/portcullis-gateway/portcullis/modules/patient"
)

// quicClient speaks HTTP/3 only, and tells of the connections it makes.
func (f *fixture) quicClient() (*http.Client, <-chan *quic.Conn) {
	f.t.Helper()
	conns := make(chan *quic.Conn, 100)
	tr := &http3.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "test", ClientSessionCache: tls.NewLRUClientSessionCache(8)},
		Dial: func(ctx context.Context, addr string, tlsCfg *tls.Config, cfg *quic.Config) (*quic.Conn, error) {
			c, err := quic.DialAddrEarly(ctx, addr, tlsCfg, cfg)
			if err == nil {
				conns <- c
			}
			return c, err
		},
	}
	f.t.Cleanup(func() { tr.Close() })
	return &http.Client{Transport: tr, Timeout: patient.Limit}, conns
}

func TestHTTP3_requestsHaveTheirFacts(t *testing.T) {
	type facts struct{ proto, remote, local, name string }
	seen := make(chan facts, 1)
	f := start(t, "ssl http2 http3", Generation{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		seen <- facts{r.Proto, r.RemoteAddr, local.String(), r.TLS.ServerName}
		if ConnFrom(r.Context()) != nil {
			t.Error("a request of HTTP/3 has a connection of TCP")
		}
	})})
	c, conns := f.quicClient()
	resp, err := c.Get(f.url())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	port := strconv.Itoa((<-conns).LocalAddr().(*net.UDPAddr).Port)
	want := facts{"HTTP/3.0", "127.0.0.1:" + port, f.cfg.Bind.HostPort(), "test"}
	if got := <-seen; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := resp.Header.Get("Alt-Svc"); got != "" {
		t.Errorf("a client that is there already is told of %q", got)
	}
}

func TestHTTP3_isOfferedToOthers(t *testing.T) {
	public := func(port uint16) uint16 { return 443 }
	for _, tt := range []struct {
		name, flags string
		public      func(uint16) uint16
		client      func(*http.Transport)
		want        string // empty: nothing; PORT stands for the bind's
	}{
		{"http/1.1", "ssl http3", nil, speaks(true, false, false), `h3=":PORT"; ma=86400`},
		{"http/2", "ssl http2 http3", nil, speaks(false, true, false), `h3=":PORT"; ma=86400`},
		{"as clients know the port", "ssl http3", public, speaks(true, false, false), `h3=":443"; ma=86400`},
		{"without the flag", "ssl http2", nil, speaks(false, true, false), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, tt.flags, Generation{Handler: says("x"), PublicPort: tt.public})
			resp, err := f.client(tt.client).Get(f.url())
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			want := tt.want
			if want == `h3=":PORT"; ma=86400` {
				want = `h3=":` + strconv.Itoa(int(f.cfg.Bind.Port)) + `"; ma=86400`
			}
			if got := resp.Header.Get("Alt-Svc"); got != want {
				t.Errorf("got Alt-Svc %q, want %q", got, want)
			}
		})
	}
}

func TestHTTP3_connectionsOutliveGenerations(t *testing.T) {
	f := start(t, "ssl http3", Generation{Handler: says("one")})
	c, conns := f.quicClient()
	f.wantBody(c, "one")
	below := f.first
	for _, word := range []string{"two", "three", "four"} {
		l := f.open(Generation{Handler: says(word)})
		end(below)
		f.wantBody(c, word)
		below = l
	}
	if n := len(conns); n != 1 {
		t.Errorf("the client has made %d connections, want one", n)
	}
}

func TestHTTP3_otherOptionsReplaceTheServerWithoutLoss(t *testing.T) {
	handler, enough := counts(1)
	f := start(t, "ssl http3", Generation{Handler: handler})
	stop := f.load(3, time.Millisecond, func() *http.Client { c, _ := f.quicClient(); return c })
	<-enough
	f.replace(3, 20)
	withoutLoss(t, stop)
}

func TestHTTP3_drains(t *testing.T) {
	h := newHangs()
	f := start(t, "ssl http3", Generation{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/idle" {
			return
		}
		h.ServeHTTP(w, r)
	})})
	idle, _ := f.quicClient()
	resp, err := idle.Get(f.url() + "idle")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	busy, _ := f.quicClient()
	body := make(chan string, 1)
	go func() {
		_, text, err := get(busy, f.url())
		if err != nil {
			text = err.Error()
		}
		body <- text
	}()
	<-h.begun
	f.first.Close()
	s := draining.all()[0]
	<-s.quic.accepting.none()
	late, _ := f.quicClient()
	if _, _, err := get(late, f.url()); err == nil {
		t.Error("a draining server without a successor still takes connections")
	}
	if isDone(f.first) {
		t.Error("the generation is done while a request runs")
	}
	close(h.finish)
	if got := <-body; got != "finished" {
		t.Errorf("the running request got %q", got)
	}
	<-f.first.Done()
	if pc, err := net.ListenPacket("udp4", f.cfg.Bind.HostPort()); err != nil {
		t.Errorf("the socket is still there: %v", err)
	} else {
		pc.Close()
	}
}

func TestHTTP3_gracePeriodEnds(t *testing.T) {
	h := newHangs()
	f := start(t, "ssl http3", Generation{Handler: h, GracePeriod: 50 * time.Millisecond})
	c, _ := f.quicClient()
	failed := make(chan error, 1)
	go func() {
		_, _, err := get(c, f.url())
		failed <- err
	}()
	<-h.begun
	end(f.first)
	if err := <-failed; err == nil {
		t.Error("the request was answered, though its handler never ended")
	}
}

// TestHTTP3_resumesWithoutEarlyData: a session goes on across connections, but
// a request is never in the first flight, which anyone could send again.
func TestHTTP3_resumesWithoutEarlyData(t *testing.T) {
	f := start(t, "ssl http3", Generation{Handler: says("x")})
	cache := tls.NewLRUClientSessionCache(8)
	for i := range 2 {
		tr := &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "test", ClientSessionCache: cache}}
		var state quic.ConnectionState
		tr.Dial = func(ctx context.Context, addr string, tlsCfg *tls.Config, cfg *quic.Config) (*quic.Conn, error) {
			c, err := quic.DialAddrEarly(ctx, addr, tlsCfg, cfg)
			if err == nil {
				<-c.HandshakeComplete()
				state = c.ConnectionState()
			}
			return c, err
		}
		req, _ := http.NewRequest(http3.MethodGet0RTT, f.url(), nil)
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		tr.Close()
		if state.Used0RTT {
			t.Error("a request was sent before the handshake")
		}
		if i == 1 && !state.TLS.DidResume {
			t.Error("the second connection has not resumed the session of the first")
		}
	}
}

func TestHTTP3_portThatIsTaken(t *testing.T) {
	var f *fixture
	var pc net.PacketConn
	var err error
	for range 10 { // what is free for TCP may be taken for UDP
		f = start(t, "ssl", Generation{Handler: says("x")})
		end(f.first)
		if pc, err = net.ListenPacket("udp4", f.cfg.Bind.HostPort()); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	f.cfg.Bind.HTTP3 = true
	if l, err := Open(t.Context(), f.cfg, f.complete(Generation{Handler: says("x")})); err == nil {
		end(l)
		t.Fatal("opened")
	}
	if ln, err := net.Listen("tcp4", f.cfg.Bind.HostPort()); err != nil {
		t.Errorf("the socket for connections was left open: %v", err)
	} else {
		ln.Close()
	}
}
