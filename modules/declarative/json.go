package declarative

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deep lists and objects may be nested in a document. Kong's
// JSON decoder has the same limit.
const maxDepth = 1000

// syntaxError ends the reading of a text.
type syntaxError struct {
	line    int // 0 if unknown
	message string
}

func (e *syntaxError) Error() string {
	if e.line == 0 {
		return e.message
	}
	return fmt.Sprintf("line %d: %s", e.line, e.message)
}

// jsonReader reads JSON (RFC 8259) into a tree of nodes. The standard decoder
// is as fast, but it knows neither lines nor repeated keys.
type jsonReader struct {
	text  string
	pos   int
	line  int
	depth int

	// duplicate is called for what is wrong without ending the reading.
	duplicate func(line int, format string, args ...any)
}

// parseJSON reads text, which has to be one JSON value in valid UTF-8.
func parseJSON(text string, report func(line int, format string, args ...any)) (n node, err error) {
	r := &jsonReader{text: text, line: 1, duplicate: report}
	if n, err = r.value(); err != nil {
		return node{}, err
	}
	if r.space(); r.pos < len(text) {
		return node{}, r.unexpected("the end of the text")
	}
	return n, nil
}

func (r *jsonReader) value() (node, error) {
	r.space()
	n := node{line: r.line}
	if r.pos == len(r.text) {
		return n, r.unexpected("a value")
	}
	var err error
	switch c := r.text[r.pos]; {
	case c == '"':
		n.value, err = r.str()
	case c == '{':
		n.value, err = r.object()
	case c == '[':
		n.value, err = r.list()
	case c == '-' || c >= '0' && c <= '9':
		n.value, err = r.number()
	case r.word("true"):
		n.value = true
	case r.word("false"):
		n.value = false
	case r.word("null"):
	default:
		err = r.unexpected("a value")
	}
	return n, err
}

func (r *jsonReader) object() (any, error) {
	if err := r.enter(); err != nil {
		return nil, err
	}
	m := members{}
	for r.space(); !r.take('}'); r.space() {
		if len(m) > 0 {
			if !r.take(',') {
				return nil, r.unexpected("',' or '}'")
			}
			r.space()
		}
		if r.peek() != '"' {
			return nil, r.unexpected("a key in double quotes")
		}
		line := r.line
		key, err := r.str()
		if err != nil {
			return nil, err
		}
		if r.space(); !r.take(':') {
			return nil, r.unexpected("':' after the key")
		}
		n, err := r.value()
		if err != nil {
			return nil, err
		}
		n.line = line
		m = append(m, member{key, n})
	}
	r.depth--
	m.checkDuplicates(r.duplicate)
	return m, nil
}

func (r *jsonReader) list() (any, error) {
	if err := r.enter(); err != nil {
		return nil, err
	}
	list := []node{}
	for r.space(); !r.take(']'); r.space() {
		if len(list) > 0 && !r.take(',') {
			return nil, r.unexpected("',' or ']'")
		}
		n, err := r.value()
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	r.depth--
	return list, nil
}

// enter moves behind an opening bracket.
func (r *jsonReader) enter() error {
	if r.depth++; r.depth > maxDepth {
		return r.fail("nested deeper than %d levels", maxDepth)
	}
	r.pos++
	return nil
}

// str reads a string. Without escapes, which is the rule, it is a part of the
// text.
func (r *jsonReader) str() (string, error) {
	r.pos++
	start := r.pos
	for ; r.pos < len(r.text); r.pos++ {
		switch c := r.text[r.pos]; {
		case c == '"':
			r.pos++
			return r.text[start : r.pos-1], nil
		case c == '\\':
			return r.escaped(start)
		case c < ' ':
			return "", r.unexpected("no control characters within a string")
		}
	}
	return "", r.unexpected("a closing quote")
}

// escaped reads the rest of a string that has escapes, the first of which is
// at the position.
func (r *jsonReader) escaped(start int) (string, error) {
	buf := append([]byte(nil), r.text[start:r.pos]...)
	for r.pos < len(r.text) {
		c := r.text[r.pos]
		switch {
		case c == '"':
			r.pos++
			return string(buf), nil
		case c < ' ':
			return "", r.unexpected("no control characters within a string")
		case c != '\\':
			buf = append(buf, c)
			r.pos++
			continue
		}
		if r.pos+1 == len(r.text) {
			break
		}
		c = r.text[r.pos+1]
		if c == 'u' {
			char, err := r.unicode()
			if err != nil {
				return "", err
			}
			buf = utf8.AppendRune(buf, char)
			continue
		}
		i := strings.IndexByte(`"\/bfnrt`, c)
		if i < 0 {
			return "", r.fail("unknown escape %q in a string", r.text[r.pos:r.pos+2])
		}
		buf = append(buf, "\"\\/\b\f\n\r\t"[i])
		r.pos += 2
	}
	return "", r.unexpected("a closing quote")
}

// unicode reads an escape \uXXXX, or two of them that are a surrogate pair. A
// lone surrogate becomes U+FFFD, as in encoding/json.
func (r *jsonReader) unicode() (rune, error) {
	first, ok := r.hex()
	if !ok {
		return 0, r.fail("expected four hexadecimal digits after \\u")
	}
	r.pos += 6
	if !utf16.IsSurrogate(first) {
		return first, nil
	}
	if second, ok := r.hex(); ok {
		if char := utf16.DecodeRune(first, second); char != utf8.RuneError {
			r.pos += 6
			return char, nil
		}
	}
	return utf8.RuneError, nil
}

// hex answers the number of the escape \uXXXX at the position.
func (r *jsonReader) hex() (rune, bool) {
	if !strings.HasPrefix(r.text[r.pos:], `\u`) || len(r.text) < r.pos+6 {
		return 0, false
	}
	v, err := strconv.ParseUint(r.text[r.pos+2:r.pos+6], 16, 16)
	return rune(v), err == nil
}

// number reads a number: int64 if it is written as an integer and fits, else
// float64.
func (r *jsonReader) number() (any, error) {
	start, integer := r.pos, true
	r.take('-')
	if !r.take('0') && r.digits() == 0 {
		return nil, r.unexpected("a digit")
	}
	if r.take('.') {
		integer = false
		if r.digits() == 0 {
			return nil, r.unexpected("a digit")
		}
	}
	if r.take('e') || r.take('E') {
		integer = false
		if !r.take('+') {
			r.take('-')
		}
		if r.digits() == 0 {
			return nil, r.unexpected("a digit")
		}
	}
	text := r.text[start:r.pos]
	if integer {
		if v, err := strconv.ParseInt(text, 10, 64); err == nil {
			return v, nil
		}
	}
	v, err := strconv.ParseFloat(text, 64)
	if errors.Is(err, strconv.ErrRange) {
		return nil, r.fail("number %s is out of range", text)
	}
	return v, nil
}

func (r *jsonReader) digits() int {
	start := r.pos
	for r.pos < len(r.text) && r.text[r.pos] >= '0' && r.text[r.pos] <= '9' {
		r.pos++
	}
	return r.pos - start
}

// space moves over white space. No other part of a JSON text has line ends.
func (r *jsonReader) space() {
	for ; r.pos < len(r.text); r.pos++ {
		switch r.text[r.pos] {
		case '\n':
			r.line++
		case ' ', '\t', '\r':
		default:
			return
		}
	}
}

// peek answers the byte at the position, 0 at the end of the text.
func (r *jsonReader) peek() byte {
	if r.pos < len(r.text) {
		return r.text[r.pos]
	}
	return 0
}

// take moves over the byte c if it is at the position.
func (r *jsonReader) take(c byte) bool {
	if r.pos < len(r.text) && r.text[r.pos] == c {
		r.pos++
		return true
	}
	return false
}

// word moves over w if it is at the position.
func (r *jsonReader) word(w string) bool {
	if !strings.HasPrefix(r.text[r.pos:], w) {
		return false
	}
	r.pos += len(w)
	return true
}

func (r *jsonReader) unexpected(want string) error {
	if r.pos >= len(r.text) {
		return r.fail("expected %s, but the text ends", want)
	}
	char, _ := utf8.DecodeRuneInString(r.text[r.pos:])
	return r.fail("expected %s, got %q", want, char)
}

func (r *jsonReader) fail(format string, args ...any) error {
	return &syntaxError{r.line, fmt.Sprintf(format, args...)}
}
