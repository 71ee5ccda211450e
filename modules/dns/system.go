package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// System asks the system's resolver, which tells no lifetimes: an answer is
// good for 30 seconds.
type System struct{}

// Lookup answers the addresses of a name.
func (System) Lookup(ctx context.Context, name string) (*Answer, error) {
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		var failed *net.DNSError
		if errors.As(err, &failed) {
			return nil, &Error{Name: name, Reason: failed.Err, NotFound: failed.IsNotFound}
		}
		return nil, &Error{Name: name, Reason: err.Error()}
	}
	kind, records := "AAAA", []Record(nil)
	for _, addr := range addrs {
		addr = addr.Unmap()
		if addr.Is4() && kind == "AAAA" {
			kind, records = "A", nil
		}
		if addr.Is4() == (kind == "A") {
			records = append(records, Record{IP: addr})
		}
	}
	return NewAnswer(kind, records, time.Now().Add(30*time.Second)), nil
}

// Literal reads a name that is an address, with or without brackets.
func Literal(name string) (netip.Addr, bool) {
	if n := len(name); n > 2 && name[0] == '[' && name[n-1] == ']' {
		name = name[1 : n-1]
	}
	ip, err := netip.ParseAddr(name)
	return ip.Unmap(), err == nil
}
