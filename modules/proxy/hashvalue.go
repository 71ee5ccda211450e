package proxy

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
)

// HashValue implements balancer.Facts: what consistent hashing goes by
// (kong/runloop/balancer/init.lua, get_value_to_hash). A cookie that the client
// does not have yet is made up, and set by the response.
func (x *exchange) HashValue(k balancer.KeySource) (string, bool) {
	switch k.On {
	case "ip":
		return x.clientIP(), true
	case "header":
		values := x.head.Values(k.Name)
		return strings.Join(values, ", "), len(values) > 0
	case "cookie":
		x.header()
		if c, err := x.r.Cookie(k.Name); err == nil {
			return c.Value, true
		}
		x.cookie = uuid.NewString()
		return x.cookie, true
	case "path":
		return x.routing.Path, true
	case "query_arg":
		return queryArgument(x.query, k.Name)
	case "uri_capture":
		if n, err := strconv.Atoi(k.Name); err == nil {
			return x.match.Captures.Group(n)
		}
		return x.match.Captures.Named(k.Name)
	case "consumer":
		switch p := x.plugins; {
		case p == nil:
		case p.Consumer != nil:
			return p.Consumer.ID.String(), true
		case p.Credential != nil:
			return p.Credential.ID.String(), true
		}
	}
	return "", false
}

// hashCookie is the Set-Cookie that gives the client the cookie that was made up
// for it; empty: none was. The spelling is Kong's.
func (x *exchange) hashCookie() string {
	if x.cookie == "" {
		return ""
	}
	u := x.upstream()
	return u.HashOnCookie + "=" + x.cookie + "; Path=" + u.HashOnCookiePath + "; Same-Site=Lax; HttpOnly"
}

// queryArgument is the value of an argument: "true" if it has none, and all of
// them, sorted, if there are several. A query may begin with its "?".
func queryArgument(query, name string) (string, bool) {
	var values []string
	for pair := range strings.SplitSeq(strings.TrimPrefix(query, "?"), "&") {
		key, value, has := strings.Cut(pair, "=")
		if unescape(key) != name || pair == "" {
			continue
		}
		if !has {
			value = "true"
		}
		values = append(values, unescape(value))
	}
	slices.Sort(values)
	return strings.Join(values, ","), len(values) > 0
}

// unescape decodes a word of a query; one that cannot be is left as it is.
func unescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

// Interface guard
var _ balancer.Facts = (*exchange)(nil)
