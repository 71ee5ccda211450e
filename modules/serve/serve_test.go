package serve

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/portcullis-gateway/portcullis/modules/listen"
	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/modules/ports"
	"github.com/portcullis-gateway/portcullis/modules/selfsigned"
)

func TestMain(m *testing.M) { patient.NoLeaks(m) }

// A fixture is a server under test and the means to talk to it.
type fixture struct {
	t     testing.TB
	cfg   Config
	first *Lease
}

// start opens a server on a port that later generations can share.
func start(t testing.TB, flags string, g Generation) *fixture {
	t.Helper()
	cfg := Config{Option: t.Name()}
	var last error
	for range 10 { // another process may take the port between Close and Open
		free, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		free.Close()
		binds, err := listen.Parse("test_listen", free.Addr().String()+" "+flags, listen.Proxy)
		if err != nil {
			t.Fatal(err)
		}
		f := &fixture{t: t, cfg: cfg}
		f.cfg.Bind = binds[0]
		if f.first, last = Open(t.Context(), f.cfg, f.complete(g)); last == nil {
			t.Cleanup(func() { end(f.first) })
			return f
		} else if !errors.Is(last, syscall.EADDRINUSE) {
			break
		}
	}
	t.Fatal(last)
	return nil
}

// open puts another generation on top.
func (f *fixture) open(g Generation) *Lease {
	f.t.Helper()
	l, err := Open(f.t.Context(), f.cfg, f.complete(g))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { end(l) })
	return l
}

func (f *fixture) complete(g Generation) Generation {
	if f.cfg.Bind.SSL && g.TLS == nil {
		cert := selfsigned.New("test", "test").Certificate
		cfg := &tls.Config{Certificates: []tls.Certificate{cert}}
		g.TLS = func(*tls.ClientHelloInfo) (*tls.Config, error) { return cfg, nil }
	}
	return g
}

// end closes a lease and waits for it.
func end(l *Lease) {
	l.Close()
	<-l.Done()
}

func (f *fixture) url() string {
	scheme := "http"
	if f.cfg.Bind.SSL {
		scheme = "https"
	}
	return scheme + "://" + f.cfg.Bind.HostPort() + "/"
}

// client speaks the given protocols, believes any certificate, and forgets its
// connections at the end of the test.
func (f *fixture) client(set ...func(*http.Transport)) *http.Client {
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "test"}}
	for _, s := range set {
		s(tr)
	}
	f.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func speaks(http1, http2, h2c bool) func(*http.Transport) {
	return func(tr *http.Transport) {
		tr.Protocols = new(http.Protocols)
		tr.Protocols.SetHTTP1(http1)
		tr.Protocols.SetHTTP2(http2)
		tr.Protocols.SetUnencryptedHTTP2(h2c)
	}
}

// get returns the protocol and body of an answer.
func get(c *http.Client, url string) (proto, body string, err error) {
	resp, err := c.Get(url)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.Proto, string(text), err
}

func (f *fixture) wantBody(c *http.Client, want string) {
	f.t.Helper()
	if _, body, err := get(c, f.url()); err != nil || body != want {
		f.t.Errorf("GET %s = %q, %v; want %q", f.url(), body, err, want)
	}
}

// dial opens a bare connection.
func (f *fixture) dial() net.Conn {
	f.t.Helper()
	c, err := net.Dial("tcp", f.cfg.Bind.HostPort())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	return c
}

// says answers every request with a word.
func says(word string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, word) }
}

// with returns a TLS source that always answers with one certificate.
func with(cert tls.Certificate) func(*tls.ClientHelloInfo) (*tls.Config, error) {
	cfg := &tls.Config{Certificates: []tls.Certificate{cert}}
	return func(*tls.ClientHelloInfo) (*tls.Config, error) { return cfg, nil }
}

func TestOpen_speaksWhatTheFlagsSay(t *testing.T) {
	for _, tt := range []struct {
		name, flags string
		client      func(*http.Transport)
		want        string // protocol; empty: refused
	}{
		{"http/1.1", "", speaks(true, true, false), "HTTP/1.1"},
		{"h2c without http2", "", speaks(false, false, true), ""},
		{"h2c", "http2", speaks(false, false, true), "HTTP/2.0"},
		{"http/1.1 on an h2c port", "http2", speaks(true, false, false), "HTTP/1.1"},
		{"tls", "ssl", speaks(true, true, false), "HTTP/1.1"},
		{"h2 without http2", "ssl", speaks(false, true, false), ""},
		{"h2", "ssl http2", speaks(true, true, false), "HTTP/2.0"},
		{"http/1.1 on an h2 port", "ssl http2", speaks(true, false, false), "HTTP/1.1"},
		{"h2 over several sockets", "ssl http2 reuseport", speaks(false, true, false), "HTTP/2.0"},
		{"every flag", "ssl http2 deferred bind reuseport backlog=64 so_keepalive=30::3", speaks(false, true, false), "HTTP/2.0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, tt.flags, Generation{Handler: says("hello")})
			proto, body, err := get(f.client(tt.client), f.url())
			if tt.want == "" {
				if err == nil {
					t.Errorf("got %s, want a refusal", proto)
				}
				return
			}
			if err != nil || proto != tt.want || body != "hello" {
				t.Errorf("got %s, %q, %v; want %s", proto, body, err, tt.want)
			}
		})
	}
}

func TestOpen_handlersLearnTheConnection(t *testing.T) {
	for _, tt := range []struct {
		flags  string
		client func(*http.Transport)
	}{
		{"", speaks(true, false, false)},
		{"http2", speaks(false, false, true)},
		{"ssl", speaks(true, false, false)},
		{"ssl http2", speaks(false, true, false)},
	} {
		t.Run(tt.flags, func(t *testing.T) {
			conns := make(chan *Conn, 2)
			local := make(chan string, 1)
			f := start(t, tt.flags, Generation{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				conns <- ConnFrom(r.Context())
				local <- r.Context().Value(http.LocalAddrContextKey).(net.Addr).String()
				io.WriteString(w, r.RemoteAddr)
			})})
			_, remote, err := get(f.client(tt.client), f.url())
			if err != nil {
				t.Fatal(err)
			}
			c := <-conns
			if c == nil {
				t.Fatal("ConnFrom found no connection")
			}
			if c.Bind() != f.cfg.Bind {
				t.Errorf("Bind() = %v, want %v", c.Bind(), f.cfg.Bind)
			}
			if got := <-local; c.Local().String() != f.cfg.Bind.HostPort() || got != f.cfg.Bind.HostPort() {
				t.Errorf("Local() = %v, LocalAddrContextKey = %s; want %s", c.Local(), got, f.cfg.Bind.HostPort())
			}
			if c.Peer().String() != remote {
				t.Errorf("Peer() = %v, RemoteAddr = %s", c.Peer(), remote)
			}
			if _, _, ok := c.Proxied(); ok {
				t.Error("Proxied() is ok without proxy_protocol")
			}
		})
	}
}

func TestConnFrom_otherServersRequests(t *testing.T) {
	if c := ConnFrom(context.Background()); c != nil {
		t.Errorf("got %v, want nil", c)
	}
}

func TestOpen_errorsNameTheOption(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := uint16(taken.Addr().(*net.TCPAddr).Port)
	_, err = Open(t.Context(), Config{Option: "proxy_listen", Bind: listen.Bind{Address: "127.0.0.1", Port: port}}, Generation{Handler: says("")})
	want := fmt.Sprintf("proxy_listen: listen tcp4 127.0.0.1:%d: bind: address already in use: another process listens there; stop it, or choose another port", port)
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	_, err = Open(t.Context(), Config{Option: "admin_listen", Bind: listen.Bind{Address: "127.0.0.1", SSL: true}}, Generation{Handler: says("")})
	if want := `admin_listen: "127.0.0.1:0 ssl": flag "ssl" needs a source of certificates`; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestOpen_failedServerIsForgotten(t *testing.T) {
	cfg := Config{Option: t.Name(), Bind: listen.Bind{Address: "127.0.0.1", Port: uint16(ports.Free(t))}}
	taken, err := net.Listen("tcp4", cfg.Bind.HostPort())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), cfg, Generation{Handler: says("")}); err == nil {
		t.Fatal("Open took a port that is taken")
	}
	taken.Close()
	l, err := Open(t.Context(), cfg, Generation{Handler: says("")})
	if err != nil {
		t.Fatalf("Open after the port was freed: %v", err)
	}
	end(l)
}

func TestOpen_portZeroIsNeverShared(t *testing.T) {
	cfg := Config{Option: t.Name(), Bind: listen.Bind{Address: "127.0.0.1"}}
	a, err := Open(t.Context(), cfg, Generation{Handler: says("a")})
	if err != nil {
		t.Fatal(err)
	}
	defer end(a)
	b, err := Open(t.Context(), cfg, Generation{Handler: says("b")})
	if err != nil {
		t.Fatal(err)
	}
	defer end(b)
	if a.Addrs()[0] == b.Addrs()[0] {
		t.Errorf("two servers share %v", a.Addrs())
	}
}

func TestOpen_warningsAreLogged(t *testing.T) {
	core, logs := observer.New(zapcore.WarnLevel)
	start(t, "ipv6only=off", Generation{Handler: says(""), Logger: zap.New(core)})
	entries := logs.FilterMessage("listen flag not honoured").All()
	if len(entries) != 1 || !strings.Contains(entries[0].ContextMap()["reason"].(string), "ipv6only=off") {
		t.Errorf("logged %v, want one warning that names the flag", entries)
	}
	start(t, "ipv6only=off", Generation{Handler: says(""), Logger: zap.New(core), Usual: true})
	if n := logs.FilterMessage("listen flag not honoured").Len(); n != 1 {
		t.Errorf("%d warnings after a bind that nobody wrote, want the one", n)
	}
}

func TestOpen_privateServerIsMarkedWhileItListens(t *testing.T) {
	l, err := Open(t.Context(), Config{Option: t.Name(), Bind: listen.Bind{Address: "127.0.0.1"}, Private: true}, Generation{Handler: says("")})
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addrs()[0]
	if !listen.IsPrivate(addr) {
		t.Errorf("%s is not private", addr)
	}
	end(l)
	if listen.IsPrivate(addr) {
		t.Errorf("%s is still private", addr)
	}
}

func TestServer_limits(t *testing.T) {
	f := &fixture{t: t, cfg: Config{
		Option: t.Name(), Bind: listen.Bind{Address: "127.0.0.1"}, MaxHeaderBytes: 1 << 10,
		ReadHeaderTimeout: 2 * time.Second, IdleTimeout: 2 * time.Second,
	}}
	l := f.open(Generation{Handler: says("ok")})
	f.cfg.Bind.Port = l.Addrs()[0].Port()

	t.Run("header too large", func(t *testing.T) {
		t.Parallel()
		c := f.dial()
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", strings.Repeat("x", 8<<10))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("got %v, %v; want 431", resp, err)
		}
	})
	t.Run("slow header", func(t *testing.T) {
		t.Parallel()
		c := f.dial()
		io.WriteString(c, "GET / HTTP/1.1\r\nHost:")
		if got, err := io.ReadAll(c); err != nil || len(got) != 0 {
			t.Errorf("got %q, %v; want the connection closed", got, err)
		}
	})
	t.Run("silent client", func(t *testing.T) {
		t.Parallel()
		c := f.dial()
		if got, err := io.ReadAll(c); err != nil || len(got) != 0 {
			t.Errorf("got %q, %v; want the connection closed", got, err)
		}
	})
	t.Run("idle connection", func(t *testing.T) {
		t.Parallel()
		c := f.dial()
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		got, err := io.ReadAll(c)
		if err != nil || !strings.HasSuffix(string(got), "\r\n\r\nok") {
			t.Errorf("got %q, %v; want an answer and then the connection closed", got, err)
		}
	})
}

func TestServer_panicIsLoggedByTheGenerationThatServes(t *testing.T) {
	core, logs := observer.New(zapcore.ErrorLevel)
	f := start(t, "", Generation{Handler: says("old")})
	l := f.open(Generation{Logger: zap.New(core), Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("ouch") })})
	c := f.dial()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if got, err := io.ReadAll(c); err != nil || len(got) != 0 {
		t.Errorf("got %q, %v; want the connection closed", got, err)
	}
	end(l) // the request has released it
	entries := logs.FilterMessage("a handler panicked").All()
	if len(entries) != 1 || !strings.Contains(entries[0].ContextMap()["message"].(string), "ouch") {
		t.Errorf("logged %v, want the panic", entries)
	}
}

func TestServer_tlsFollowsTheNewestGeneration(t *testing.T) {
	f := start(t, "ssl http2 reuseport", Generation{Handler: says("old"), TLS: with(selfsigned.New("old", "test").Certificate)})
	name := func() string {
		t.Helper()
		c, err := tls.Dial("tcp", f.cfg.Bind.HostPort(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	if got := name(); got != "old" {
		t.Errorf("got the certificate %q, want old", got)
	}
	l := f.open(Generation{Handler: says("new"), TLS: with(selfsigned.New("new", "test").Certificate)})
	if got := name(); got != "new" {
		t.Errorf("got the certificate %q, want new", got)
	}
	end(l)
	if got := name(); got != "old" {
		t.Errorf("got the certificate %q, want old again", got)
	}
}

func TestServer_sessionTicketsOutliveGenerations(t *testing.T) {
	cert := selfsigned.New("test", "test").Certificate
	f := start(t, "ssl reuseport", Generation{Handler: says("old"), TLS: with(cert)})
	cfg := &tls.Config{InsecureSkipVerify: true, ServerName: "test", ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	visit := func() (resumed bool) {
		t.Helper()
		c, err := tls.Dial("tcp", f.cfg.Bind.HostPort(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		// The ticket comes with the answer in TLS 1.3.
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if _, err := io.ReadAll(c); err != nil {
			t.Fatal(err)
		}
		return c.ConnectionState().DidResume
	}
	if visit() {
		t.Error("the first session was resumed")
	}
	f.open(Generation{Handler: says("new"), TLS: with(cert)})
	for i := range 20 { // enough to meet every socket
		if !visit() {
			t.Errorf("session %d was not resumed", i)
		}
	}
}

func TestServer_ticketIsNoWayAroundClientCertificates(t *testing.T) {
	cert, mine, other := selfsigned.New("test", "test").Certificate, selfsigned.New("mine", "test").Certificate, selfsigned.New("other", "test").Certificate
	demands := func(ca tls.Certificate) Generation {
		leaf, err := x509.ParseCertificate(ca.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		cfg := &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool()}
		cfg.ClientCAs.AddCert(leaf)
		return Generation{Handler: says("x"), TLS: func(*tls.ClientHelloInfo) (*tls.Config, error) { return cfg, nil }}
	}
	f := start(t, "ssl", Generation{Handler: says("x"), TLS: with(cert)})
	visit := func(cfg *tls.Config) error {
		c, err := tls.Dial("tcp", f.cfg.Bind.HostPort(), cfg)
		if err != nil {
			return err
		}
		defer c.Close()
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		_, err = io.ReadAll(c)
		return err
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			client := func(certs ...tls.Certificate) *tls.Config {
				return &tls.Config{
					InsecureSkipVerify: true, ServerName: "test", MaxVersion: version,
					Certificates: certs, ClientSessionCache: tls.NewLRUClientSessionCache(8),
				}
			}
			nobody, me := client(), client(mine)
			if err := visit(nobody); err != nil {
				t.Fatal(err)
			}
			l := f.open(demands(mine))
			if err := visit(nobody); err == nil {
				t.Error("a ticket from the time when nobody needed a certificate is still good")
			}
			if err := visit(me); err != nil {
				t.Errorf("with the right certificate: %v", err)
			}
			stricter := f.open(demands(other))
			end(l)
			if err := visit(me); err == nil {
				t.Error("a ticket for a certificate that is trusted no more is still good")
			}
			end(stricter)
		})
	}
}

func TestServer_handshakeSeesTheConnection(t *testing.T) {
	cert := selfsigned.New("test", "test").Certificate
	conns := make(chan *Conn, 1)
	f := start(t, "ssl", Generation{Handler: says("x"), TLS: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		conns <- ConnFrom(hello.Context())
		return &tls.Config{Certificates: []tls.Certificate{cert}}, nil
	}})
	f.wantBody(f.client(), "x")
	if c := <-conns; c == nil || c.Bind() != f.cfg.Bind {
		t.Errorf("ConnFrom in the handshake = %v", c)
	}
}

func TestServer_plainRequestOnTLSPort(t *testing.T) {
	f := start(t, "ssl", Generation{Handler: says("x")})
	c := f.dial()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("got %v, %v; want 400", resp, err)
	}
}
