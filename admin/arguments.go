package admin

import (
	"net/http"
	"net/url"
	"strings"
)

// maxArguments bounds the arguments of a query and of a form
// (kong/api/arguments.lua).
const maxArguments = 1000

var errTooManyArguments = &refusal{http.StatusBadRequest, "Too many arguments"}

// An argument is one name=value of a query or of a form.
type argument struct {
	name string

	// value is a string; true if there was no equals sign; from a multipart
	// form it may be any JSON value.
	value any
}

// arguments are the arguments of a query or of a form, in their order.
type arguments []argument

// parseArguments reads the URL encoding. What is not well encoded is kept as
// it came.
func parseArguments(raw string) (arguments, error) {
	if raw == "" {
		return nil, nil
	}
	if strings.Count(raw, "&") >= maxArguments {
		return nil, errTooManyArguments
	}
	var list arguments
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, found := strings.Cut(pair, "=")
		if name == "" {
			continue
		}
		a := argument{name: unescape(name), value: true}
		if found {
			a.value = unescape(value)
		}
		list = append(list, a)
	}
	return list, nil
}

func unescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

// get answers the value of the first argument with the name, and how many
// there are. The value is "" where there is no equals sign.
func (a arguments) get(name string) (value string, n int) {
	for _, arg := range a {
		if arg.name != name {
			continue
		}
		if n == 0 {
			value, _ = arg.value.(string)
		}
		n++
	}
	return value, n
}

// escape writes a string for a URL's path or query, as Kong's `next` has it.
func escape(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}
