package transform

import "net/http"

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

// Interface guard
var _ Bag[string] = Header(nil)
