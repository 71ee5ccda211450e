package hello

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/patient"
)

// record answers what crypto/tls sends first.
func record(t testing.TB, config *tls.Config) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patient.Limit)
	defer cancel()
	config.InsecureSkipVerify = true
	go func() {
		tls.Client(client, config).HandshakeContext(ctx)
		client.Close()
	}()
	b := make([]byte, MaxSize)
	n, err := server.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

func TestPeek_readsWhatClientsSend(t *testing.T) {
	long := strings.Repeat("protocol-of-some-length", 10)
	for _, tt := range []struct {
		name   string
		config *tls.Config
		min    int // bytes
		want   Hello
	}{
		{"name", &tls.Config{ServerName: "Api.Example.com"}, 0, Hello{ServerName: "api.example.com"}},
		{"no name", &tls.Config{}, 0, Hello{}},
		{"tls 1.2", &tls.Config{ServerName: "a.example", MaxVersion: tls.VersionTLS12}, 0, Hello{ServerName: "a.example"}},
		{"alpn", &tls.Config{ServerName: "a.example", NextProtos: []string{"h2", "http/1.1"}}, 0,
			Hello{ServerName: "a.example", Protocols: []string{"h2", "http/1.1"}}},
		{"post-quantum key share", &tls.Config{ServerName: "a.example", CurvePreferences: []tls.CurveID{tls.X25519MLKEM768}}, 1200,
			Hello{ServerName: "a.example"}},
		{"longer than the buffer", &tls.Config{ServerName: "a.example", NextProtos: slices.Repeat([]string{long}, 30)}, 7000,
			Hello{ServerName: "a.example", Protocols: slices.Repeat([]string{long}, 30)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sent := record(t, tt.config)
			if len(sent) < tt.min {
				t.Fatalf("the hello has %d bytes, want at least %d for the case to be one", len(sent), tt.min)
			}
			for _, how := range []struct {
				name string
				r    io.Reader
			}{
				{"at once, and more behind it", io.MultiReader(bytes.NewReader(slices.Concat(sent, []byte("more"))))},
				{"byte by byte", iotest.OneByteReader(bytes.NewReader(sent))},
				{"in many records", bytes.NewReader(fragment(sent, 7))},
				{"in records of one byte, byte by byte", iotest.OneByteReader(bytes.NewReader(fragment(sent[:min(len(sent), 2000)], 1)))},
			} {
				got, read, err := Peek(how.r, make([]byte, 0, 512))
				if strings.Contains(how.name, "one byte") && len(sent) > 2000 {
					continue
				}
				if err != nil {
					t.Errorf("%s: %v", how.name, err)
				} else if got.ServerName != tt.want.ServerName || !slices.Equal(got.Protocols, tt.want.Protocols) {
					t.Errorf("%s: got %+v, want %+v", how.name, got, tt.want)
				}
				if how.name == "byte by byte" && !bytes.Equal(read, sent) {
					t.Errorf("%s: not all bytes were given back", how.name)
				}
			}
		})
	}
}

// fragment sends the handshake message of a record in records of n bytes.
func fragment(b []byte, n int) []byte {
	var out []byte
	for part := range slices.Chunk(b[recordHeader:], n) {
		out = append(out, b[0], b[1], b[2], byte(len(part)>>8), byte(len(part)))
		out = append(out, part...)
	}
	return out
}

func TestPeek_refuses(t *testing.T) {
	hello := record(t, &tls.Config{ServerName: "a.example"})
	for _, tt := range []struct {
		name string
		sent string
		want error
	}{
		{"nothing", "", io.EOF},
		{"http", "GET / HTTP/1.1\r\n\r\n", ErrNotTLS},
		{"smtp", "EHLO", ErrNotTLS},
		{"zeros", strings.Repeat("\x00", 100), ErrNotTLS},
		{"ssl 2", "\x80\x2e\x01\x00\x02", ErrNotTLS},
		{"half a hello", string(hello[:len(hello)/2]), io.ErrUnexpectedEOF},
		{"an alert", "\x15\x03\x01\x00\x02\x02\x28", ErrNotTLS},
		{"a server hello", "\x16\x03\x03\x00\x04\x02\x00\x00\x00", ErrMalformed},
		{"an empty record", "\x16\x03\x01\x00\x00", ErrMalformed},
		{"a record that is too long", "\x16\x03\x01\xff\xff", ErrMalformed},
		{"a hello of 16 MiB", "\x16\x03\x01\x00\x04\x01\xff\xff\xff", ErrTooLong},
		{"a hello of no bytes", "\x16\x03\x01\x00\x04\x01\x00\x00\x00", ErrMalformed},
		{"many small records", string(fragment(slices.Concat([]byte("\x16\x03\x01\x00\x00\x01\x00\x3f\x00"), make([]byte, MaxSize)), 1)), ErrTooLong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, read, err := Peek(strings.NewReader(tt.sent), nil)
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if !strings.HasPrefix(tt.sent, string(read)) {
				t.Errorf("gave back %q, which was not sent", read)
			}
		})
	}
}

// TestPeek_readsOpenSSL asks a client that is not Go's.
func TestPeek_readsOpenSSL(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not there; apt-get install openssl to run the test")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patient.Limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "openssl", "s_client", "-connect", ln.Addr().String(), "-servername", "db.example.org", "-alpn", "postgresql")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cancel()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patient.Limit))
	h, _, err := Peek(conn, nil)
	if err != nil || h.ServerName != "db.example.org" || !slices.Equal(h.Protocols, []string{"postgresql"}) {
		t.Errorf("got %+v, %v", h, err)
	}
}

// FuzzPeek compares with crypto/tls, which is stricter: what it reads, Peek
// reads in the same way.
func FuzzPeek(f *testing.F) {
	for _, config := range []*tls.Config{
		{ServerName: "a.example"},
		{},
		{ServerName: "a.example", NextProtos: []string{"h2"}, MaxVersion: tls.VersionTLS12},
	} {
		hello := record(f, config)
		f.Add(hello)
		f.Add(fragment(hello, 50))
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		got, read, err := Peek(bytes.NewReader(sent), nil)
		if !bytes.HasPrefix(sent, read) {
			t.Fatalf("gave back bytes that were not sent")
		}
		var want *tls.ClientHelloInfo
		tls.Server(readOnly{bytes.NewReader(sent)}, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			want = h
			return nil, io.EOF
		}}).Handshake()
		if want == nil || len(sent) > MaxSize {
			return
		}
		if err != nil {
			t.Fatalf("crypto/tls reads it, and Peek says %v", err)
		}
		if name := strings.TrimSuffix(strings.ToLower(want.ServerName), "."); got.ServerName != name || !slices.Equal(got.Protocols, want.SupportedProtos) {
			t.Fatalf("got %+v, want %q %q", got, name, want.SupportedProtos)
		}
	})
}

type readOnly struct{ io.Reader }

func (readOnly) Write(b []byte) (int, error)      { return len(b), nil }
func (readOnly) Close() error                     { return nil }
func (readOnly) LocalAddr() net.Addr              { return nil }
func (readOnly) RemoteAddr() net.Addr             { return nil }
func (readOnly) SetDeadline(time.Time) error      { return nil }
func (readOnly) SetReadDeadline(time.Time) error  { return nil }
func (readOnly) SetWriteDeadline(time.Time) error { return nil }

func BenchmarkPeek(b *testing.B) {
	hello := record(b, &tls.Config{ServerName: "api.example.com", NextProtos: []string{"h2"}})
	buf := make([]byte, 4096)
	r := bytes.NewReader(nil)
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(hello)
		if _, _, err := Peek(r, buf); err != nil {
			b.Fatal(err)
		}
	}
}
