package http1

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// copyBuffers are for bodies that the kernel cannot copy.
var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// statusLines are those of HTTP/1.1, made once for each status that has a name.
var statusLines = func() (lines [1000]string) {
	for status := range lines {
		if text := http.StatusText(status); text != "" {
			lines[status] = "HTTP/1.1 " + strconv.Itoa(status) + " " + text + "\r\n"
		}
	}
	return lines
}()

// appendStatusLine appends a status line of HTTP/1.minor.
func appendStatusLine(out []byte, status, minor int) []byte {
	line := statusLines[status]
	if line == "" {
		line = "HTTP/1.1 " + strconv.Itoa(status) + " status code " + strconv.Itoa(status) + "\r\n"
	}
	if minor == 0 {
		return append(append(out, "HTTP/1.0"...), line[len("HTTP/1.0"):]...)
	}
	return append(out, line...)
}

// appendHeader appends the fields of a header but those that skip names.
func appendHeader(out []byte, h http.Header, skip func(string) bool) []byte {
	for name, values := range h {
		if !skip(name) && token(name) {
			out = appendValues(out, name, values)
		}
	}
	return out
}

// informational reports the fields that have no place in an informational
// response.
func informational(name string) bool {
	switch name {
	case "Content-Length", "Transfer-Encoding", "Trailer", "Connection":
		return true
	}
	return strings.HasPrefix(name, http.TrailerPrefix)
}

func appendValues(out []byte, name string, values []string) []byte {
	for _, v := range values {
		out = appendField(out, name, v)
	}
	return out
}

// appendField appends a field line. Line breaks in the value, which would make
// another line of it, become blanks.
func appendField(out []byte, name, value string) []byte {
	return appendClean(out, name, unbroken(value))
}

// appendClean appends a field line whose value has no line breaks.
func appendClean(out []byte, name, value string) []byte {
	out = append(append(out, name...), ": "...)
	return append(append(out, value...), "\r\n"...)
}

func appendLength(out []byte, n int64) []byte {
	out = strconv.AppendInt(append(out, "Content-Length: "...), n, 10)
	return append(out, "\r\n"...)
}

func appendHex(out []byte, n int64) []byte { return strconv.AppendInt(out, n, 16) }
