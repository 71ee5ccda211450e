package transform

import (
	"net/url"
	"slices"
	"strings"
)

// Args are the arguments of a query, or the fields of a form in that encoding.
// What is not changed stays as it was written.
type Args struct {
	list []arg
}

type arg struct {
	raw   string // as it is written
	name  string
	value string
	bare  bool // without "="
}

// ParseArgs reads a query without its "?". What cannot be decoded is taken as it
// is.
func ParseArgs(query string) *Args {
	a := new(Args)
	for raw := range strings.SplitSeq(query, "&") {
		if raw == "" {
			continue
		}
		name, value, found := strings.Cut(raw, "=")
		a.list = append(a.list, arg{raw: raw, name: unescape(name), value: unescape(value), bare: !found})
	}
	return a
}

func unescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

// escape encodes blanks as %20, which all servers understand.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// Value answers the first value of a name; bare: it is written without one.
func (a *Args) Value(name string) (value string, bare, ok bool) {
	i := a.find(name)
	if i < 0 {
		return "", false, false
	}
	return a.list[i].value, a.list[i].bare, true
}

func (a *Args) find(name string) int {
	return slices.IndexFunc(a.list, func(e arg) bool { return e.name == name })
}

// Has reports whether there is such an argument.
func (a *Args) Has(name string) bool { return a.find(name) >= 0 }

// Remove drops all arguments of the name.
func (a *Args) Remove(name string) {
	a.list = slices.DeleteFunc(a.list, func(e arg) bool { return e.name == name })
}

// Rename gives the arguments another name, in place of those that had it before.
func (a *Args) Rename(from, to string) {
	if from == to {
		return
	}
	a.Remove(to)
	for i := range a.list {
		if e := &a.list[i]; e.name == from {
			_, value, _ := strings.Cut(e.raw, "=")
			e.name, e.raw = to, escape(to)
			if !e.bare {
				e.raw += "=" + value
			}
		}
	}
}

// Set makes the value the only one, where the first one stood or at the end.
func (a *Args) Set(name, value string) {
	i := a.find(name)
	if i < 0 {
		a.Append(name, value)
		return
	}
	a.list[i] = newArg(name, value)
	rest := slices.DeleteFunc(a.list[i+1:], func(e arg) bool { return e.name == name })
	a.list = a.list[:i+1+len(rest)]
}

// Append adds an argument at the end.
func (a *Args) Append(name, value string) { a.list = append(a.list, newArg(name, value)) }

func newArg(name, value string) arg {
	return arg{raw: escape(name) + "=" + escape(value), name: name, value: value}
}

// Join appends the arguments of another list.
func (a *Args) Join(b *Args) { a.list = append(a.list, b.list...) }

// String is the query.
func (a *Args) String() string {
	raw := make([]string, len(a.list))
	for i, e := range a.list {
		raw[i] = e.raw
	}
	return strings.Join(raw, "&")
}

// Interface guard
var _ Bag[string] = (*Args)(nil)
