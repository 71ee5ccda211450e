package dns

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config is whom a Resolver asks, and how long it remembers.
type Config struct {
	// Servers are asked in this order, each an address with or without a port.
	// Default: the name servers of ResolvConf.
	Servers []string

	// ResolvConf and Hosts are files. They are read again when they change.
	// Default: /etc/resolv.conf and /etc/hosts.
	ResolvConf, Hosts string

	// Order is which records are asked for, and in which order: SRV, A, AAAA,
	// CNAME, and LAST for the kind that was found the last time. Default: LAST,
	// SRV, A, CNAME.
	Order []string

	// ValidTTL replaces the lifetime that records have. Default: none, they
	// live as long as they say.
	ValidTTL time.Duration

	// StaleTTL is for how long after its lifetime an answer may be used, while a
	// new one is asked for or cannot be had. See NewConfig.
	StaleTTL time.Duration

	// NotFoundTTL and ErrorTTL are how long it is remembered that there is no
	// such name, and that no server knew.
	NotFoundTTL, ErrorTTL time.Duration

	// CacheSize is how many names are remembered.
	CacheSize int
}

// NewConfig has Kong's defaults (kong.conf.default, section DNS resolver).
func NewConfig() Config {
	return Config{
		ResolvConf:  "/etc/resolv.conf",
		Hosts:       "/etc/hosts",
		Order:       []string{"LAST", "SRV", "A", "CNAME"},
		StaleTTL:    time.Hour,
		NotFoundTTL: 30 * time.Second,
		ErrorTTL:    time.Second,
		CacheSize:   10000,
	}
}

// ParseServer reads the address of a name server, with or without a port, and
// answers it with one.
func ParseServer(s string) (string, error) {
	if ip, ok := Literal(s); ok {
		return netip.AddrPortFrom(ip, 53).String(), nil
	}
	host, port, err := net.SplitHostPort(s)
	if err == nil {
		ip, ok := Literal(host)
		if n, err := strconv.ParseUint(port, 10, 16); ok && err == nil && n > 0 {
			return netip.AddrPortFrom(ip, uint16(n)).String(), nil
		}
	}
	return "", fmt.Errorf("%q is not the address of a name server; expected an IP address with or without a port, such as 10.0.0.2:53", s)
}

// ParseOrder reads an order of records, in any case, and answers it in capital
// letters.
func ParseOrder(words []string) ([]string, error) {
	kinds := []string{"LAST", "SRV", "A", "AAAA", "CNAME"}
	var order []string
	for _, w := range words {
		w = strings.ToUpper(w)
		if !slices.Contains(kinds, w) {
			return nil, fmt.Errorf("unknown kind of record %q; expected %s", w, strings.Join(kinds, ", "))
		}
		if !slices.Contains(order, w) {
			order = append(order, w)
		}
	}
	if !slices.ContainsFunc(order, func(w string) bool { return w != "LAST" }) {
		return nil, fmt.Errorf("no kind of record beside LAST; expected one of %s", strings.Join(kinds[1:], ", "))
	}
	return order, nil
}
