// Package listen opens the sockets that Kong's listen lines describe.
//
// A line such as
//
//	0.0.0.0:8000 reuseport backlog=16384, 0.0.0.0:8443 http2 ssl
//
// becomes a list of [Bind], and a Bind becomes [Socket] values on which every
// flag has really been set. The package also knows which of this process's
// sockets are private (see [MarkPrivate]), so that a proxy can refuse to
// connect to them.
package listen

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/portcullis-gateway/portcullis/transparent"
)

// Bind is one entry of a listen line: an address and its flags.
//
// Binds are plain values: two of them are equal (==) if they ask for the same
// socket with the same flags, so a Bind may be the key of a map.
type Bind struct {
	// The IPv4 or IPv6 address (without brackets) or the hostname to listen
	// on. A hostname stands for all of its addresses. `fd/3` and `fd/<name>`
	// stand for sockets that the process was given by systemd or the like.
	Address string `json:"address"`

	// The TCP (or UDP) port. 0 lets the system choose a free one; it is that
	// of sockets that the process was given.
	Port uint16 `json:"port"`

	// The last port of a range that begins with `port`; streams only. Each port
	// gets sockets of its own. Default: no range.
	PortEnd uint16 `json:"port_end,omitempty"`

	// Whether clients must speak TLS. Default: false.
	SSL bool `json:"ssl,omitempty"`

	// Whether HTTP/2 is spoken beside HTTP/1.1: negotiated by ALPN with `ssl`,
	// by prior knowledge (h2c) without. Default: false.
	HTTP2 bool `json:"http2,omitempty"`

	// Whether HTTP/3 is spoken on the UDP port of the same number, and offered
	// to clients of the other protocols (`Alt-Svc`); `ssl` on the proxy only.
	// Default: false.
	HTTP3 bool `json:"http3,omitempty"`

	// Whether each connection must begin with a PROXY protocol header, version
	// 1 or 2. Default: false.
	ProxyProtocol bool `json:"proxy_protocol,omitempty"`

	// Whether the system should hold a connection back until its first bytes
	// have arrived (`TCP_DEFER_ACCEPT`, Linux). Default: false.
	Deferred bool `json:"deferred,omitempty"`

	// Asks for a socket of its own for this address. Every bind gets one here,
	// so the flag changes nothing. Default: false.
	Bind bool `json:"bind,omitempty"`

	// Whether to open one accepting socket for each processor (GOMAXPROCS) and
	// let the system spread connections over them. Default: false, one socket.
	ReusePort bool `json:"reuseport,omitempty"`

	// How many connections may wait to be accepted, for each socket. The
	// system may cap it (Linux: `net.core.somaxconn`). Default: the system's
	// cap.
	Backlog int `json:"backlog,omitempty"`

	// `on` or `off`: whether an IPv6 wildcard leaves IPv4 alone. Default: `on`,
	// so `[::]:8000` and `0.0.0.0:8000` can stand side by side.
	IPv6Only string `json:"ipv6only,omitempty"`

	// TCP keep-alive of accepted connections: `on`, `off` or
	// `[idle]:[intvl]:[cnt]`. Default: on, first probe after 15 seconds.
	SoKeepalive KeepAlive `json:"so_keepalive,omitzero"`

	// Whether to listen for datagrams instead of connections; streams only.
	// Default: false.
	UDP bool `json:"udp,omitempty"`

	// Which connections to accept that were addressed to others and that a
	// firewall has diverted here: `tproxy` (Linux; needs the capability
	// CAP_NET_RAW or CAP_NET_ADMIN), `redirect` (REDIRECT, DNAT; not of
	// datagrams), or `on` for both. Their local address is the one that the client asked for, and routes
	// match it with `destinations`. Default: none; such connections look as if
	// this listener had been asked for.
	Transparent string `json:"transparent,omitempty"`

	// Whether to refuse connections that were addressed to this listener
	// itself; `transparent` only. Default: false.
	Intercepted bool `json:"intercepted,omitempty"`
}

// String gives the bind back as an entry of a listen line: the address, then
// the flags in Kong's order.
func (b Bind) String() string {
	words := []string{b.HostPort()}
	for _, f := range flags {
		if word := f.word(b); word != "" {
			words = append(words, word)
		}
	}
	return strings.Join(words, " ")
}

// HostPort is the bind's address and port alone, an IPv6 address in brackets.
func (b Bind) HostPort() string {
	if b.Passed() {
		return b.Address
	}
	ports := strconv.Itoa(int(b.Port))
	if b.PortEnd != 0 {
		ports += "-" + strconv.Itoa(int(b.PortEnd))
	}
	return net.JoinHostPort(b.Address, ports)
}

// lastPort is the last one of the bind's range.
func (b Bind) lastPort() uint16 { return max(b.Port, b.PortEnd) }

// Each yields the bind for each port of its range, or itself if it has none.
func (b Bind) Each(yield func(Bind) bool) {
	last := int(b.lastPort())
	b.PortEnd = 0
	for port := int(b.Port); port <= last; port++ {
		b.Port = uint16(port)
		if !yield(b) {
			return
		}
	}
}

// Validate reports the first thing that is wrong with a bind that did not come
// from [Parse], for example from JSON. The error begins with option, which is
// the name of the list the bind stands in.
func (b Bind) Validate(option string, set FlagSet) error {
	if err := b.validate(set); err != nil {
		return fmt.Errorf("%s: %q: %w", option, b, err)
	}
	return nil
}

func (b Bind) validate(set FlagSet) error {
	if _, err := canonicalHost(b.Address); err != nil {
		return err
	}
	if err := b.validateRange(set); err != nil {
		return err
	}
	if err := b.validatePassed(); err != nil {
		return err
	}
	for _, f := range flags {
		if word := f.word(b); word == "" {
			continue
		} else if f.sets&set == 0 {
			return unknownFlag(word, set)
		} else if err := f.set(new(Bind), f.value(word)); err != nil {
			return err
		}
	}
	if b.Intercepted && b.Transparent == "" {
		return fmt.Errorf("flag \"intercepted\": only together with \"transparent\"")
	}
	if b.HTTP3 && !b.SSL {
		return fmt.Errorf("flag \"http3\": only together with \"ssl\", as HTTP/3 has no form without TLS")
	}
	if b.HTTP3 && b.ProxyProtocol {
		return fmt.Errorf("flags \"http3\" and \"proxy_protocol\" exclude each other")
	}
	for _, datagrams := range []struct {
		name string
		set  bool
	}{{"http3", b.HTTP3}, {"udp", b.UDP}} {
		if datagrams.set && b.Transparent == "redirect" {
			return fmt.Errorf("flags %q and \"transparent=redirect\" exclude each other, as REDIRECT and DNAT leave no trace of where a datagram was sent to; "+
				"want transparent or transparent=tproxy", datagrams.name)
		}
	}
	for _, other := range []struct {
		name string
		set  bool
	}{{"ssl", b.SSL}, {"proxy_protocol", b.ProxyProtocol}} {
		if b.UDP && other.set {
			return fmt.Errorf("flags \"udp\" and %q exclude each other", other.name)
		}
	}
	return nil
}

func (b Bind) validateRange(set FlagSet) error {
	switch {
	case b.PortEnd == 0:
		return nil
	case set&Stream == 0:
		return fmt.Errorf("ports %d-%d: ranges are only for stream_listen", b.Port, b.PortEnd)
	case b.Port == 0 || b.PortEnd <= b.Port:
		return fmt.Errorf("ports %d-%d: want the lower port first, from 1 on", b.Port, b.PortEnd)
	}
	return nil
}

// modes are the ways of interception that the bind serves.
func (b Bind) modes() transparent.Modes {
	switch b.Transparent {
	case "":
		return 0
	case "on":
		return transparent.AllModes
	}
	m, _ := transparent.ParseModes(b.Transparent)
	return m
}

// IsLoopback reports whether only this host can reach the bind. A hostname
// other than `localhost` is not looked up, and counts as reachable.
func (b Bind) IsLoopback() bool {
	addrs := b.literals()
	return len(addrs) > 0 && !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return !a.IsLoopback() })
}

// literals returns the addresses that are known without asking a resolver.
func (b Bind) literals() []netip.Addr {
	if strings.EqualFold(b.Address, "localhost") {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	if addr, err := netip.ParseAddr(b.Address); err == nil {
		return []netip.Addr{addr.Unmap()}
	}
	return nil
}

// dualStack reports whether the bind is an IPv6 wildcard that takes IPv4
// connections as well.
func (b Bind) dualStack() bool {
	addr, err := netip.ParseAddr(b.Address)
	return err == nil && addr == netip.IPv6Unspecified() && b.IPv6Only == "off"
}

// Line joins binds to a listen line that [Parse] reads back; no binds are
// "off".
func Line(binds []Bind) string {
	if len(binds) == 0 {
		return "off"
	}
	entries := make([]string, len(binds))
	for i, b := range binds {
		entries[i] = b.String()
	}
	return strings.Join(entries, ", ")
}

// Conflicts reports the first two binds that ask for one address. A wildcard and a particular
// address of one port do not conflict, as the system prefers the latter.
func Conflicts(binds ...Bind) error {
	for i, b := range binds {
		for _, a := range binds[:i] {
			if a.sameAddress(b) {
				return fmt.Errorf("%q and %q ask for the same address", a, b)
			}
		}
	}
	return nil
}

func (b Bind) sameAddress(o Bind) bool {
	if b.Passed() || o.Passed() {
		return b.Address == o.Address && b.UDP == o.UDP
	}
	if b.Port == 0 || o.Port == 0 || b.Port > o.lastPort() || o.Port > b.lastPort() || !b.sameTransport(o) {
		return false
	}
	if strings.EqualFold(b.Address, o.Address) {
		return true
	}
	mine, theirs := b.literals(), o.literals()
	if slices.ContainsFunc(mine, func(a netip.Addr) bool { return slices.Contains(theirs, a) }) {
		return true
	}
	any4 := netip.IPv4Unspecified()
	return b.dualStack() && slices.Contains(theirs, any4) || o.dualStack() && slices.Contains(mine, any4)
}

// sameTransport reports whether both binds take connections, or both take
// datagrams.
func (b Bind) sameTransport(o Bind) bool {
	return !b.UDP && !o.UDP || (b.UDP || b.HTTP3) && (o.UDP || o.HTTP3)
}

// ShareHTTP2 returns binds with `http2` on all of them if one has it. Kong
// writes the flag once for a whole server (`http2 on;` in nginx), so with its
// default line the plain port 8000 speaks h2c because 8443 has `http2`.
func ShareHTTP2(binds []Bind) []Bind {
	binds = slices.Clone(binds)
	if slices.ContainsFunc(binds, func(b Bind) bool { return b.HTTP2 }) {
		for i := range binds {
			binds[i].HTTP2 = true
		}
	}
	return binds
}
