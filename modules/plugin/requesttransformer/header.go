package requesttransformer

import (
	"net/http"
	"strings"

	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/transform"
)

// A header is the headers that the service gets, among which Host is not what it
// seems: it is always there, and can only be replaced.
type header struct{ x *plugin.Exchange }

func isHost(name string) bool { return strings.EqualFold(name, "host") }

func (h header) Has(name string) bool {
	return isHost(name) || h.x.Has(http.CanonicalHeaderKey(name))
}

func (h header) Remove(name string) {
	if !isHost(name) {
		h.x.SetUpstreamHeader(name, "")
	}
}

func (h header) Rename(from, to string) {
	if !isHost(from) && !isHost(to) {
		transform.Header(h.x.UpstreamHeader()).Rename(from, to)
	}
}

func (h header) Set(name, value string) {
	if isHost(name) {
		h.x.SetHost(value)
		return
	}
	h.x.SetUpstreamHeader(name, value)
}

func (h header) Append(name, value string) {
	switch {
	case isHost(name):
	case h.Has(name):
		transform.Header(h.x.UpstreamHeader()).Append(name, value)
	default:
		h.x.SetUpstreamHeader(name, value)
	}
}

// Interface guard
var _ transform.Bag[string] = header{}
