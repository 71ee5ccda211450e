package stream

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/hello"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/selfsigned"
)

// askTLS does what a client of PostgreSQL does before its handshake, and answers
// what it was told.
func askTLS(t testing.TB, c net.Conn, request []byte) byte {
	t.Helper()
	if _, err := c.Write(request); err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		t.Fatal(err)
	}
	return b[0]
}

// servePostgres is a server that wants to be asked, and echoes inside of TLS; in
// the clear if it is not willing.
func servePostgres(t testing.TB, answer byte, config *tls.Config) func(net.Conn) {
	return func(c net.Conn) {
		b := make([]byte, len(sslRequest))
		if _, err := io.ReadFull(c, b); err != nil || !bytes.Equal(b, sslRequest) {
			return
		}
		c.Write([]byte{answer})
		if s := tls.Server(c, config); answer == willing && s.Handshake() == nil {
			echo("sealed")(s)
			s.Close()
		}
	}
}

func TestPostgres_asksBeforeTLS(t *testing.T) {
	g := start(t, nil)
	theirs := selfsigned.New("passed.example.com", "passed.example.com")
	config := &tls.Config{Certificates: []tls.Certificate{theirs.Certificate}}
	for name, service := range map[string]schema.Object{
		"passed.example.com":  service("tcp", serveTCP(t, servePostgres(t, willing, config))),
		"again.example.com":   service("tls", serveTCP(t, servePostgres(t, willing, config))),
		"clear.example.com":   service("tcp", serveTCP(t, echo("clear"))),
		"refused.example.com": service("tcp", serveTCP(t, servePostgres(t, unwilling, config)), schema.Object{"retries": int64(0)}),
	} {
		protocol := "tls"
		if name == "passed.example.com" || name == "refused.example.com" {
			protocol = "tls_passthrough"
		}
		g.route(service, schema.Object{"protocols": []any{protocol}, "snis": []any{name}})
	}
	for _, tt := range []struct{ name, want string }{
		{"passed.example.com", "sealed:x"},
		{"again.example.com", "sealed:x"},
		{"clear.example.com", "clear:x"},
	} {
		c := g.dialTo(secure)
		if tt.name == "clear.example.com" {
			if got := askTLS(t, c, gssRequest); got != unwilling {
				t.Errorf("GSSAPI: told %q", got)
			}
		}
		if got := askTLS(t, c, sslRequest); got != willing {
			t.Errorf("%s: told %q", tt.name, got)
		}
		s := tls.Client(c, &tls.Config{ServerName: tt.name, InsecureSkipVerify: true})
		if got := ask(t, s, "x"); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	c := g.dialTo(secure)
	askTLS(t, c, sslRequest)
	err := tls.Client(c, &tls.Config{ServerName: "refused.example.com", InsecureSkipVerify: true}).Handshake()
	if err == nil || !strings.Contains(err.Error(), "internal error") {
		t.Errorf("the client learns %v", err)
	}
	if line := g.awaitLog("service could not be reached").ContextMap(); !strings.Contains(line["error"].(string), "does not speak TLS") {
		t.Errorf("logged %v", line)
	}
}

// A script is a client that has said it all, and takes what it is told.
type script struct {
	io.Reader
	told bytes.Buffer
}

func (s *script) Write(b []byte) (int, error) { return s.told.Write(b) }

// FuzzGreet gives back all bytes but the requests, and says what they deserve.
func FuzzGreet(f *testing.F) {
	var record bytes.Buffer
	c := tls.Client(&clientEnd{out: &record}, &tls.Config{ServerName: "a.example.com"})
	_ = c.Handshake()
	for _, before := range [][]byte{nil, sslRequest, gssRequest, slices.Concat(gssRequest, sslRequest), slices.Concat(sslRequest, sslRequest), {0, 0}} {
		f.Add(slices.Concat(before, record.Bytes()), 3)
	}
	f.Fuzz(func(t *testing.T, said []byte, piece int) {
		s := &script{Reader: &pieces{said, max(piece, 1)}}
		h, read, asked, err := greet(s, make([]byte, 0, 64))
		rest, want := said, ""
		for _, request := range [][]byte{gssRequest, sslRequest} {
			if after, ok := bytes.CutPrefix(rest, request); ok {
				rest, want = after, want+map[bool]string{true: "S", false: "N"}[bytes.Equal(request, sslRequest)]
			}
		}
		if strings.HasPrefix(s.told.String(), "NN") { // it went on to ask for the same
			return
		}
		if s.told.String() != want || asked != strings.HasSuffix(want, "S") {
			t.Fatalf("told %q, asked %v; want %q", s.told.String(), asked, want)
		}
		if err != nil && want == "N" {
			return
		}
		if !bytes.HasPrefix(rest, read) {
			t.Fatalf("read %q of %q", read, rest)
		}
		direct, _, wantErr := hello.Peek(bytes.NewReader(rest), nil)
		if want != "N" && (h.ServerName != direct.ServerName || (err == nil) != (wantErr == nil)) {
			t.Fatalf("got %+v, %v; want %+v, %v", h, err, direct, wantErr)
		}
	})
}

// pieces reads a few bytes at a time.
type pieces struct {
	left []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.left[:min(len(p.left), p.size)])
	p.left = p.left[n:]
	return n, nil
}

// A clientEnd takes what a client says and never answers.
type clientEnd struct {
	net.Conn
	out io.Writer
}

func (c *clientEnd) Write(b []byte) (int, error) { return c.out.Write(b) }
func (c *clientEnd) Read([]byte) (int, error)    { return 0, errors.New("nobody is there") }
func (c *clientEnd) Close() error                { return nil }
