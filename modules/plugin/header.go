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
		if u.Header = maps.Clone(x.Request.Header); u.Header == nil {
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
		return x.Request.Header
	}
	return x.UpstreamHeader()
}

// Values are those of one of these headers: to be read only. The name is in
// canonical form.
func (x *Exchange) Values(name string) []string {
	u := &x.upstream
	if u.Header != nil {
		return u.Header[name]
	}
	for i := range u.edits {
		if e := &u.edits[i]; e.Name == name {
			if e.Value[0] == "" {
				return nil
			}
			return e.Value[:]
		}
	}
	return x.Request.Header[name]
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
	case value == "" && x.Values(name) == nil:
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
