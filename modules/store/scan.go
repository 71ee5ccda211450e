package store

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// A scanner walks JSON text without building values. Indexing a row needs a
// few of its fields and the certainty that the rest is well-formed; decoding
// all of it would cost ten times as much, for every row, at each start.
type scanner struct {
	data []byte
	pos  int
}

var errTruncated = errors.New("the JSON text ends too early")

// maxDepth is the nesting that encoding/json accepts.
const maxDepth = 10000

// object calls member with each key (as it is spelled, without quotes) and
// the text of its value. The scanner stands at the opening brace, and behind
// the closing one afterwards.
func (s *scanner) object(depth int, member func(key, value []byte)) error {
	if depth > maxDepth {
		return errors.New("the JSON text is nested too deeply")
	}
	s.pos++ // {
	if s.peek() == '}' {
		s.pos++
		return nil
	}
	for {
		if s.peek() != '"' {
			return s.unexpected()
		}
		key, err := s.str()
		if err != nil {
			return err
		}
		if s.peek() != ':' {
			return s.unexpected()
		}
		s.pos++
		s.peek()
		start := s.pos
		if err := s.value(depth); err != nil {
			return err
		}
		if member != nil {
			member(key, s.data[start:s.pos])
		}
		switch s.peek() {
		case ',':
			s.pos++
		case '}':
			s.pos++
			return nil
		default:
			return s.unexpected()
		}
	}
}

// array calls item with the text of each element.
func (s *scanner) array(depth int, item func(value []byte)) error {
	if depth > maxDepth {
		return errors.New("the JSON text is nested too deeply")
	}
	s.pos++ // [
	if s.peek() == ']' {
		s.pos++
		return nil
	}
	for {
		s.peek()
		start := s.pos
		if err := s.value(depth); err != nil {
			return err
		}
		if item != nil {
			item(s.data[start:s.pos])
		}
		switch s.peek() {
		case ',':
			s.pos++
		case ']':
			s.pos++
			return nil
		default:
			return s.unexpected()
		}
	}
}

// value skips one value of any kind.
func (s *scanner) value(depth int) error {
	switch c := s.peek(); {
	case c == '"':
		_, err := s.str()
		return err
	case c == '{':
		return s.object(depth+1, nil)
	case c == '[':
		return s.array(depth+1, nil)
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	default:
		return s.unexpected()
	}
}

// str skips a string and returns what is between its quotes.
func (s *scanner) str() ([]byte, error) {
	s.pos++ // "
	start := s.pos
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return s.data[start : s.pos-1], nil
		case c == '\\':
			if err := s.escape(); err != nil {
				return nil, err
			}
		case c < 0x20:
			return nil, s.unexpected()
		case c < utf8.RuneSelf:
			s.pos++
		default:
			r, size := utf8.DecodeRune(s.data[s.pos:])
			if r == utf8.RuneError && size == 1 {
				return nil, fmt.Errorf("invalid UTF-8 at position %d", s.pos)
			}
			s.pos += size
		}
	}
	return nil, errTruncated
}

// escape skips a backslash and what belongs to it.
func (s *scanner) escape() error {
	s.pos++ // \
	if s.pos == len(s.data) {
		return errTruncated
	}
	switch s.data[s.pos] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos++
		return nil
	case 'u':
		s.pos++
		for range 4 {
			if s.pos == len(s.data) {
				return errTruncated
			}
			switch c := s.data[s.pos]; {
			case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c >= 'A' && c <= 'F':
				s.pos++
			default:
				return s.unexpected()
			}
		}
		return nil
	}
	return s.unexpected()
}

// number skips a number in JSON's grammar: no leading zeros, no bare point.
func (s *scanner) number() error {
	if s.data[s.pos] == '-' {
		s.pos++
	}
	if s.at() == '0' {
		s.pos++
	} else if err := s.digits(); err != nil {
		return err
	}
	if s.at() == '.' {
		s.pos++
		if err := s.digits(); err != nil {
			return err
		}
	}
	if c := s.at(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.at(); c == '+' || c == '-' {
			s.pos++
		}
		return s.digits()
	}
	return nil
}

func (s *scanner) digits() error {
	start := s.pos
	for c := s.at(); c >= '0' && c <= '9'; c = s.at() {
		s.pos++
	}
	if s.pos == start {
		return s.unexpected()
	}
	return nil
}

func (s *scanner) word(w string) error {
	if len(s.data)-s.pos < len(w) {
		return errTruncated
	}
	if string(s.data[s.pos:s.pos+len(w)]) != w {
		return s.unexpected()
	}
	s.pos += len(w)
	return nil
}

// at returns the byte at the position, 0 at the end of the text.
func (s *scanner) at() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

// peek moves over white space, then does as at.
func (s *scanner) peek() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) unexpected() error {
	if s.pos >= len(s.data) {
		return errTruncated
	}
	return fmt.Errorf("unexpected %q at position %d", s.data[s.pos], s.pos)
}

// members calls member with the top-level keys and values of data, which has
// to be one well-formed JSON object and nothing else.
func members(data []byte, member func(key, value []byte)) error {
	s := &scanner{data: data}
	if s.peek() != '{' {
		return s.unexpected()
	}
	if err := s.object(1, member); err != nil {
		return err
	}
	if s.peek(); s.pos < len(data) {
		return s.unexpected()
	}
	return nil
}
