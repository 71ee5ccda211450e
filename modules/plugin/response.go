package plugin

import (
	"net/http"

	"github.com/portcullis-gateway/portcullis/modules/http1"
)

// ResponseHeader are the headers of the response, which a HeaderFilter may
// change; in the phase log they are those that were sent. What the server
// itself adds, such as Date, is not among them.
//
// They are made at the first call. Who wants to set one of them asks for that, and
// saves the time.
func (x *Exchange) ResponseHeader() http.Header { return x.writer.Header() }

// SetResponseHeader sets a header of the response. An empty value deletes it.
func (x *Exchange) SetResponseHeader(name, value string) {
	if name = http.CanonicalHeaderKey(name); value != "" {
		x.SetResponseFields(http1.Fields(nil).Append(name, value)...)
		return
	}
	w := &x.writer
	if w.head != nil {
		w.head.Fields = w.head.Without(name)
	}
	delete(w.to.Header(), name)
}

// AddResponseHeader adds a value to a header of the response.
func (x *Exchange) AddResponseHeader(name, value string) {
	w := &x.writer
	name = http.CanonicalHeaderKey(name)
	if h := w.to.Header(); w.head == nil || !w.head.Has(name) && h[name] != nil {
		h = w.Header()
		h[name] = append(h[name][:len(h[name]):len(h[name])], value)
		return
	}
	w.head.Fields = w.head.Append(name, value)
}

// SetResponseFields sets headers of the response: each once, with names in canonical
// form and values that can be sent as they are.
func (x *Exchange) SetResponseFields(fields ...http1.Field) {
	w := &x.writer
	h := w.to.Header()
	if w.head == nil {
		for i := range fields {
			h[fields[i].Name] = []string{fields[i].Value}
		}
		return
	}
	w.head.Fields = w.head.Put(fields...)
	if len(h) > 0 {
		for i := range fields {
			delete(h, fields[i].Name)
		}
	}
}

// HeadSize is how many bytes the headers of the response took.
func (x *Exchange) HeadSize() int64 {
	if x.writer.size > 0 {
		return x.writer.size
	}
	return http1.HeaderSize(x.writer.Header())
}

// Status is that of the response, from the phase header filter on.
func (x *Exchange) Status() int { return x.writer.status }

// SetStatus changes it, in that phase.
func (x *Exchange) SetStatus(status int) { x.writer.status = status }

// UpstreamURI is the path and query for the service, also if it was not asked; empty:
// there is none.
func (x *Exchange) UpstreamURI() string { return x.host.UpstreamURI() }

// Answered reports whether a plugin made the response (kong.response.get_source
// is "exit").
func (x *Exchange) Answered() bool { return x.answered }

// Answering notes that a plugin made the response.
func (x *Exchange) Answering() { x.answered = true }

// Written is how many bytes of the response's body came, if the chain sees the
// response.
func (x *Exchange) Written() int64 { return x.writer.sent }

// Passed is how many bytes of it went to the client, behind the filters. It
// answers false if the chain does not see it, and if the protocol was switched.
func (x *Exchange) Passed() (int64, bool) {
	return x.writer.passed, x.writer.chain != nil && x.writer.status != http.StatusSwitchingProtocols
}

// Finish completes the response's body. The chain may have no filters.
func (x *Exchange) Finish() error { return x.writer.Close() }

// SwitchProtocols runs the header filters on a response that is written by hand.
func (x *Exchange) SwitchProtocols(status int) {
	if x.writer.chain != nil {
		x.writer.Head(status)
	}
}
