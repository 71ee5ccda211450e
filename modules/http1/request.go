package http1

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"
)

// An exchange is a request and its answer, in one piece. It is made anew for each
// request, as handlers may keep what they get, unless this one's handler says that
// it does not: see Recycle.
type exchange struct {
	request  *http.Request
	head     Head
	space    [12]Field // for the fields of head, if they are not more
	response response
	ctx      requestContext
	url      url.URL
	body     body
	text     text
}

// exchanges are those that ended with their connections.
var exchanges = sync.Pool{New: func() any {
	x := new(exchange)
	x.head.Fields = x.space[:]
	return x
}}

// free lets another connection use the exchange.
func (x *exchange) free() {
	x.ctx, x.response, x.body = requestContext{}, response{}, body{}
	*x.request = http.Request{}
	exchanges.Put(x)
}

// readRequest makes a request of the head at the beginning of the buffer.
func (c *conn) readRequest(end int) (*exchange, error) {
	x := c.spare.Swap(nil)
	if x == nil {
		x = exchanges.Get().(*exchange)
	}
	x.text.set(c.buffered()[:end])
	c.take(end)
	line, fields, _ := strings.Cut(x.text.String(), "\r\n")
	method, rest, ok1 := strings.Cut(line, " ")
	target, version, ok2 := strings.Cut(rest, " ")
	if !ok1 || !ok2 || !token(method) || !targetBytes(target) {
		return nil, bad("the request line is none")
	}
	minor := 1
	switch version {
	case "HTTP/1.1":
	case "HTTP/1.0":
		minor = 0
	default:
		if strings.HasPrefix(version, "HTTP/") && len(version) == len("HTTP/1.1") {
			return nil, &parseError{http.StatusHTTPVersionNotSupported, "the version is not 1.0 or 1.1"}
		}
		return nil, bad("the request line has no version")
	}
	if err := x.head.parse(fields); err != nil {
		return nil, err
	}
	frame := x.head.outline()
	length, err := frame.framing(minor)
	if err != nil {
		return nil, err
	}
	x.url = url.URL{}
	draft := http.Request{
		Method: method, RequestURI: target,
		Proto: version, ProtoMajor: 1, ProtoMinor: minor,
		RemoteAddr: c.remote, TLS: c.tls,
		URL: &x.url,
	}
	if err := parseTarget(&draft, &frame, minor); err != nil {
		return nil, err
	}
	x.head.Fields = x.head.Without("Host")
	x.ctx = requestContext{conn: c, exchange: x}
	x.response = response{exchange: x, conn: c}

	keep := frame.persists(minor)
	draft.Close = !keep
	x.response.begin(keep)

	switch length {
	case lengthUnsaid, 0:
		draft.Body = http.NoBody
		x.ctx.atEnd.Store(true)
		c.release() // the answer may take long
	default:
		draft.ContentLength = max(-1, length)
		if length == lengthChunked {
			draft.ContentLength = -1
			draft.TransferEncoding = chunkedOnly
			if draft.Trailer, err = x.head.trailerNames(); err != nil {
				return nil, err
			}
			x.head.Fields = x.head.Without("Transfer-Encoding").Without("Trailer")
		}
		x.body.exchange, x.body.conn = x, c
		x.body.reader = newBody(c, length, x.body.trailer)
		draft.Body = &x.body
	}
	if frame.expects > 0 {
		if frame.expects > 1 || !strings.EqualFold(frame.expect, "100-continue") {
			return nil, &parseError{http.StatusExpectationFailed, "an expectation other than 100-continue"}
		}
		x.response.expected = minor == 1 && draft.Body != http.NoBody
		x.response.waiting = x.response.expected
	}
	if !c.server.Lists {
		draft.Header = x.head.Header()
	}
	if x.request == nil {
		x.request = new(http.Request)
	}
	*x.request = *draft.WithContext(&x.ctx)
	return x, nil
}

var chunkedOnly = []string{"chunked"}

// targetBytes reports whether s can stand in a request line.
func targetBytes(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return s != ""
}

// parseTarget reads the request target (RFC 9112, section 3.2) and the Host.
func parseTarget(r *http.Request, frame *outline, minor int) error {
	switch {
	case frame.hosts > 1:
		return bad("more than one Host")
	case frame.hosts == 0 && minor == 1:
		return bad("no Host")
	case frame.hosts == 1:
		if r.Host = frame.host; !httpguts.ValidHostHeader(r.Host) {
			return bad("the Host is none")
		}
	}
	target := r.RequestURI
	if plainTarget(target) {
		path, query, asked := strings.Cut(target, "?")
		r.URL.Path, r.URL.RawQuery, r.URL.ForceQuery = path, query, asked && query == ""
		return nil
	}
	authority := r.Method == http.MethodConnect && target[0] != '/'
	switch {
	case authority:
		target = "http://" + target
	case target == "*" && r.Method != http.MethodOptions:
		return bad("the request target * is for OPTIONS")
	case target[0] != '/' && target != "*" && !strings.Contains(target, "://"):
		return bad("the request target is neither a path nor a URL")
	}
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return bad("the request target is none")
	}
	if authority {
		u.Scheme = ""
	}
	*r.URL = *u
	if u.Host != "" {
		r.Host = u.Host // counts more than the header (RFC 9112, section 3.2.2)
	}
	return nil
}

// plainTarget reports whether a target is a path with nothing to decode, and
// maybe a query.
func plainTarget(s string) bool {
	if s[0] != '/' {
		return false
	}
	for i := range len(s) {
		if s[i] == '?' {
			return true
		}
		if !plainBytes[s[i]] {
			return false
		}
	}
	return true
}

// plainBytes are those that stand in a path as they are, for net/url too.
var plainBytes = func() (t [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/$&+,;=:@") {
		t[c] = true
	}
	return t
}()

var _ io.Reader = (*body)(nil)
