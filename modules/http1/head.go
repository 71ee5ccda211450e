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

// A fieldSet is a header with the memory that it takes, which can be used for one
// head after the other.
type fieldSet struct {
	header http.Header
	values []string
}

// maxSpare is how many fields a header may have had for its memory to be kept:
// to clear more costs more than to make it anew.
const maxSpare = 64

// space is an empty header for n field lines, and space for their values.
func (f *fieldSet) space(n int) (http.Header, []string) {
	if f.header == nil || len(f.values) > maxSpare {
		f.header = make(http.Header, n)
	} else {
		clear(f.header)
	}
	if n > cap(f.values) || n < len(f.values) {
		f.values = make([]string, n)
	}
	f.values = f.values[:n]
	return f.header, f.values
}

// parse reads field lines into the set, as parseFields does.
func (f *fieldSet) parse(text string) (http.Header, error) {
	h, values := f.space(strings.Count(text, "\r\n"))
	return h, parseInto(h, values, text)
}

// parseFields reads the field lines of a head or a trailer section, which ends
// with an empty line, into a header whose names are canonical and whose values
// are parts of the text. It takes what RFC 9112, section 5 allows, and nothing
// else: no line folding, no white space around a name, no bare CR or LF, no
// control characters.
func parseFields(text string) (http.Header, error) { return new(fieldSet).parse(text) }

// parseInto does it with memory that is there. There is a value for each line.
func parseInto(h http.Header, values []string, text string) error {
	for text != "\r\n" {
		line, rest, ok := strings.Cut(text, "\r\n")
		if !ok || line == "" {
			return bad("a field line has no end")
		}
		text = rest
		colon := strings.IndexByte(line, ':')
		if colon <= 0 {
			return bad("a field line has no name")
		}
		name := fieldName(line[:colon])
		if name == "" {
			return bad("a field name has a character that is not allowed")
		}
		value := trim(line[colon+1:])
		if !fieldValue(value) {
			return bad("a field value has a control character")
		}
		if known := h[name]; known != nil {
			h[name] = append(known, value)
			continue
		}
		values[0] = value
		h[name] = values[:1:1]
		values = values[1:]
	}
	return nil
}

// fieldName is a field name as net/http spells it; empty if s is no token. Most
// names come spelled like that, from software that writes them down once.
func fieldName(s string) string {
	initial, asIs := true, true
	for i := range len(s) {
		c := s[i]
		if !tokenBytes[c] {
			return ""
		}
		if initial && 'a' <= c && c <= 'z' || !initial && 'A' <= c && c <= 'Z' {
			asIs = false
		}
		initial = c == '-'
	}
	if asIs {
		return s
	}
	return textproto.CanonicalMIMEHeaderKey(s)
}

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
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
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

// framing reads how long a message's body is (RFC 9112, section 6): a number of
// bytes, lengthChunked or lengthUnsaid. What could be understood in two ways is
// an error, as one of them would be somebody else's.
func framing(h http.Header, minor int) (int64, error) {
	codings, lengths := h["Transfer-Encoding"], h["Content-Length"]
	switch {
	case codings != nil && lengths != nil:
		return 0, bad("both Transfer-Encoding and Content-Length")
	case codings != nil && minor == 0:
		return 0, bad("Transfer-Encoding in HTTP/1.0")
	case codings != nil:
		if len(codings) == 1 && strings.EqualFold(codings[0], "chunked") {
			return lengthChunked, nil
		}
		return 0, &parseError{http.StatusNotImplemented, "a transfer coding other than chunked"}
	case lengths == nil:
		return lengthUnsaid, nil
	case len(lengths) > 1:
		return 0, bad("more than one Content-Length")
	}
	n, ok := number(lengths[0])
	if !ok {
		return 0, bad("Content-Length is not a number")
	}
	return n, nil
}

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
func trailerNames(h http.Header) (http.Header, error) {
	list := h["Trailer"]
	if list == nil {
		return nil, nil
	}
	names := make(http.Header)
	for _, v := range list {
		for name := range strings.SplitSeq(v, ",") {
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
func hasToken(values []string, word string) bool {
	for _, v := range values {
		if v == word {
			return true
		}
		for item := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(trim(item), word) {
				return true
			}
		}
	}
	return false
}

var errUnexpectedEnd = errors.New("the connection ended within a message")
