package http1

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
)

// A clientConn is a connection to a server. It serves one request at a time.
type clientConn struct {
	transport *Transport
	key       Key
	rwc       net.Conn
	inbox

	idleSince time.Time
	requests  int

	begun       bool      // the response to the present request has begun
	begunAt     time.Time // the last one
	wary        bool      // the last response had no body, but some servers send one
	interrupted atomic.Bool
	sending     chan struct{} // closed when a streamed body has been sent; nil: there is none
	sent        error         // why it was not; read after sending is closed
}

func newClientConn(t *Transport, key Key, nc net.Conn) *clientConn {
	limit := headLimit(t.MaxHeaderBytes)
	return &clientConn{transport: t, key: key, rwc: nc,
		inbox: inbox{conn: nc, sock: socketOf(nc), max: max(limit, 2*maxOverhead)}}
}

// Interrupt implements Interrupter.
func (c *clientConn) Interrupt() {
	c.interrupted.Store(true)
	_ = c.rwc.SetDeadline(longAgo)
}

// close ends the connection in the middle of a call.
func (c *clientConn) close(call Call) {
	call.Detach()
	c.rwc.Close()
	if c.sending == nil {
		c.discardBuffer()
	}
}

func (c *clientConn) discardBuffer() {
	if c.buf != nil {
		freeBuffer(c.buf)
		c.buf = nil
	}
}

// roundTrip sends the request and reads the head of the response.
func (c *clientConn) roundTrip(r *http.Request, fields Fields, call Call) (*http.Response, error) {
	c.begun, c.sending = false, nil
	c.requests++
	if err := c.send(r, fields, call); err != nil {
		// The server may have answered and closed, before it had it all.
		if c.interrupted.Load() || !c.hasAnswer() {
			return nil, err
		}
	}
	runtime.Gosched() // the server needs a moment; see conn.await
	for informed := 0; ; {
		x := call.Reply()
		if err := c.readHead(call, x); err != nil {
			return nil, c.cause(err)
		}
		err := c.parse(r, x)
		if err != nil {
			return nil, err
		}
		resp, body := &x.Response, &x.body
		if resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
			if informed++; informed > maxInformed {
				return nil, errors.New("informational responses without end")
			}
			call.Inform(resp.StatusCode, x.Head.Fields.Header())
			x.KeepTexts()
			continue
		}
		if informed > 0 {
			c.begunAt = call.Answers()
		}
		body.call = call
		c.wary = r.Method == http.MethodHead || !bodyAllowed(resp.StatusCode)
		if resp.StatusCode == http.StatusSwitchingProtocols {
			resp.Body = &tunnel{c, call}
		} else if body.reader.err == io.EOF {
			resp.Body = http.NoBody
			body.finish()
		}
		return resp, nil
	}
}

// maxInformed is how many informational responses may come before the response.
const maxInformed = 100

// hasAnswer reports whether there is something to read after a write has
// failed.
func (c *clientConn) hasAnswer() bool {
	_ = c.rwc.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	err := c.fill()
	_ = c.rwc.SetReadDeadline(time.Time{})
	return err == nil
}

// cause is the error of a body that could not be sent, if that is why nothing
// can be read.
func (c *clientConn) cause(err error) error {
	if c.sending != nil {
		select {
		case <-c.sending:
			if c.sent != nil {
				return c.sent
			}
		default:
		}
	}
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// send writes the request: the head with a body that is at hand in one piece;
// any other body on a goroutine of its own, as the server may answer before it
// has all of it.
func (c *clientConn) send(r *http.Request, fields Fields, call Call) error {
	if !token(r.Method) || !targetBytes(r.RequestURI) || !fieldValue(r.Host) {
		return errors.New("the request has a method, a target or a host that is none")
	}
	space := outBuffers.Get().(*[]byte)
	defer outBuffers.Put(space)
	out := append(append((*space)[:0], r.Method...), ' ')
	out = append(append(out, r.RequestURI...), " HTTP/1.1\r\nHost: "...)
	out = append(append(out, r.Host...), "\r\n"...)
	out = appendHeader(out, r.Header, requestFraming)
	for i := range fields {
		if f := &fields[i]; !requestFraming(f.Name) {
			out = appendClean(out, f.Name, f.Value)
		}
	}

	chunked := false
	switch {
	case r.Body != nil && r.ContentLength < 0:
		chunked = true
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
		if len(r.Trailer) > 0 {
			out = append(out, "Trailer: "...)
			first := true
			for name := range r.Trailer {
				if !first {
					out = append(out, ", "...)
				}
				first = false
				out = append(out, name...)
			}
			out = append(out, "\r\n"...)
		}
	case r.Body != nil && r.ContentLength > 0, r.Method == "POST", r.Method == "PUT", r.Method == "PATCH":
		out = appendLength(out, max(0, r.ContentLength))
	}
	out = append(out, "\r\n"...)
	if r.Body == nil {
		return c.write(out, call)
	}
	if r.GetBody != nil && !chunked && r.ContentLength <= maxCopy {
		if at := len(out); cap(out) >= at+int(r.ContentLength) {
			out = out[:at+int(r.ContentLength)]
			if _, err := io.ReadFull(r.Body, out[at:]); err != nil {
				return err
			}
			return c.write(out, call)
		}
	}
	if _, err := c.rwc.Write(out); err != nil {
		call.Wrote()
		return err
	}
	done := make(chan struct{})
	c.sending, c.sent = done, nil
	go func() {
		defer close(done)
		defer call.Wrote()
		readErr, writeErr := c.stream(r, chunked)
		if readErr != nil {
			c.sent = readErr
			_ = c.rwc.SetDeadline(longAgo) // nothing will come of it
		} else if writeErr != nil {
			c.sent = writeErr // the server may have answered all the same
		}
	}()
	return nil
}

// requestFraming are the fields that the transport writes itself.
func requestFraming(name string) bool {
	switch name {
	case "Host", "Content-Length", "Transfer-Encoding", "Trailer":
		return true
	}
	return false
}

func (c *clientConn) write(out []byte, call Call) error {
	_, err := c.inbox.write(out)
	call.Wrote()
	return err
}

// stream sends a body.
func (c *clientConn) stream(r *http.Request, chunked bool) (readErr, writeErr error) {
	space := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(space)
	const room = 16 // for the size of a chunk, in front of it
	buf := *space
	left := r.ContentLength
	for chunked || left > 0 {
		data := buf[room : len(buf)-2]
		if !chunked && left < int64(len(data)) {
			data = data[:left]
		}
		n, err := r.Body.Read(data)
		if n > 0 {
			out := data[:n]
			if chunked {
				head := append(appendHex(buf[:0:room], int64(n)), "\r\n"...)
				start := room - len(head)
				copy(buf[start:room], head)
				end := room + n
				buf[end], buf[end+1] = '\r', '\n'
				out = buf[start : end+2]
			}
			if _, err := c.rwc.Write(out); err != nil {
				return nil, err
			}
			left -= int64(n)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err, nil
		}
	}
	if !chunked {
		if left > 0 {
			return io.ErrUnexpectedEOF, nil
		}
		return nil, nil
	}
	out := append(buf[:0], "0\r\n"...)
	out = appendHeader(out, r.Trailer, requestFraming)
	_, err := c.rwc.Write(append(out, "\r\n"...))
	return nil, err
}

// readHead reads the head of a response, as one text.
func (c *clientConn) readHead(call Call, x *Reply) error {
	limit := headLimit(c.transport.MaxHeaderBytes)
	for from := 0; ; {
		data := c.buffered()
		if len(data) > 0 && !c.begun {
			c.begun, c.begunAt = true, call.Answers()
		}
		if end := headEnd(data, from); end >= 0 && end <= limit {
			x.text.set(data[:end])
			c.take(end)
			return nil
		}
		if len(data) >= limit {
			return errHeadTooLarge
		}
		if err := hopeless(data, from); err != nil {
			return err
		}
		from = len(data)
		if err := c.fill(); err != nil {
			return err
		}
	}
}

// A Reply is a response with its body, in one piece, whose memory can be used for
// one response after the other.
type Reply struct {
	http.Response
	Head Head
	body responseBody
	text text
}

// KeepTexts says that texts of the last response are in use elsewhere, and their
// memory is not to be used again with that of the Reply.
func (x *Reply) KeepTexts() { x.text = nil }

// Recycle says that nobody will touch the last response; with texts, also that
// nobody has kept a text that was in it. To use the Reply again says the same, only
// later than under the race detector, which makes mistakes show.
func (x *Reply) Recycle(texts bool) {
	if !texts {
		x.KeepTexts()
	}
	x.text.spoil()
	x.Head.spoil()
}

// parse makes a response of the head in its text.
func (c *clientConn) parse(r *http.Request, x *Reply) error {
	line, fields, _ := strings.Cut(x.text.String(), "\r\n")
	if len(line) < len("HTTP/1.1 200") || line[:len("HTTP/1.")] != "HTTP/1." || line[8] != ' ' || line[7] != '0' && line[7] != '1' {
		return fmt.Errorf("malformed status line %q", line)
	}
	status, ok := number(line[9:12])
	if !ok || status < 100 || len(line) > 12 && line[12] != ' ' || !fieldValue(line[9:]) {
		return fmt.Errorf("malformed status line %q", line)
	}
	if err := x.Head.parse(fields); err != nil {
		return fmt.Errorf("malformed response: %w", err)
	}
	minor := int(line[7] - '0')
	frame := x.Head.outline()
	length, err := frame.framing(minor)
	if err != nil {
		return fmt.Errorf("malformed response: %w", err)
	}
	x.Response = http.Response{
		Status: line[9:], StatusCode: int(status), Proto: line[:8], ProtoMajor: 1, ProtoMinor: minor,
		Request: r, Close: !frame.persists(minor),
	}
	x.body = responseBody{conn: c, reply: x}
	x.ContentLength = length
	switch {
	case !bodyAllowed(int(status)):
		x.ContentLength, length = 0, 0
	case r.Method == http.MethodHead:
		x.ContentLength, length = max(-1, length), 0
	case length == lengthChunked:
		x.ContentLength = -1
		x.TransferEncoding = chunkedOnly
		if x.Trailer, err = x.Head.trailerNames(); err != nil {
			return fmt.Errorf("malformed response: %w", err)
		}
		x.Head.Fields = x.Head.Without("Trailer")
	case length == lengthUnsaid:
		x.Close = true
	}
	if frame.codings > 0 {
		x.Head.Fields = x.Head.Without("Transfer-Encoding")
	}
	var trailer func(http.Header) error
	if length == lengthChunked {
		trailer = x.body.trailer
	}
	x.body.reader = newBody(c, length, trailer)
	x.Body = &x.body
	return nil
}

// open reports whether an idle connection can still be used. A server that has
// sent something without being asked cannot be trusted.
func (c *clientConn) open() bool {
	sock := c.sock
	if sock == nil {
		if t, ok := c.rwc.(interface{ NetConn() net.Conn }); ok {
			sock = socketOf(t.NetConn())
		}
	}
	return sock == nil || sock.quiet()
}
