package router

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/textproto"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// conditions are what a route asks of a request beyond what the index knows by
// place: hosts, and paths that are prefixes. Methods stay in the route.
type conditions struct {
	snis                  []string
	headers               []headerCondition
	sources, destinations []endpoint
	patterns              []*pattern // one of them has to match
}

// newConditions compiles the conditions of a route, without its paths; nil if
// there are none.
func newConditions(r *entity.Route) (*conditions, error) {
	if len(r.SNIs) == 0 && len(r.Headers) == 0 && len(r.Sources) == 0 && len(r.Destinations) == 0 {
		return nil, nil
	}
	c := &conditions{snis: serverNames(r.SNIs)}
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		h, err := newHeaderCondition(name, r.Headers[name])
		if err != nil {
			return nil, err
		}
		c.headers = append(c.headers, h)
	}
	var err error
	if c.sources, err = newEndpoints("sources", r.Sources); err != nil {
		return nil, err
	}
	c.destinations, err = newEndpoints("destinations", r.Destinations)
	return c, err
}

// serverNames are the names of a route's snis without the dot that may end them.
func serverNames(snis []string) []string {
	var names []string
	for _, name := range snis {
		if len(name) > 1 && !strings.HasSuffix(name, "*") {
			name = strings.TrimSuffix(name, ".")
		}
		names = append(names, name)
	}
	return names
}

// hold reports whether the request meets the conditions, from the cheap ones
// to the dear ones.
func (c *conditions) hold(r *Request) bool {
	if len(c.snis) > 0 && r.TLS && !fitsAny(c.snis, r.SNI) {
		return false
	}
	if len(c.sources) > 0 && !within(c.sources, r.Source) {
		return false
	}
	if len(c.destinations) > 0 && !within(c.destinations, r.Destination) {
		return false
	}
	for i := range c.headers {
		if !c.headers[i].holds(r.Header) {
			return false
		}
	}
	return len(c.patterns) == 0 || c.pattern(r.Path) != nil
}

// pattern answers the first pattern that matches the path, or nil.
func (c *conditions) pattern(path string) *pattern {
	for _, p := range c.patterns {
		if p.matches(path) {
			return p
		}
	}
	return nil
}

// fitsAny reports whether one of the patterns of a server name fits. No name
// fits none.
func fitsAny(patterns []string, name string) bool {
	if name == "" {
		return false
	}
	for _, p := range patterns {
		if fits(p, name) {
			return true
		}
	}
	return false
}

// fits reports whether a name is what the pattern, with a "*" at one end or
// none, says.
func fits(pattern, name string) bool {
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(name, suffix)
	}
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(name, prefix)
	}
	return name == pattern
}

// A headerCondition holds if a value of the header, in lower case, is one of
// the values given or matches one of the regular expressions.
type headerCondition struct {
	name     string   // as the route has it
	keys     []string // canonical; of those that a request has, the first counts
	values   []string // lower case
	patterns []*regexp.Regexp
}

func newHeaderCondition(name string, values []string) (headerCondition, error) {
	h := headerCondition{name: name, keys: headerKeys(name)}
	for i, v := range values {
		expr, isRegex := strings.CutPrefix(v, "~*")
		if !isRegex {
			h.values = append(h.values, strings.ToLower(v))
			continue
		}
		// Kong lowers the text of the expression as well, so "\S" means "\s".
		re, err := regexp.Compile(strings.ToLower(expr))
		if err != nil {
			return h, fmt.Errorf("headers.%s[%d]: %w", name, i, regexError(err))
		}
		h.patterns = append(h.patterns, re)
	}
	return h, nil
}

// headerKeys answers where to look for a header. Names of variables in nginx
// know no dashes, so for Kong "x-tenant" and "x_tenant" are one name, under
// which it looks for the spelling with underscores first.
func headerKeys(name string) []string {
	var keys []string
	for _, spelling := range []string{strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(name, "_", "-"), name} {
		if key := textproto.CanonicalMIMEHeaderKey(spelling); !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

func (h *headerCondition) holds(header http.Header) bool {
	for _, v := range lookUp(header, h.keys) {
		for _, want := range h.values {
			if lowersTo(v, want) {
				return true
			}
		}
		for _, re := range h.patterns {
			if re.MatchString(strings.ToLower(v)) {
				return true
			}
		}
	}
	return false
}

// lookUp answers the values under the first of the keys that has some.
func lookUp(header http.Header, keys []string) []string {
	for _, key := range keys {
		if v := header[key]; len(v) > 0 {
			return v
		}
	}
	return nil
}

// lowersTo reports whether s in lower case is want.
func lowersTo(s, want string) bool {
	for i := range len(s) {
		c := s[i]
		if c >= 0x80 {
			return strings.ToLower(s) == want
		}
		if i >= len(want) || lower(c) != want[i] {
			return false
		}
	}
	return len(s) == len(want)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// An endpoint is one item of a route's sources or destinations.
type endpoint struct {
	addresses netip.Prefix // not valid: any address
	port      uint16       // 0: any port
}

func newEndpoints(field string, items []entity.Endpoint) ([]endpoint, error) {
	var list []endpoint
	for i, item := range items {
		e := endpoint{port: uint16(item.Port)}
		if item.Port < 0 || item.Port > 65535 {
			return nil, fmt.Errorf("%s[%d].port: %d is not a port", field, i, item.Port)
		}
		if item.IP != "" {
			var ok bool
			if e.addresses, ok = parseAddresses(item.IP); !ok {
				return nil, fmt.Errorf("%s[%d].ip: %q is neither an address nor a CIDR range", field, i, item.IP)
			}
		}
		list = append(list, e)
	}
	return list, nil
}

// parseAddresses reads an address or a CIDR range, whose host bits do not
// matter.
func parseAddresses(s string) (netip.Prefix, bool) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		return p, err == nil
	}
	a, err := netip.ParseAddr(s)
	a = a.Unmap().WithZone("")
	return netip.PrefixFrom(a, a.BitLen()), err == nil
}

// within reports whether one of the items has the address and the port.
func within(items []endpoint, at netip.AddrPort) bool {
	address := at.Addr().Unmap().WithZone("")
	for _, e := range items {
		if (e.port == 0 || e.port == at.Port()) && (!e.addresses.IsValid() || e.addresses.Contains(address)) {
			return true
		}
	}
	return false
}

// regexError says what is wrong with a regular expression in one sentence.
func regexError(err error) error {
	if e, ok := err.(*syntax.Error); ok {
		return fmt.Errorf("not a valid regex: %s: %q", e.Code, e.Expr)
	}
	return fmt.Errorf("not a valid regex: %w", err)
}
