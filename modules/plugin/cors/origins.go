package cors

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// origins decide which origin a response is for.
type origins struct {
	any      bool   // no list, or nothing but "*"
	only     string // a single plain one, which all are told; empty: none
	everyone bool   // "*" stands among others
	list     []origin
}

// An origin is one that may ask, or an expression for several.
type origin struct {
	plain  string // normalised; empty: it is an expression
	regex  *regexp.Regexp
	byHost bool // the expression is about the host alone
}

// parseOrigins reads the list as Kong does (kong/plugins/cors/handler.lua).
func parseOrigins(list []string) (o origins, err error) {
	o.any = len(list) == 0 || len(list) == 1 && list[0] == "*"
	if o.any {
		return o, nil
	}
	if len(list) == 1 && plain(list[0]) {
		o.only = list[0]
		return o, nil
	}
	o.everyone = slices.Contains(list, "*")
	for _, text := range list {
		entry := origin{byHost: !strings.Contains(text, ":")}
		switch {
		case text == "*":
			continue
		case plain(text):
			entry.plain, _ = normalise(text)
		default:
			if entry.regex, err = compile(text); err != nil {
				return o, fmt.Errorf("origins: %w", err)
			}
		}
		o.list = append(o.list, entry)
	}
	return o, nil
}

// answer tells which origin the client is to be told, and whether all may ask.
// Neither: the response is for no other origin.
func (o *origins) answer(asking string) (allowed string, everyone bool) {
	switch {
	case o.any:
		return "", true
	case o.only != "":
		return o.only, false
	case asking == "":
		return "", false
	case o.everyone:
		return "", true
	}
	normal, host := normalise(asking)
	for i := range o.list {
		entry := &o.list[i]
		switch {
		case entry.regex == nil && entry.plain == normal,
			entry.regex != nil && entry.byHost && entry.regex.MatchString(host),
			entry.regex != nil && !entry.byHost && entry.regex.MatchString(normal):
			return normal, false
		}
	}
	return "", false
}

// plain reports whether the text cannot be meant as an expression.
func plain(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte(".:/-", c) >= 0:
		default:
			return false
		}
	}
	return text != ""
}

// compile reads an expression, which has to match from begin to end.
func compile(text string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(text); err != nil {
		return nil, err
	}
	text = strings.TrimPrefix(text, "^")
	if trimmed := strings.TrimSuffix(text, "$"); trimmed != text && !strings.HasSuffix(trimmed, `\`) {
		text = trimmed
	}
	return regexp.Compile("^(?:" + text + ")$")
}

// checkOrigin judges an element of the list.
func checkOrigin(text string) string {
	if text != "*" {
		if _, err := compile(text); err != nil {
			return fmt.Sprintf("'%s' is not a valid regex", text)
		}
	}
	return ""
}

// normalise answers the origin without a port that goes without saying, and its
// host. What has no host stays as it is.
func normalise(text string) (normal, host string) {
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		return text, text
	}
	rest, _, _ = strings.Cut(rest, "/")
	host = rest
	port := ""
	if i := strings.LastIndexByte(rest, ':'); i >= 0 && !strings.Contains(rest[i:], "]") {
		host, port = rest[:i], rest[i+1:]
	}
	if host == "" {
		return text, text
	}
	if port == "" || scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		return scheme + "://" + host, host
	}
	return scheme + "://" + host + ":" + port, host
}
