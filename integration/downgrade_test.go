package integration

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestSmuggling_downgrade sends requests over HTTP/2 that turn into something
// else when they are written down as HTTP/1.1. HTTP/2 has lengths and no line
// ends, so whatever would need to be escaped is to be refused: RFC 9113, 8.2
// and 8.3.
func TestSmuggling_downgrade(t *testing.T) {
	t.Parallel()
	p := newHome(t, usual).start()
	upstream := newRecorder(t)
	p.admin("POST", "/services", `{"name":"a","url":"http://`+upstream.addr+`"}`, 201)
	p.admin("POST", "/services/a/routes", `{"paths":["/"],"strip_path":false,"preserve_host":true}`, 201)

	// a request in its usual shape; a case replaces fields or adds to them
	usually := [][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", "a.test"}, {":path", "/a"}}
	for n, tt := range []struct {
		name   string
		fields [][2]string // of the same name as a usual one: instead of it; "-" removes
		body   string
		saw    string // what the upstream saw, "" for nothing
		also   string // or this
	}{
		{name: "plain", body: "hello", saw: "POST /a 5"},
		{name: "with its length", fields: [][2]string{{"content-length", "5"}}, body: "hello", saw: "POST /a 5"},
		{name: "a length that is too small", fields: [][2]string{{"content-length", "1"}}, body: "helloGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"},
		{name: "a length that is too large", fields: [][2]string{{"content-length", "50"}}, body: "hello"},
		// the request is whole before its body turns out to be too much
		{name: "a length of zero with a body", fields: [][2]string{{"content-length", "0"}}, body: "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", saw: "POST /a 0", also: "nothing"},
		{name: "two lengths", fields: [][2]string{{"content-length", "5"}, {"content-length", "0"}}, body: "hello"},
		{name: "a length with a sign", fields: [][2]string{{"content-length", "+5"}}, body: "hello"},
		{name: "transfer-encoding", fields: [][2]string{{"transfer-encoding", "chunked"}}, body: "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"},
		{name: "connection", fields: [][2]string{{"connection", "close"}}},
		{name: "upgrade", fields: [][2]string{{"upgrade", "websocket"}}},
		{name: "te other than trailers", fields: [][2]string{{"te", "gzip"}}},
		{name: "line ends in a value", fields: [][2]string{{"x", "y\r\ntransfer-encoding: chunked"}}, body: "0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"},
		{name: "LF in a value", fields: [][2]string{{"x", "y\nz: 1"}}},
		{name: "CR in a value", fields: [][2]string{{"x", "y\rz: 1"}}},
		{name: "NUL in a value", fields: [][2]string{{"x", "y\x00z"}}},
		{name: "line ends in a name", fields: [][2]string{{"x: y\r\nz", "1"}}},
		{name: "colon in a name", fields: [][2]string{{"transfer-encoding: chunked\r\nx", "1"}}},
		{name: "blank in a name", fields: [][2]string{{"transfer-encoding ", "chunked"}}},
		{name: "upper case in a name", fields: [][2]string{{"Transfer-Encoding", "chunked"}}},
		{name: "empty name", fields: [][2]string{{"", "chunked"}}},
		{name: "line ends in the path", fields: [][2]string{{":path", "/a HTTP/1.1\r\nHost: a\r\n\r\nGET /smuggled"}}},
		{name: "blank in the path", fields: [][2]string{{":path", "/a HTTP/1.1"}}},
		{name: "control byte in the path", fields: [][2]string{{":path", "/a\x01"}}},
		{name: "path without a slash", fields: [][2]string{{":path", "a"}}},
		{name: "path with an authority", fields: [][2]string{{":path", "http://b.test/a"}}, saw: "POST /a 0", also: "nothing"},
		{name: "empty path", fields: [][2]string{{":path", ""}}},
		{name: "no path", fields: [][2]string{{":path", "-"}}},
		{name: "two paths", fields: [][2]string{{":path", "/a"}, {":path", "/b"}}},
		{name: "asterisk for POST", fields: [][2]string{{":path", "*"}}},
		{name: "line ends in the method", fields: [][2]string{{":method", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET"}}},
		{name: "blank in the method", fields: [][2]string{{":method", "GET /smuggled"}}},
		{name: "no method", fields: [][2]string{{":method", "-"}}},
		{name: "line ends in the authority", fields: [][2]string{{":authority", "a.test\r\nX: y"}}},
		{name: "path in the authority", fields: [][2]string{{":authority", "a.test/b"}}},
		{name: "user in the authority", fields: [][2]string{{":authority", "b.test@a.test"}}},
		{name: "host beside another authority", fields: [][2]string{{"host", "b.test"}}, saw: "POST /a 0", also: "nothing"},
		{name: "line ends in the scheme", fields: [][2]string{{":scheme", "https://a\r\nX: y"}}, saw: "POST /a 0", also: "nothing"},
		{name: "an unknown pseudo header", fields: [][2]string{{":smuggled", "1"}}},
		{name: "pseudo headers of answers", fields: [][2]string{{":status", "200"}}},
		{name: "CONNECT", fields: [][2]string{{":method", "CONNECT"}, {":scheme", "-"}, {":path", "-"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// By this the upstream tells what comes late: of a request that the
			// client took back, the next case hears, perhaps.
			number := fmt.Sprint(n)
			fields := append(slices.Clone(usually), [2]string{"x-case", number})
			for _, field := range tt.fields {
				i := slices.IndexFunc(fields, func(f [2]string) bool { return f[0] == field[0] })
				switch {
				case i >= 0 && field[1] == "-":
					fields = slices.Delete(fields, i, i+1)
				case i >= 0 && i < len(usually) && fields[i] == usually[i] && fields[i] != field:
					fields[i] = field
				case strings.HasPrefix(field[0], ":"):
					fields = slices.Insert(fields, 0, field)
				default:
					fields = append(fields, field)
				}
			}
			status := sendHTTP2(t, p.addr("PROXY_SSL"), fields, tt.body)
			for range 2 {
				if a := p.get("/next", 200); a.body != "GET /next 0" {
					t.Errorf("the next client asked for /next and got %q", a.body)
				}
			}
			requests, complaints := upstream.take()
			for _, complaint := range complaints {
				t.Errorf("the upstream complains: %s", complaint)
			}
			var saw []string
			for _, m := range requests {
				if of := m.get("X-Case"); m.start != "GET /next HTTP/1.1" && (of == nil || of[0] == number) {
					saw = append(saw, seen(m))
					if host := m.get("Host"); host[0] != "a.test" {
						t.Errorf("the upstream was asked for the host %q", host)
					}
				}
			}
			got := strings.Join(saw, ", ")
			if got != tt.saw && (tt.also == "" || got != strings.TrimPrefix(tt.also, "nothing")) {
				t.Errorf("the upstream saw %q, want %q", got, tt.saw)
			}
			if status == "200" && len(saw) == 0 || status != "200" && len(saw) > 0 && tt.also == "" {
				t.Errorf("the client got %s, the upstream saw %q", status, saw)
			}
		})
	}
}

// sendHTTP2 sends one request on a connection of its own, whatever its fields,
// and answers its status, or how the stream or the connection ended.
func sendHTTP2(t *testing.T, addr string, fields [][2]string, body string) string {
	t.Helper()
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(patience))
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	if proto := conn.ConnectionState().NegotiatedProtocol; proto != "h2" {
		t.Fatalf("the protocol is %q", proto)
	}

	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range fields {
		if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	framer.WriteSettings()
	framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: body == ""})
	if body != "" {
		framer.WriteData(1, true, []byte(body))
	}
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			if !closed(err) {
				t.Errorf("neither an answer nor an end: %v", err)
			}
			if errors.Is(err, http2.ErrFrameTooLarge) {
				t.Error(err)
			}
			return "the end of the connection"
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			return f.PseudoValue("status")
		case *http2.RSTStreamFrame:
			return fmt.Sprintf("a reset: %s", f.ErrCode)
		case *http2.GoAwayFrame:
			return fmt.Sprintf("a farewell: %s", f.ErrCode)
		}
	}
}
