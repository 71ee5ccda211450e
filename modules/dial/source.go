package dial

import (
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"github.com/portcullis-gateway/portcullis/transparent"
)

// Client is the word for the client's own address among the source addresses of
// a service.
const Client = "client"

// Sources are the addresses that connections to a service may come from.
type Sources struct {
	client bool
	fixed  []netip.Prefix
}

// ParseSources reads a list of source addresses: the word "client", addresses
// of this host, and ranges of such. Of an empty list it answers nil: the system
// chooses.
func ParseSources(list []string) (*Sources, error) {
	if len(list) == 0 {
		return nil, nil
	}
	s := new(Sources)
	for _, item := range list {
		if item == Client {
			s.client = true
			continue
		}
		p, err := ParseRange(item)
		if err != nil {
			return nil, fmt.Errorf("%q is no source address; expected client, an IP address of this host, or a range of such", item)
		}
		s.fixed = append(s.fixed, p)
	}
	return s, nil
}

// ParseRange reads an IP address or a CIDR range.
func ParseRange(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		if p, err := netip.ParsePrefix(s); err == nil {
			return p.Masked(), nil
		}
	} else if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	return netip.Prefix{}, fmt.Errorf("expected an IP address or a CIDR range, got %q", s)
}

// Foreign reports whether connections may come from addresses that are not this
// host's, for which the process needs a capability.
func (s *Sources) Foreign() bool { return s != nil && s.client }

// A Source is the address that a connection comes from. The zero value leaves it
// to the system.
type Source struct {
	Addr    netip.Addr
	Foreign bool // not one of this host's
}

// A SourceError says that a connection could not be made because of the address
// that it was to come from. It is no fault of the server.
type SourceError struct {
	Source  netip.Addr // may be invalid
	Address string     // that was to be connected to
	Reason  string
	Err     error // may be nil
}

// Error tells all of it.
func (e *SourceError) Error() string {
	text := fmt.Sprintf("connecting to %s", e.Address)
	if e.Source.IsValid() {
		text += " from " + e.Source.String()
	}
	text += ": " + e.Reason
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *SourceError) Unwrap() error { return e.Err }

// For chooses the source of a connection to an IP address and port. The client's
// address comes first, if it is among the sources and of the same family. Else it is
// one of the fixed ones of that family: the client's address decides which, so that
// a client is always seen with the same one; but each further try, counted from
// 0, takes the next. A client on this host has no address that another host could
// answer to when it is a loopback one; then the system chooses.
func (s *Sources) For(address string, client netip.Addr, try int) (Source, error) {
	if s == nil {
		return Source{}, nil
	}
	dst, err := netip.ParseAddrPort(address)
	if err != nil {
		return Source{}, &SourceError{Address: address, Reason: "the address is none of IP"}
	}
	four := dst.Addr().Unmap().Is4()
	client = client.Unmap().WithZone("")
	if s.client && client.IsValid() && client.Is4() == four {
		switch {
		case client.IsLoopback() && !dst.Addr().Unmap().IsLoopback():
			return Source{}, nil
		case transparent.IsHostAddress(client):
			return Source{Addr: client}, nil
		}
		return Source{Addr: client, Foreign: true}, nil
	}
	if ip, ok := s.choose(four, hashOf(client)+uint64(try)); ok {
		return Source{Addr: ip}, nil
	}
	family := "IPv6"
	if four {
		family = "IPv4"
	}
	return Source{}, &SourceError{Address: address, Reason: "source_addresses has none of " + family + " for it"}
}

var seed = maphash.MakeSeed()

func hashOf(ip netip.Addr) uint64 { return maphash.Comparable(seed, ip) >> 1 }

// choose takes one of the addresses of a family: n says which, first of the
// list, then of the range.
func (s *Sources) choose(four bool, n uint64) (netip.Addr, bool) {
	count := uint64(0)
	for _, p := range s.fixed {
		if p.Addr().Is4() == four {
			count++
		}
	}
	if count == 0 {
		return netip.Addr{}, false
	}
	at := n % count
	for _, p := range s.fixed {
		if p.Addr().Is4() != four {
			continue
		}
		if at == 0 {
			return within(p, n/count), true
		}
		at--
	}
	return netip.Addr{}, false
}

// within is the nth address of a range, counted around it. Of a range of more
// than 2^32 addresses, the first ones are used.
func within(p netip.Prefix, n uint64) netip.Addr {
	free := min(32, p.Addr().BitLen()-p.Bits())
	n &= 1<<free - 1
	b := p.Addr().AsSlice()
	for i := len(b) - 1; n > 0; i-- {
		b[i] |= byte(n)
		n >>= 8
	}
	ip, _ := netip.AddrFromSlice(b)
	return ip
}

// failed explains an error that has to do with the source.
func (s Source) failed(address string, err error) error {
	var denied *transparent.PrivilegeError
	if errors.As(err, &denied) {
		return &SourceError{s.Addr, address, "the client's address cannot be used", denied}
	}
	if !errors.Is(err, syscall.EADDRNOTAVAIL) && !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	var call *os.SyscallError
	if errors.As(err, &call) && call.Syscall == "bind" && errors.Is(err, syscall.EADDRNOTAVAIL) {
		return &SourceError{s.Addr, address, "it is not an address of this host", nil}
	}
	return &SourceError{s.Addr, address, "all ports of this source address are in use for it", err}
}

// tcp and udp are the address in the form of net.Dialer; nil for the zero value.
func (s Source) tcp() net.Addr {
	if !s.Addr.IsValid() {
		return nil
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(s.Addr, 0))
}

func (s Source) udp() net.Addr {
	if !s.Addr.IsValid() {
		return nil
	}
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.Addr, 0))
}
