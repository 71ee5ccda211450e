// Package router finds the route that a request takes.
//
// It gives the answers of Kong's router flavor "traditional_compatible", which
// tries all routes in the order of a 64-bit priority and takes the first that
// fits (see [Priority]). Here an index proposes the few routes that can fit,
// and the priority decides between them, so the cost of a match does not
// depend on the number of routes, nor does that of adding or removing one.
package router

import (
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// Request is what a route is chosen by. To fill it costs nothing: all fields
// are what an HTTP server has at hand.
type Request struct {
	// Method is compared as it is, upper and lower case included.
	Method string

	// Host is the raw Host header, with its port if it has one. Empty means
	// that the request has none.
	Host string

	// Path is the path in normal form; see entity.NormalizePath.
	Path string

	// Header is in the canonical form of net/http.
	Header http.Header

	// TLS tells that the connection is encrypted, and SNI the server name
	// that the client asked for, if any.
	TLS bool
	SNI string

	// Source is the client's address, Destination the one that it connected
	// to, with the port as seen from outside (after port_maps). A port in
	// Host takes the place of the destination's for hosts that name a port.
	Source, Destination netip.AddrPort
}

// Match is the outcome of routing a request.
type Match[V any] struct {
	// Value is what was given to Add along with the route, as the index keeps
	// it.
	Value *V

	Path
}

// Path is what a route found in the path of a request.
type Path struct {
	// Prefix is the part that a path of the route matched, which is what
	// strip_path removes: a prefix, or all that a regular expression took.
	// It is empty if the route has no paths.
	Prefix string

	// Captures are the groups of the regular expression that matched.
	Captures Captures
}

// Captures are what the groups of a regular expression took. Groups that took
// no part in the match are absent, which is not the same as empty.
type Captures struct {
	re   *regexp.Regexp
	path string
	loc  []int
}

// Len answers the number of groups, whether or not they took part; 0 if the
// path was not matched by a regular expression.
func (c Captures) Len() int {
	if c.re == nil {
		return 0
	}
	return c.re.NumSubexp()
}

// Group answers the text of the i-th group, counted from 1.
func (c Captures) Group(i int) (string, bool) {
	if i < 1 || i > c.Len() || c.loc[2*i] < 0 {
		return "", false
	}
	return c.path[c.loc[2*i]:c.loc[2*i+1]], true
}

// Named answers the text of the group with the name given.
func (c Captures) Named(name string) (string, bool) {
	if c.re == nil || name == "" {
		return "", false
	}
	return c.Group(c.re.SubexpIndex(name))
}

// Names answers the names of the groups by their number; group 0 and those
// without a name have an empty one. It is not to be written to.
func (c Captures) Names() []string {
	if c.re == nil {
		return nil
	}
	return c.re.SubexpNames()
}

// anyPort stands for a host that names no port. It is not a port number.
const anyPort = 1 << 16

// splitHost takes a host apart at its first colon, if a number follows; else
// the port is anyPort. Kong reads Host headers and the hosts of routes this
// way (split_host_port in kong/router/transform.lua), so an IPv6 literal is
// never taken apart.
func splitHost(s string) (host string, port uint32) {
	host, digits, found := strings.Cut(s, ":")
	if !found {
		return s, anyPort
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return s, anyPort
		}
	}
	if digits == "" {
		return s, anyPort
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return host, noPort
	}
	return host, uint32(n)
}

// noPort stands for a number that is no port: no host has it.
const noPort = anyPort + 1
