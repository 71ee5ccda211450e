package entity

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Hosts as Kong reads them (kong/tools/ip.lua): what kind of host a text is
// follows from its shape alone, and then it is a valid one of that kind or
// none at all.

type hostKind int

const (
	hostName hostKind = iota
	hostIPv4
	hostIPv6
)

// hostPort is a host with an optional port.
type hostPort struct {
	kind    hostKind
	host    string // a name as it was, or an address in its normal form
	port    int
	hasPort bool
}

var errPort = errors.New("invalid port number")

// parseHost reads name, name:port, IPv4, IPv4:port, IPv6, [IPv6] and
// [IPv6]:port. Its errors are Kong's messages.
func parseHost(s string) (hostPort, error) {
	switch colons := strings.Count(s, ":"); {
	case colons > 1:
		return parseIPv6(s)
	case digitsAndDots(s):
		return parseIPv4(s)
	}
	return parseName(s)
}

func digitsAndDots(s string) bool {
	n := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == ':':
		case c == '.', '0' <= c && c <= '9':
			n++
		default:
			return false
		}
	}
	return n > 0
}

func parseIPv4(s string) (hostPort, error) {
	bad := errors.New("invalid ipv4 address: " + s)
	address, port, hasPort := strings.Cut(s, ":")
	parts := strings.Split(address, ".")
	if len(parts) != 4 || hasPort && port == "" {
		return hostPort{}, bad
	}
	var octets [4]byte
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 8) // leading zeros are decimal
		if err != nil || len(p) > 3 {
			return hostPort{}, bad
		}
		octets[i] = byte(n)
	}
	h := hostPort{kind: hostIPv4, host: netip.AddrFrom4(octets).String(), hasPort: hasPort}
	if hasPort {
		n, err := parsePort(port)
		if err != nil {
			return hostPort{}, err
		}
		h.port = n
	}
	return h, nil
}

func parseIPv6(s string) (hostPort, error) {
	address, rest := s, ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return hostPort{}, errors.New("invalid ipv6 address: " + s)
		}
		address, rest = s[1:end], s[end+1:]
	}
	h := hostPort{kind: hostIPv6}
	if rest != "" {
		port, ok := strings.CutPrefix(rest, ":")
		if !ok || port == "" || !digits(port) {
			return hostPort{}, errors.New("invalid ipv6 address")
		}
		n, err := parsePort(port)
		if err != nil {
			return hostPort{}, err
		}
		h.port, h.hasPort = n, true
	}
	a, err := netip.ParseAddr(address)
	if err != nil || !a.Is6() || a.Zone() != "" || strings.Contains(address, ".") {
		return hostPort{}, errors.New("invalid ipv6 address: " + s)
	}
	h.host = a.StringExpanded()
	return h, nil
}

func parseName(s string) (hostPort, error) {
	bad := errors.New("invalid hostname: " + s)
	h := hostPort{kind: hostName, host: s}
	if name, port, ok := strings.Cut(s, ":"); ok && port != "" && digits(port) {
		n, err := parsePort(port)
		if err != nil {
			return hostPort{}, err
		}
		h.host, h.port, h.hasPort = name, n, true
	}
	if h.host == "" {
		return hostPort{}, bad
	}
	for i := range len(h.host) {
		if c := h.host[i]; !alphanumeric(c) && c != '-' && c != '.' && c != '_' {
			return hostPort{}, bad
		}
	}
	rest, last := h.host, false
	for !last {
		var label string
		var more bool
		label, rest, more = strings.Cut(rest, ".")
		last = !more
		if strings.HasSuffix(label, "-") || label == "" && !last || label == "" && label == h.host {
			return hostPort{}, bad
		}
	}
	return h, nil
}

func parsePort(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, errPort
	}
	return int(n), nil
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// checkHost wants a name or an address without a port.
func checkHost(s string) string {
	h, err := parseHost(s)
	switch {
	case err == errPort, err == nil && h.hasPort:
		return "must not have a port"
	case err != nil:
		return "invalid value: " + s
	}
	return ""
}

// checkHostPort wants a name or an address, with or without a port.
func checkHostPort(s string) string {
	if _, err := parseHost(s); err != nil {
		return err.Error()
	}
	return ""
}

// checkSNI wants a name.
func checkSNI(s string) string {
	h, err := parseHost(s)
	switch {
	case err != nil && err != errPort:
		return "invalid value: " + s
	case err == nil && h.kind != hostName:
		return "must not be an IP"
	case err == errPort || h.hasPort:
		return "must not have a port"
	}
	return ""
}

// checkWildcardHost wants a name that may start or end with "*".
func checkWildcardHost(s string) string {
	i := strings.IndexByte(s, '*')
	if i < 0 {
		return checkSNI(s)
	}
	if i != 0 && i != len(s)-1 {
		return "wildcard must be leftmost or rightmost character"
	}
	if strings.Count(s, "*") > 1 {
		return "only one wildcard must be specified"
	}
	if msg := checkSNI(strings.Replace(s, "*", "wildcard", 1)); msg != "" {
		return strings.Replace(msg, "wildcard", "*", 1)
	}
	return ""
}

// checkSource wants the word client, an address or a range of addresses.
func checkSource(s string) string {
	if s == "client" || checkIPOrCIDR(s) == "" {
		return ""
	}
	return "expected client, an ip address or a cidr range, got '" + s + "'"
}

// checkIPOrCIDR wants an address or a range of addresses.
func checkIPOrCIDR(s string) string {
	address, bits, isRange := strings.Cut(s, "/")
	a, err := netip.ParseAddr(address)
	ok := err == nil && a.Zone() == ""
	if ok && isRange {
		n, err := strconv.Atoi(bits)
		ok = err == nil && n >= 0 && n <= a.BitLen() && strconv.Itoa(n) == bits
	}
	if !ok {
		return "invalid ip or cidr range: '" + s + "'"
	}
	return ""
}

// NormalTarget answers the form in which a target's address is stored: with a
// port, 8000 if there is none, addresses in normal form, and IPv6 expanded in
// brackets. What is no address stays as it is.
func NormalTarget(s string) string {
	const defaultPort = 8000
	h, err := parseHost(s)
	if err != nil {
		return s
	}
	if !h.hasPort {
		h.port = defaultPort
	}
	if h.kind == hostIPv6 {
		return fmt.Sprintf("[%s]:%d", h.host, h.port)
	}
	return h.host + ":" + strconv.Itoa(h.port)
}
