package transform

import (
	"fmt"
	"net/http"
	"strings"
)

// Header changes the headers of a message. Names are those of any case; lists of
// values may be shared and are not written to.
type Header http.Header

// Has reports whether there is such a header.
func (h Header) Has(name string) bool {
	_, ok := h[http.CanonicalHeaderKey(name)]
	return ok
}

// Remove drops all values.
func (h Header) Remove(name string) { delete(h, http.CanonicalHeaderKey(name)) }

// Rename gives the values another name, in place of what had that before.
func (h Header) Rename(from, to string) {
	from = http.CanonicalHeaderKey(from)
	values := h[from]
	delete(h, from)
	h[http.CanonicalHeaderKey(to)] = values
}

// Set makes the value the only one.
func (h Header) Set(name, value string) { h[http.CanonicalHeaderKey(name)] = []string{value} }

// Append adds a value behind those that there are.
func (h Header) Append(name, value string) {
	name = http.CanonicalHeaderKey(name)
	values := h[name]
	h[name] = append(values[:len(values):len(values)], value)
}

// CheckHeader answers what is wrong with the name of a header that stands in
// front of a colon or alone, or "".
func CheckHeader(text string) string {
	name, _ := Split(text)
	return checkName(name)
}

// CheckHeaders does it for a name on either side of the colon.
func CheckHeaders(text string) string {
	name, other := Split(text)
	if wrong := checkName(name); wrong != "" {
		return wrong
	}
	return checkName(other)
}

// checkName takes what Kong does (kong/tools/http.lua, validate_header_name).
func checkName(name string) string {
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}
	if name == "" || strings.ContainsFunc(name, odd) {
		return fmt.Sprintf("'%s' is not a valid header", name)
	}
	return ""
}

// Interface guard
var _ Bag[string] = Header(nil)
