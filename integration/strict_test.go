package integration

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
)

// A message is an HTTP/1.1 message that can be read in one way only.
type message struct {
	start  string      // its first line
	fields [][2]string // names as they came
	body   string
	whole  bool // whether the body came to its end
}

// get answers all values of the field called name.
func (m message) get(name string) []string {
	var values []string
	for _, field := range m.fields {
		if strings.EqualFold(field[0], name) {
			values = append(values, field[1])
		}
	}
	return values
}

// errAmbiguous is the reason not to read on: somebody else might read it
// differently.
var errAmbiguous = errors.New("ambiguous")

func ambiguous(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errAmbiguous}, args...)...)
}

// readStrict reads the next message. Nothing is forgiven: whatever RFC 9112
// lets a recipient repair or ignore is an error here, since the next recipient
// may repair it in another way. An answer to HEAD has no body. An answer
// without a length goes on to the end of the connection.
func readStrict(r *bufio.Reader, answer bool, method string) (message, error) {
	var m message
	line, err := strictLine(r)
	if err != nil {
		return m, err
	}
	m.start = line
	parts := strings.SplitN(line, " ", 3)
	switch {
	case len(parts) != 3:
		return m, ambiguous("the first line is %q", line)
	case answer && (parts[0] != "HTTP/1.1" && parts[0] != "HTTP/1.0" || !digits(parts[1]) || len(parts[1]) != 3):
		return m, ambiguous("the first line of an answer is %q", line)
	case !answer && (parts[2] != "HTTP/1.1" || !token(parts[0]) || parts[1] == ""):
		return m, ambiguous("the first line of a request is %q", line)
	}
	if m.fields, err = strictFields(r); err != nil {
		return m, err
	}

	codings, lengths := m.get("Transfer-Encoding"), m.get("Content-Length")
	switch {
	case len(codings)+len(lengths) > 1:
		return m, ambiguous("the length of the body is said more than once: %q", m.fields)
	case !answer && len(m.get("Host")) != 1:
		return m, ambiguous("Host: %q", m.get("Host"))
	case answer && (method == "HEAD" || parts[1][0] == '1' || parts[1] == "204" || parts[1] == "304"):
		if len(codings) > 0 && method != "HEAD" && parts[1] != "304" {
			return m, ambiguous("%s with Transfer-Encoding", parts[1])
		}
		m.whole = true
	case len(codings) == 1:
		if codings[0] != "chunked" {
			return m, ambiguous("Transfer-Encoding: %q", codings[0])
		}
		m.body, m.whole, err = strictChunks(r)
	case len(lengths) == 1:
		if !digits(lengths[0]) || len(lengths[0]) > 1 && lengths[0][0] == '0' {
			return m, ambiguous("Content-Length: %q", lengths[0])
		}
		n, err := strconv.Atoi(lengths[0])
		if err != nil {
			return m, ambiguous("Content-Length: %q", lengths[0])
		}
		body := make([]byte, n)
		got, err := io.ReadFull(r, body)
		m.body, m.whole = string(body[:got]), err == nil
	case answer:
		body, err := io.ReadAll(r)
		m.body, m.whole = string(body), err == nil
	default:
		m.whole = true
	}
	return m, err
}

// strictLine reads a line that ends in CR and LF, and has neither inside.
func strictLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		if line != "" {
			return "", io.ErrUnexpectedEOF
		}
		return "", err
	}
	line, ok := strings.CutSuffix(line, "\r\n")
	if !ok {
		return "", ambiguous("a line ends in a bare LF: %q", line)
	}
	if i := strings.IndexFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }); i >= 0 {
		return "", ambiguous("a control byte in %q", line)
	}
	return line, nil
}

func strictFields(r *bufio.Reader) ([][2]string, error) {
	var fields [][2]string
	for {
		line, err := strictLine(r)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil || line == "" {
			return fields, err
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !token(name) {
			return nil, ambiguous("a header line is %q", line)
		}
		fields = append(fields, [2]string{name, strings.Trim(value, " \t")})
	}
}

// strictChunks reads a chunked body without extensions. Trailers may follow.
func strictChunks(r *bufio.Reader) (body string, whole bool, err error) {
	var b bytes.Buffer
	for {
		line, err := strictLine(r)
		if err != nil {
			return b.String(), false, cut(err)
		}
		size, err := strconv.ParseUint(line, 16, 32)
		if err != nil || strings.ContainsAny(line, "+_xX") {
			return b.String(), false, ambiguous("the size of a chunk is %q", line)
		}
		if size == 0 {
			trailers, err := strictFields(r)
			if err != nil {
				return b.String(), false, cut(err)
			}
			for _, field := range trailers {
				if slices.Contains([]string{"content-length", "transfer-encoding", "host"}, strings.ToLower(field[0])) {
					return b.String(), false, ambiguous("the trailer %q", field)
				}
			}
			return b.String(), true, nil
		}
		if _, err := io.CopyN(&b, r, int64(size)); err != nil {
			return b.String(), false, nil
		}
		if line, err := strictLine(r); err != nil || line != "" {
			if err == nil {
				err = ambiguous("a chunk is followed by %q", line)
			}
			return b.String(), false, cut(err)
		}
	}
}

// cut takes a connection that ended within a body for no error: the sender
// has given up, and whoever receives it knows.
func cut(err error) error {
	if errors.Is(err, errAmbiguous) {
		return err
	}
	return nil
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func token(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", r)
	})
}

// closed reports whether nothing more comes from the other end, rather than
// nothing yet.
func closed(err error) bool {
	var timeout net.Error
	return err != nil && !(errors.As(err, &timeout) && timeout.Timeout())
}
