package plugin

import (
	"maps"
	"net/http"
)

// What plugins make of the headers that the service gets. Most requests have a few
// of them set and the others as they came, which a list says as well as a map and
// for less.

// An Edit sets one header of the request, or deletes it.
type Edit struct {
	Name  string    // in canonical form
	Value [1]string // empty: it is deleted
}

// Edits are the changes to the client's headers as long as Header is nil. Each
// header is in it once at most.
func (u *Upstream) Edits() []Edit { return u.edits }

// edit notes a change. The name is in canonical form.
func (u *Upstream) edit(name, value string) {
	for i := range u.edits {
		if u.edits[i].Name == name {
			u.edits[i].Value[0] = value
			return
		}
	}
	u.edits = append(u.edits, Edit{name, [1]string{value}})
}

// UpstreamHeader are the headers that the service gets, which plugins may
// change; at first they are the client's. Headers that the gateway itself sets,
// such as X-Forwarded-For, are not among them. Keys are in canonical form, and
// lists of values are shared with the request: replace them.
func (x *Exchange) UpstreamHeader() http.Header {
	u := &x.upstream
	if u.Header == nil {
		if x.request.Header == nil && x.head != nil {
			u.Header = x.head.Fields.Header()
		} else if u.Header = maps.Clone(x.request.Header); u.Header == nil {
			u.Header = http.Header{}
		}
		for _, e := range u.edits {
			if delete(u.Header, e.Name); e.Value[0] != "" {
				u.Header[e.Name] = []string{e.Value[0]}
			}
		}
	}
	return u.Header
}

// Header are the headers as they are now, with changes of plugins before: to be
// read only. Who wants to know one of them asks for its Values.
func (x *Exchange) Header() http.Header {
	u := &x.upstream
	if u.Header == nil && len(u.edits) == 0 {
		return x.Request().Header
	}
	return x.UpstreamHeader()
}

// Values are those of one of these headers: to be read only. The name is in
// canonical form.
func (x *Exchange) Values(name string) []string {
	if h, e := x.current(name); e != nil {
		return e.values()
	} else if h != nil || x.head == nil {
		return h[name]
	}
	return x.head.Values(name)
}

// Lookup answers the first of these values, and how many there are.
func (x *Exchange) Lookup(name string) (first string, n int) {
	h, e := x.current(name)
	switch {
	case e != nil:
		return e.Value[0], len(e.values())
	case h == nil && x.head != nil:
		return x.head.Lookup(name)
	}
	if values := h[name]; len(values) > 0 {
		return values[0], len(values)
	}
	return "", 0
}

// First is the first of these values; empty if there is none.
func (x *Exchange) First(name string) string {
	first, _ := x.Lookup(name)
	return first
}

// Has reports whether there is one.
func (x *Exchange) Has(name string) bool {
	_, n := x.Lookup(name)
	return n > 0
}

// current answers where the values of a header are: in an edit of it, in a header or,
// if there is neither, in the head.
func (x *Exchange) current(name string) (http.Header, *Edit) {
	u := &x.upstream
	if u.Header != nil {
		return u.Header, nil
	}
	for i := range u.edits {
		if u.edits[i].Name == name {
			return nil, &u.edits[i]
		}
	}
	return x.request.Header, nil
}

func (e *Edit) values() []string {
	if e.Value[0] == "" {
		return nil
	}
	return e.Value[:]
}

// SetUpstreamHeader sets a header that the service gets. An empty value deletes
// it.
func (x *Exchange) SetUpstreamHeader(name, value string) {
	x.setUpstream(http.CanonicalHeaderKey(name), value)
}

// setUpstream does it for a name in canonical form.
func (x *Exchange) setUpstream(name, value string) {
	u := &x.upstream
	switch {
	case value == "" && !x.Has(name):
	case u.Header == nil && !known(name):
		u.edit(name, value)
	case value == "":
		delete(x.UpstreamHeader(), name)
	default:
		x.UpstreamHeader()[name] = []string{value}
	}
}

// known reports the headers that the gateway itself looks at when it makes its own.
// They are not edited in the list.
func known(name string) bool {
	switch name {
	case "Connection", "Te", "Via", "X-Forwarded-For", "X-Forwarded-Prefix", "X-Kong-Request-Id":
		return true
	}
	return false
}
