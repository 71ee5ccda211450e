package schema

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// A reader reads JSON from memory. Rows are read often and have a known shape,
// so it leaves out what encoding/json does to find that out.
type reader struct {
	text  string
	at    int // position of the next byte
	depth int
}

// maxDepth is that of encoding/json, so that what was decoded can be stored.
const maxDepth = 10000

func (r *reader) peek() byte {
	if r.at < len(r.text) {
		return r.text[r.at]
	}
	return 0
}

func (r *reader) space() {
	for r.at < len(r.text) {
		switch r.text[r.at] {
		case ' ', '\t', '\n', '\r':
			r.at++
		default:
			return
		}
	}
}

func (r *reader) unexpected(want string) error {
	if r.at >= len(r.text) {
		return fmt.Errorf("expected %s, found the end", want)
	}
	return fmt.Errorf("expected %s at byte %d, found %q", want, r.at, r.text[r.at])
}

func (r *reader) word(w string) error {
	if !strings.HasPrefix(r.text[r.at:], w) {
		return r.unexpected(w)
	}
	r.at += len(w)
	return nil
}

func (r *reader) take(c byte) bool {
	r.space()
	if r.peek() != c {
		return false
	}
	r.at++
	return true
}

// object calls member behind each key. It must read the value.
func (r *reader) object(member func(key string) error) error {
	if !r.take('{') {
		return r.unexpected("an object")
	}
	if r.depth++; r.depth > maxDepth {
		return errors.New("nested too deeply")
	}
	defer func() { r.depth-- }()
	if r.take('}') {
		return nil
	}
	for {
		if r.space(); r.peek() != '"' {
			return r.unexpected("a key")
		}
		key, err := r.string()
		if err != nil {
			return err
		}
		if !r.take(':') {
			return r.unexpected("':'")
		}
		if err := member(key); err != nil {
			return err
		}
		if r.take('}') {
			return nil
		}
		if !r.take(',') {
			return r.unexpected("',' or '}'")
		}
	}
}

// list calls element for each element. It must read the value.
func (r *reader) list(element func() error) error {
	if !r.take('[') {
		return r.unexpected("a list")
	}
	if r.depth++; r.depth > maxDepth {
		return errors.New("nested too deeply")
	}
	defer func() { r.depth-- }()
	if r.take(']') {
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		if r.take(']') {
			return nil
		}
		if !r.take(',') {
			return r.unexpected("',' or ']'")
		}
	}
}

// number reads a number as the value that canonical wants for it.
func (r *reader) number() (any, error) {
	start := r.at
	for r.at < len(r.text) && strings.IndexByte("+-.0123456789eE", r.text[r.at]) >= 0 {
		r.at++
	}
	if v := parseNumber(r.text[start:r.at]); v != nil {
		return v, nil
	}
	r.at = start
	return nil, r.unexpected("a value")
}

// string reads a string. One without escapes is a part of the text.
func (r *reader) string() (string, error) {
	r.at++ // the quote
	start := r.at
	for r.at < len(r.text) {
		switch c := r.text[r.at]; {
		case c == '"':
			s := r.text[start:r.at]
			r.at++
			if !validUTF8(s) {
				s = strings.ToValidUTF8(s, "\uFFFD")
			}
			return s, nil
		case c == '\\':
			return r.escaped(start)
		case c < ' ':
			return "", r.unexpected("a string without control characters")
		}
		r.at++
	}
	return "", r.unexpected("'\"'")
}

// escaped reads on a string in which an escape was found.
func (r *reader) escaped(start int) (string, error) {
	b := append([]byte(nil), r.text[start:r.at]...)
	for r.at < len(r.text) {
		c := r.text[r.at]
		r.at++
		switch {
		case c == '"':
			return strings.ToValidUTF8(string(b), "\uFFFD"), nil
		case c < ' ':
			r.at--
			return "", r.unexpected("a string without control characters")
		case c != '\\':
			b = append(b, c)
			continue
		}
		c = r.peek()
		r.at++
		switch c {
		case '"', '\\', '/':
			b = append(b, c)
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			c, err := r.unicode()
			if err != nil {
				return "", err
			}
			b = utf8.AppendRune(b, c)
		default:
			r.at--
			return "", r.unexpected("an escape")
		}
	}
	return "", r.unexpected("'\"'")
}

// unicode reads the digits of an escape, and a second escape if the first is
// half of a character.
func (r *reader) unicode() (rune, error) {
	c, err := r.hex()
	if err != nil || !utf16.IsSurrogate(c) {
		return c, err
	}
	if strings.HasPrefix(r.text[r.at:], `\u`) {
		back := r.at
		r.at += 2
		second, err := r.hex()
		if err != nil {
			return 0, err
		}
		if both := utf16.DecodeRune(c, second); both != utf8.RuneError {
			return both, nil
		}
		r.at = back
	}
	return utf8.RuneError, nil
}

func (r *reader) hex() (rune, error) {
	if r.at+4 > len(r.text) {
		return 0, r.unexpected("four hexadecimal digits")
	}
	n, err := strconv.ParseUint(r.text[r.at:r.at+4], 16, 16)
	if err != nil {
		return 0, r.unexpected("four hexadecimal digits")
	}
	r.at += 4
	return rune(n), nil
}
