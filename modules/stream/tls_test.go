package stream

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/relay"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/selfsigned"
)

// serveTLS runs a server that speaks TLS.
func serveTLS(t testing.TB, config *tls.Config, handle func(net.Conn)) netip.AddrPort {
	t.Helper()
	return serveTCP(t, func(c net.Conn) {
		s := tls.Server(c, config)
		if s.Handshake() == nil {
			handle(s)
			s.Close()
		}
	})
}

func (g *gatewayTest) dialTLS(i int, config *tls.Config) *tls.Conn {
	g.t.Helper()
	c := tls.Client(g.dialTo(i), config)
	if err := c.Handshake(); err != nil {
		g.t.Fatalf("handshake for %q: %v", config.ServerName, err)
	}
	return c
}

// TestTLS_sideBySideOnOneListener is termination and passthrough by server name.
func TestTLS_sideBySideOnOneListener(t *testing.T) {
	g := start(t, nil)
	ours, theirs := selfsigned.New("ended.example.com", "ended.example.com"), selfsigned.New("passed.example.com", "passed.example.com", "x.wild.example.org")
	g.insert("certificates", schema.Object{"cert": ours.Cert, "key": ours.Key, "snis": []any{"ended.example.com"}})
	clear, sealed := serveTCP(t, echo("clear")), serveTLS(t, &tls.Config{Certificates: []tls.Certificate{theirs.Certificate}}, echo("sealed"))
	g.route(service("tcp", clear), schema.Object{"name": "ended", "protocols": []any{"tls"}, "snis": []any{"ended.example.com"}})
	g.route(service("tcp", sealed), schema.Object{"name": "passed", "protocols": []any{"tls_passthrough"}, "snis": []any{"passed.example.com", "*.wild.example.org"}})

	for _, tt := range []struct {
		name   string
		config *tls.Config
		want   string
	}{
		{"ended", &tls.Config{ServerName: "ended.example.com", RootCAs: ours.Pool}, "clear:hello"},
		{"ended, tls 1.2", &tls.Config{ServerName: "ended.example.com", RootCAs: ours.Pool, MaxVersion: tls.VersionTLS12}, "clear:hello"},
		{"passed", &tls.Config{ServerName: "passed.example.com", RootCAs: theirs.Pool}, "sealed:hello"},
		{"passed, wildcard", &tls.Config{ServerName: "x.wild.example.org", RootCAs: theirs.Pool}, "sealed:hello"},
		{"passed, post-quantum", &tls.Config{ServerName: "passed.example.com", RootCAs: theirs.Pool,
			CurvePreferences: []tls.CurveID{tls.X25519MLKEM768}, NextProtos: []string{strings.Repeat("x", 250), strings.Repeat("y", 250)}}, "sealed:hello"},
	} {
		if got := ask(t, g.dialTLS(secure, tt.config), "hello"); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestTLS_slowHello sends a hello in many segments.
func TestTLS_slowHello(t *testing.T) {
	g := start(t, nil)
	theirs := selfsigned.New("passed.example.com", "passed.example.com")
	sealed := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{theirs.Certificate}}, echo("sealed"))
	g.route(service("tcp", sealed), schema.Object{"protocols": []any{"tls_passthrough"}, "snis": []any{"passed.example.com"}})
	c := tls.Client(slow{g.dialTo(secure)}, &tls.Config{ServerName: "passed.example.com", RootCAs: theirs.Pool})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
}

// slow writes in small segments.
type slow struct{ *net.TCPConn }

func (s slow) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		var k int
		k, err = s.TCPConn.Write(b[:min(100, len(b))])
		n, b = n+k, b[k:]
		time.Sleep(time.Millisecond)
	}
	return n, err
}

func TestTLS_toTheService(t *testing.T) {
	g := start(t, nil)
	server, client, other := selfsigned.New("db.internal", "db.internal"), selfsigned.New("gateway", "gateway"), selfsigned.New("db.internal", "db.internal")
	ca := g.insert("ca_certificates", schema.Object{"cert": server.Cert})
	otherCA := g.insert("ca_certificates", schema.Object{"cert": other.Cert})
	cert := g.insert("certificates", schema.Object{"cert": client.Cert, "key": client.Key})
	addr := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{server.Certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: client.Pool},
		func(c net.Conn) { fmt.Fprint(c, c.(*tls.Conn).ConnectionState().ServerName) })
	g.insert("upstreams", schema.Object{"name": "db", "host_header": "db.internal"})
	up, _ := g.node.View().Image.ByKey("upstreams", "name", "db")
	g.insert("targets", schema.Object{"upstream": schema.Object{"id": up.ID.String()}, "target": addr.String()})
	tlsService := func(ca string) schema.Object {
		return schema.Object{"protocol": "tls", "host": "db", "tls_verify": true, "ca_certificates": []any{ca},
			"client_certificate": schema.Object{"id": cert}, "retries": int64(0)}
	}
	id := g.route(tlsService(ca), schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
	if b, err := io.ReadAll(g.dialTo(plain)); string(b) != "db.internal" {
		t.Errorf("got %q, %v; want the server name", b, err)
	}
	g.delete("routes", id)
	g.route(tlsService(otherCA), schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
	if b, _ := io.ReadAll(g.dialTo(plain)); len(b) > 0 {
		t.Errorf("a server that is not to be trusted was believed: %q", b)
	}
	if line := g.awaitLog("service could not be reached").ContextMap(); !strings.Contains(toString(line["error"]), "certificate signed by unknown authority") {
		t.Errorf("logged %v", line)
	}
}

func TestTLS_alertsTellTheClient(t *testing.T) {
	g := start(t, nil)
	ours := selfsigned.New("a.example.com", "a.example.com")
	g.insert("certificates", schema.Object{"cert": ours.Cert, "key": ours.Key, "snis": []any{"dead.example.com"}})
	g.route(service("tcp", deadPort(t), schema.Object{"retries": int64(0)}), schema.Object{"protocols": []any{"tls"}, "snis": []any{"dead.example.com"}})
	g.route(service("tcp", deadPort(t), schema.Object{"retries": int64(0)}), schema.Object{"protocols": []any{"tls_passthrough"}, "snis": []any{"gone.example.com"}})
	g.route(nil, schema.Object{"protocols": []any{"tls"}, "snis": []any{"nowhere.example.com"}})
	for name, want := range map[string]string{
		"unknown.example.com": "unrecognized name",
		"dead.example.com":    "internal error",
		"gone.example.com":    "internal error",
		"nowhere.example.com": "internal error",
	} {
		err := tls.Client(g.dialTo(secure), &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want the alert %q", name, err, want)
		}
	}
}

// TestTLS_clientsThatSayNothingOfUse is garbage, half a hello and silence: none
// of them holds anything for long.
func TestTLS_clientsThatSayNothingOfUse(t *testing.T) {
	g := start(t, func(a *App) { a.HelloTimeout = caddyDuration(2 * time.Second) })
	for _, tt := range []struct{ name, sent, reason, message string }{
		{"http", "GET / HTTP/1.1\r\n\r\n", "client_hello", "client sent no ClientHello"},
		{"garbage", "\x16\x03\x01\x02\x00\x01\xff\xff\xff", "client_hello", "client sent no ClientHello in time"},
		{"silence", "", "client_hello", "client sent no ClientHello in time"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g.logs.TakeAll()
			c := g.dialTo(secure)
			io.WriteString(c, tt.sent)
			begin := time.Now()
			if b, err := io.ReadAll(c); len(b) > 0 || err != nil && !relay.IsReset(err) {
				t.Errorf("got %q, %v", b, err)
			}
			if took := time.Since(begin); took > patience/2 {
				t.Errorf("it took %v", took)
			}
			if line := g.awaitLog("handled connection").ContextMap(); line["reason"] != tt.reason || line["status"] != int64(400) {
				t.Errorf("logged %v", line)
			}
			g.awaitLog(tt.message)
		})
	}
	g.awaitQuiet()
}

func TestTLS_handshakeFailureIsCounted(t *testing.T) {
	g := start(t, nil)
	ours := selfsigned.New("a.example.com", "a.example.com")
	g.insert("certificates", schema.Object{"cert": ours.Cert, "key": ours.Key, "snis": []any{"a.example.com"}})
	closedConn := make(chan error, 1)
	server := serveTCP(t, func(c net.Conn) { _, err := c.Read(make([]byte, 1)); closedConn <- err })
	g.route(service("tcp", server), schema.Object{"name": "a", "protocols": []any{"tls"}, "snis": []any{"a.example.com"}})
	err := tls.Client(g.dialTo(secure), &tls.Config{ServerName: "a.example.com"}).Handshake() // does not trust it
	var unknown *tls.CertificateVerificationError
	if !errors.As(err, &unknown) {
		t.Fatalf("got %v", err)
	}
	if line := g.awaitLog("handled connection").ContextMap(); line["reason"] != "handshake" || line["route"] != "a" {
		t.Errorf("logged %v", line)
	}
	if err := <-closedConn; err != io.EOF {
		t.Errorf("the service's connection ended with %v", err)
	}
}

// TestTLS_halfClose is a client that has said all and still listens.
func TestTLS_halfClose(t *testing.T) {
	g := start(t, nil)
	ours := selfsigned.New("a.example.com", "a.example.com")
	g.insert("certificates", schema.Object{"cert": ours.Cert, "key": ours.Key, "snis": []any{"a.example.com"}})
	server := serveTCP(t, func(c net.Conn) {
		b, _ := io.ReadAll(c)
		fmt.Fprintf(c, "%d bytes", len(b))
	})
	g.route(service("tcp", server), schema.Object{"protocols": []any{"tls"}, "snis": []any{"a.example.com"}})
	c := g.dialTLS(secure, &tls.Config{ServerName: "a.example.com", RootCAs: ours.Pool})
	if got := ask(t, c, strings.Repeat("x", 100000)); got != "100000 bytes" {
		t.Errorf("got %q", got)
	}
}

func TestProxyProtocol_inAndOut(t *testing.T) {
	for _, tt := range []struct{ version, want string }{
		{"v1", "PROXY TCP4 192.0.2.7 192.0.2.8 1000 5432\r\nhello"},
		{"v2", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc0\x00\x02\x08\x03\xe8\x15\x38hello"},
	} {
		t.Run(tt.version, func(t *testing.T) {
			g := start(t, nil)
			server := serveTCP(t, echo(""))
			g.route(service("tcp", server, schema.Object{"proxy_protocol": tt.version}),
				schema.Object{"protocols": []any{"tcp"}, "sources": []any{schema.Object{"ip": "192.0.2.0/24"}}})
			if got := ask(t, g.dialTo(proxiedPlain), "PROXY TCP4 192.0.2.7 192.0.2.8 1000 5432\r\nhello"); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if line := g.awaitLog("handled connection").ContextMap(); line["remote"] != "192.0.2.7:1000" || line["local"] != "192.0.2.8:5432" || line["peer"] == nil {
				t.Errorf("logged %v", line)
			}
		})
	}
}

func TestProxyProtocol_beforeTLS(t *testing.T) {
	g := start(t, nil)
	theirs := selfsigned.New("passed.example.com", "passed.example.com")
	sealed := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{theirs.Certificate}}, echo("sealed"))
	g.route(service("tcp", sealed), schema.Object{"protocols": []any{"tls_passthrough"}, "snis": []any{"passed.example.com"}, "sources": []any{schema.Object{"ip": "2001:db8::7"}}})
	c := g.dialTo(proxiedSecure)
	io.WriteString(c, "PROXY TCP6 2001:db8::7 2001:db8::8 1000 443\r\n")
	s := tls.Client(c, &tls.Config{ServerName: "passed.example.com", RootCAs: theirs.Pool})
	if got := ask(t, s, "hello"); got != "sealed:hello" {
		t.Errorf("got %q", got)
	}
}

func TestProxyProtocol_whoMayNotSpeakForOthers(t *testing.T) {
	g := start(t, nil, `{"store":{"driver":"memory"},"trusted_ips":["10.0.0.0/8"]}`)
	g.route(service("tcp", serveTCP(t, echo("believed"))), schema.Object{"protocols": []any{"tcp"}, "sources": []any{schema.Object{"ip": "192.0.2.7"}}})
	g.route(service("tcp", serveTCP(t, echo("not believed"))), schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(proxiedPlain)})
	if got := ask(t, g.dialTo(proxiedPlain), "PROXY TCP4 192.0.2.7 192.0.2.8 1000 5432\r\n"); got != "not believed:" {
		t.Errorf("got %q", got)
	}
	c := g.dialTo(proxiedPlain)
	io.WriteString(c, "no header\r\n")
	if b, err := io.ReadAll(c); len(b) > 0 || err != nil && !relay.IsReset(err) {
		t.Errorf("without a header: got %q, %v", b, err)
	}
	g.awaitLog("client sent no PROXY protocol header")
}

// FuzzProxyHeader: what was read behind a header is given back, byte by byte.
func FuzzProxyHeader(f *testing.F) {
	from, to := netip.MustParseAddrPort("192.0.2.7:1000"), netip.MustParseAddrPort("192.0.2.8:5432")
	for _, version := range []byte{1, 2} {
		b, err := proxyHeader(version, from, to)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(b, "more"...))
	}
	f.Add([]byte("PROXY UNKNOWN\r\nmore"))
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00more"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		p, rest, err := readProxyHeader(strings.NewReader(string(sent)))
		if err != nil {
			return
		}
		if !strings.HasSuffix(string(sent), string(rest)) || len(sent) > 0 && len(sent) < 4096 && len(rest) == len(sent) {
			t.Fatalf("gave back %q of %q", rest, sent)
		}
		if p.source.IsValid() && p.destination.IsValid() {
			for _, version := range []byte{1, 2} {
				again, err := proxyHeader(version, p.source, p.destination)
				if err != nil {
					t.Fatalf("version %d from %v to %v: %v", version, p.source, p.destination, err)
				}
				q, rest, err := readProxyHeader(strings.NewReader(string(again)))
				if err != nil || q != p || len(rest) > 0 {
					t.Fatalf("version %d: %v became %v, %v, and %q is left", version, p, q, err, rest)
				}
			}
		}
	})
}
