package ratelimiting

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/plugin"
)

// identifier answers the function that appends to buf who asks, or nil if
// limit_by is not known (kong/plugins/rate-limiting/handler.lua, get_identifier).
func (p *Plugin) identifier() func(buf []byte, x *plugin.Exchange) []byte {
	switch p.LimitBy {
	case "ip":
		return appendAddress
	case "consumer":
		return func(buf []byte, x *plugin.Exchange) []byte {
			if x.Consumer != nil {
				return appendUUID(buf, x.Consumer.ID)
			}
			return appendCredential(buf, x)
		}
	case "credential":
		return appendCredential
	case "service":
		return func(buf []byte, x *plugin.Exchange) []byte {
			if x.Service != nil {
				return appendUUID(buf, x.Service.ID)
			}
			return appendAddress(buf, x)
		}
	case "header":
		name := http.CanonicalHeaderKey(p.HeaderName)
		return func(buf []byte, x *plugin.Exchange) []byte {
			if name == "Host" && x.Host() != "" {
				return appendText(buf, x.Host())
			}
			if first, n := x.Lookup(name); n > 0 {
				return appendText(buf, first)
			}
			return appendAddress(buf, x)
		}
	case "path":
		return func(buf []byte, x *plugin.Exchange) []byte {
			if x.URL().EscapedPath() == p.Path {
				return appendText(buf, p.Path)
			}
			return appendAddress(buf, x)
		}
	}
	return nil
}

func appendCredential(buf []byte, x *plugin.Exchange) []byte {
	switch c := x.Credential; {
	case c == nil:
	case c.ID != uuid.Nil:
		return appendUUID(buf, c.ID)
	case c.Identifier != "":
		return appendText(buf, c.Identifier)
	}
	return appendAddress(buf, x)
}

func appendAddress(buf []byte, x *plugin.Exchange) []byte {
	if !x.Client.IsValid() {
		return append(buf, "unix:"...)
	}
	return x.Client.Addr().AppendTo(buf)
}

func appendUUID(buf []byte, id uuid.UUID) []byte {
	for i, end := range [...]int{4, 6, 8, 10, 16} {
		if i > 0 {
			buf = append(buf, '-')
		}
		buf = hex.AppendEncode(buf, id[[...]int{0, 4, 6, 8, 10}[i]:end])
	}
	return buf
}

// longest is how long a text may be that a client chose, in bytes. Counters keep
// a digest of what is longer.
const longest = 256

func appendText(buf []byte, s string) []byte {
	if len(s) > longest {
		sum := sha256.Sum256([]byte(s))
		return hex.AppendEncode(buf, sum[:])
	}
	return append(buf, s...)
}
