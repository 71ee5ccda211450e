package http1

import (
	"bytes"
	"errors"
	"maps"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// A parseError is a message that is not HTTP as RFC 9112 has it. Its status is
// what a server answers to one.
type parseError struct {
	status int
	reason string
}

func (e *parseError) Error() string { return e.reason }

func bad(reason string) *parseError { return &parseError{http.StatusBadRequest, reason} }

var errHeadTooLarge = &parseError{http.StatusRequestHeaderFieldsTooLarge, "the head is too large"}

// headEnd is where the head at the beginning of b ends, behind its empty line;
// -1 if that has not come yet. Bytes before from have been searched already.
func headEnd(b []byte, from int) int {
	from = max(0, from-3)
	i := bytes.Index(b[from:], crlfcrlf)
	if i < 0 {
		return -1
	}
	return from + i + len(crlfcrlf)
}

var crlfcrlf = []byte("\r\n\r\n")

// token reports whether s is a token (RFC 9110, section 5.6.2).
func token(s string) bool {
	for i := range len(s) {
		if !tokenBytes[s[i]] {
			return false
		}
	}
	return s != ""
}

var tokenBytes = func() (t [256]bool) {
	for i := range t {
		t[i] = i < 0x80 && httpguts.IsTokenRune(rune(i))
	}
	return t
}()

// fieldValue reports whether s has no control characters but tabs.
func fieldValue(s string) bool {
	for i := range len(s) {
		if controlBytes[s[i]] {
			return false
		}
	}
	return true
}

// trim cuts off the white space that may surround a field value: blanks and
// tabs, and no other.
func trim(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// What a message says of the length of its body.
const (
	lengthUnsaid  = -1
	lengthChunked = -2
)

// An outline is what the fields of a head say of the message's frame.
type outline struct {
	codings, lengths, hosts, expects int    // how many there are
	coding, length, host, expect     string // one of them
	close, keepAlive                 bool   // what Connection says
}

func (fs Fields) outline() (o outline) {
	for i := range fs {
		f := &fs[i]
		switch f.Name {
		case "Transfer-Encoding":
			o.codings++
			o.coding = f.Value
		case "Content-Length":
			o.lengths++
			o.length = f.Value
		case "Host":
			o.hosts++
			o.host = f.Value
		case "Expect":
			o.expects++
			o.expect = f.Value
		case "Connection":
			o.close = o.close || hasToken(f.Value, "close")
			o.keepAlive = o.keepAlive || hasToken(f.Value, "keep-alive")
		}
	}
	return o
}

// framing reads how long a message's body is (RFC 9112, section 6): a number of
// bytes, lengthChunked or lengthUnsaid. What could be understood in two ways is
// an error, as one of them would be somebody else's.
func (o *outline) framing(minor int) (int64, error) {
	switch {
	case o.codings > 0 && o.lengths > 0:
		return 0, bad("both Transfer-Encoding and Content-Length")
	case o.codings > 0 && minor == 0:
		return 0, bad("Transfer-Encoding in HTTP/1.0")
	case o.codings > 0:
		if o.codings == 1 && strings.EqualFold(o.coding, "chunked") {
			return lengthChunked, nil
		}
		return 0, &parseError{http.StatusNotImplemented, "a transfer coding other than chunked"}
	case o.lengths == 0:
		return lengthUnsaid, nil
	case o.lengths > 1:
		return 0, bad("more than one Content-Length")
	}
	n, ok := number(o.length)
	if !ok {
		return 0, bad("Content-Length is not a number")
	}
	return n, nil
}

// persists reports whether the connection may go on after a message of HTTP/1.minor.
func (o *outline) persists(minor int) bool { return !o.close && (minor == 1 || o.keepAlive) }

// number reads a decimal number without any sign or blank.
func number(s string) (int64, bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

// trailerNames reads the header Trailer: the fields that are announced to come
// behind a chunked body. Those that would change how the message is understood
// are not accepted there (RFC 9110, section 6.5.1).
func (fs Fields) trailerNames() (http.Header, error) {
	if !fs.Has("Trailer") {
		return nil, nil
	}
	names := make(http.Header)
	for _, f := range fs {
		if f.Name != "Trailer" {
			continue
		}
		for name := range strings.SplitSeq(f.Value, ",") {
			name = textproto.CanonicalMIMEHeaderKey(trim(name))
			if name == "" {
				continue
			}
			if err := checkTrailer(name); err != nil {
				return nil, err
			}
			names[name] = nil
		}
	}
	return names, nil
}

// addTrailer adds the fields of a trailer section to those that were announced.
func addTrailer(trailer *http.Header, h http.Header) error {
	for name := range h {
		if err := checkTrailer(name); err != nil {
			return err
		}
	}
	if *trailer == nil && len(h) > 0 {
		*trailer = make(http.Header, len(h))
	}
	maps.Copy(*trailer, h)
	return nil
}

// checkTrailer refuses the name of a field that cannot be one of a trailer.
func checkTrailer(name string) error {
	if !token(name) || !httpguts.ValidTrailerHeader(name) {
		return bad("a trailer field " + strconv.Quote(name) + " that cannot be one")
	}
	return nil
}

// headLimit is how long a head may be if so much is asked for.
func headLimit(bytes int) int {
	if bytes > 0 {
		return bytes
	}
	return DefaultMaxHeaderBytes
}

// hasToken reports whether a comma separated field has the word, in any case.
func hasToken(value, word string) bool {
	if value == word {
		return true
	}
	for item := range strings.SplitSeq(value, ",") {
		if strings.EqualFold(trim(item), word) {
			return true
		}
	}
	return false
}

// anyToken reports whether one of several fields has it.
func anyToken(values []string, word string) bool {
	for _, v := range values {
		if hasToken(v, word) {
			return true
		}
	}
	return false
}

var errUnexpectedEnd = errors.New("the connection ended within a message")
