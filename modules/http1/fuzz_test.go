package http1

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

// bytesConn is a connection that brings bytes and takes none.
type bytesConn struct {
	net.Conn
	in *bytes.Reader
}

func (c bytesConn) Read(p []byte) (int, error)     { return c.in.Read(p) }
func (c bytesConn) Write(p []byte) (int, error)    { return len(p), nil }
func (bytesConn) Close() error                     { return nil }
func (bytesConn) SetReadDeadline(time.Time) error  { return nil }
func (bytesConn) SetWriteDeadline(time.Time) error { return nil }
func (bytesConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (bytesConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }

// seen is what one reader makes of a request.
type seen struct {
	method, target, proto, host string
	header, trailer             http.Header
	length                      int64
	close                       bool
	url                         string
	body                        string
}

func see(r *http.Request) (s seen, err error) {
	body, err := io.ReadAll(r.Body)
	return seen{r.Method, r.RequestURI, r.Proto, r.Host, r.Header, r.Trailer, r.ContentLength, r.Close, r.URL.String(), string(body)}, err
}

// Whatever this package takes for a request, net/http takes for the same, up to
// the exceptions named here; and so for all that follow on the connection.
func FuzzRequest(f *testing.F) {
	for _, raw := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /a%20b?c=d HTTP/1.1\r\nHost: x:80\r\nA: b\r\nA: c\r\nConnection: close, x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n1;a=b\r\na\r\n0\r\nT: v\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET http://x/y HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n", "CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n",
		"GET //x/../y?? HTTP/1.1\r\nHost: x\r\n\r\n", "GET /\xff# HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 1\r\n\r\n",
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		reference := bufio.NewReader(bytes.NewReader(raw))
		number := 0
		s := &Server{Lists: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			number++
			Expand(w, r)
			ours, ourErr := see(r)
			if number == 1 {
				// net/http does not skip the empty line that may come first.
				if line, _ := reference.Peek(2); string(line) == "\r\n" {
					_, _ = reference.Discard(2)
				}
			} else if line, _ := reference.Peek(2); string(line) == "\r\n" {
				_, _ = reference.Discard(2)
			}
			theirRequest, err := http.ReadRequest(reference)
			if err != nil {
				t.Fatalf("request %d of %q: net/http refuses it: %v", number, raw, err)
			}
			theirs, theirErr := see(theirRequest)
			if (ourErr == nil) != (theirErr == nil) {
				if ourErr != nil {
					return // what is stricter is not wrong; the connection ends here
				}
				t.Fatalf("request %d of %q: body: net/http says %v", number, raw, theirErr)
			}
			if ourErr != nil {
				return
			}
			// net/http adds what a cache would understand (RFC 9111, section 5.4).
			if theirs.header.Get("Pragma") == "no-cache" {
				delete(theirs.header, "Cache-Control")
				delete(ours.header, "Cache-Control")
			}
			if len(theirs.trailer) == 0 {
				theirs.trailer = nil
			}
			if len(ours.trailer) == 0 {
				ours.trailer = nil
			}
			if !reflect.DeepEqual(ours, theirs) {
				t.Fatalf("request %d of %q:\nours   %+v\ntheirs %+v", number, raw, ours, theirs)
			}
		})}
		s.ServeConn(bytesConn{in: bytes.NewReader(raw)})
		s.Close()
	})
}

// pieces brings bytes a few at a time.
type pieces struct {
	data []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.data[:min(p.size, len(p.data))])
	p.data = p.data[n:]
	return n, nil
}

type piecesConn struct {
	bytesConn
	p *pieces
}

func (c piecesConn) Read(b []byte) (int, error) { return c.p.Read(b) }

// However a body is cut into segments, it is the same body, and net/http's.
func FuzzChunked(f *testing.F) {
	f.Add([]byte("3\r\nabc\r\n0\r\n\r\nrest"), 1)
	f.Add([]byte("a;x=y\r\n0123456789\r\n0\r\nA: b\r\n\r\n"), 3)
	f.Add([]byte("1\r\na\n"), 2)
	f.Fuzz(func(t *testing.T, raw []byte, size int) {
		read := func(size int) (string, string, error) {
			in := &inbox{conn: piecesConn{p: &pieces{append([]byte(nil), raw...), size}}, max: 2 * maxOverhead}
			b := newBody(in, lengthChunked, nil)
			body, err := io.ReadAll(&b)
			rest, _ := io.ReadAll(in)
			return string(body), string(rest), err
		}
		body, rest, err := read(1 << 20)
		body2, rest2, err2 := read(max(1, size%64))
		if body != body2 || (err == nil) != (err2 == nil) || err == nil && rest != rest2 {
			t.Fatalf("%q: whole %q %q %v, in pieces %q %q %v", raw, body, rest, err, body2, rest2, err2)
		}
		if err != nil {
			return
		}
		r, refErr := http.ReadRequest(bufio.NewReader(io.MultiReader(
			strings.NewReader("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"), bytes.NewReader(raw))))
		if refErr != nil {
			t.Fatal(refErr)
		}
		want, refErr := io.ReadAll(r.Body)
		if refErr != nil || string(want) != body {
			t.Fatalf("%q: got %q, net/http %q, %v", raw, body, want, refErr)
		}
	})
}
