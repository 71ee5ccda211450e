// Package firewall keeps the rules of the host's firewall in line with the
// gateway's listeners.
//
// [New] makes a [Plan] of the listeners and of [Settings]: whom each port is open
// to, which traffic is diverted to transparent listeners, and which packets come
// back to the gateway although they are addressed to its clients. A plan is
// written as text for nftables, iptables-restore or pf, and on Linux it can be
// brought into the kernel, compared with it, and taken out again. All rules stand
// in a table, in chains or in an anchor of their own; those of others are left
// alone.
package firewall

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/portcullis-gateway/portcullis/modules/listen"
)

// Settings is what the rules are to do beyond what the listeners say.
type Settings struct {
	// What brings the rules into the kernel: `nftables`, `iptables` in the
	// variant that the host prefers, `iptables-nft` or `iptables-legacy`.
	// Default: `nftables`.
	Backend string `json:"backend,omitempty"`

	// The network interfaces on which the ports of the proxy and of streams are
	// open. Default: all.
	Interfaces []string `json:"interfaces,omitempty"`

	// The networks, as addresses or CIDR ranges, that may use the ports of the
	// proxy and of streams. Default: all.
	Clients []string `json:"clients,omitempty"`

	// The networks that may use the ports of the Admin and the Status API.
	// Default: none but this host.
	Trusted []string `json:"trusted,omitempty"`

	// How many new connections, or UDP sessions, each client may open to the
	// ports of the proxy and of streams, as `<number>/second|minute|hour [burst
	// <number>]`. A client is an IPv4 address or an IPv6 network of 64 bits.
	// Default: no limit.
	Rate string `json:"rate,omitempty"`

	// The traffic through this host that transparent listeners receive. See
	// [ParseIntercept] for the grammar; an example is `tcp dport { 80, 443 }
	// iifname eth1`. Default: none.
	Intercept []string `json:"intercept,omitempty"`

	// The traffic from this host itself that transparent listeners receive, in
	// the same grammar. What the gateway sends is exempt. Default: none.
	InterceptLocal []string `json:"intercept_local,omitempty"`

	// The network interfaces towards upstreams that the gateway talks to with
	// its clients' addresses: answers that come in there are given to the
	// gateway. Default: none.
	ReturnFrom []string `json:"return_from,omitempty"`
}

// The values of Settings.Backend.
const (
	NFTables       = "nftables"
	IPTables       = "iptables"
	IPTablesNFT    = "iptables-nft"
	IPTablesLegacy = "iptables-legacy"
)

// A Listener is one bind of the gateway and the option that it belongs to, such
// as `proxy_listen`.
type Listener struct {
	Option string
	Bind   listen.Bind
}

// private reports whether the listener is for operators only.
func (l Listener) private() bool { return l.Option == "admin_listen" || l.Option == "status_listen" }

// String is the listener as a Caddyfile would say it.
func (l Listener) String() string { return l.Option + " " + l.Bind.String() }

// A Plan is what the rules say, each for one family of addresses.
type Plan struct {
	// Backend is that of the settings.
	Backend string
	// Notes tells an operator what the plan leaves out, in sentences.
	Notes []string

	guards     []guard
	intakes    []intake
	locals     []intake
	returnFrom []string
	rate       rate
}

// A family is an address family.
type family byte

const (
	ip4 family = 4
	ip6 family = 6
)

var families = []family{ip4, ip6}

func (f family) String() string { return fmt.Sprintf("IPv%d", byte(f)) }

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return ip4
	}
	return ip6
}

// A ports is a range of ports; both ends belong to it.
type ports struct{ first, last uint16 }

// A guard says who may use a port of this host.
type guard struct {
	listener Listener
	family   family
	proto    string     // tcp or udp
	addr     netip.Addr // invalid: all addresses of the host
	ports    ports

	limited    bool // to interfaces and from
	interfaces []string
	from       []netip.Prefix // nil with anyone: everybody
	anyone     bool
	rated      bool
	redirected bool // REDIRECT brings traffic here, too
}

// An intake diverts traffic to a transparent listener.
type intake struct {
	text       string // what the operator wrote
	family     family
	proto      string
	ports      []ports
	interfaces []string // nil: all
	from, to   []netip.Prefix
	by         means
	listener   *Listener  // nil by nobody
	at         netip.Addr // where the listener is bound; invalid: everywhere
	port       uint16
}

// A means is how traffic comes to a listener.
type means uint8

const (
	byNobody means = iota // there is no listener, so it is stopped
	byTproxy
	byRedirect
)

// some reports whether one of the intakes has one of the means.
func some(intakes []intake, by ...means) bool {
	return slices.ContainsFunc(intakes, func(in intake) bool { return slices.Contains(by, in.by) })
}

// A reading is what settings say.
type reading struct {
	backend          string
	clients, trusted []netip.Prefix
	rate             rate

	intercepts, locals []Intercept
}

// Check reports the first thing that is wrong with the settings by themselves.
func (s Settings) Check() error {
	_, err := s.read()
	return err
}

func (s Settings) read() (r reading, err error) {
	switch s.Backend {
	case "":
		r.backend = NFTables
	case NFTables, IPTables, IPTablesNFT, IPTablesLegacy:
		r.backend = s.Backend
	default:
		return r, fmt.Errorf("backend: %q: expected %s, %s, %s or %s", s.Backend, NFTables, IPTables, IPTablesNFT, IPTablesLegacy)
	}
	for _, names := range []struct {
		option string
		list   []string
	}{{"interfaces", s.Interfaces}, {"return_from", s.ReturnFrom}} {
		for _, name := range names.list {
			if err := checkInterface(name); err != nil {
				return r, fmt.Errorf("%s: %w", names.option, err)
			}
		}
	}
	if r.clients, err = parsePrefixes("clients", s.Clients); err != nil {
		return r, err
	}
	if r.trusted, err = parsePrefixes("trusted", s.Trusted); err != nil {
		return r, err
	}
	if r.rate, err = parseRate(s.Rate); err != nil {
		return r, fmt.Errorf("rate: %w", err)
	}
	if r.intercepts, err = parseIntercepts("intercept", s.Intercept); err != nil {
		return r, err
	}
	if r.locals, err = parseIntercepts("intercept_local", s.InterceptLocal); err != nil {
		return r, err
	}
	for _, i := range r.locals {
		if len(i.interfaces) > 0 {
			return r, fmt.Errorf("intercept_local: %q: iifname: what this host sends comes in nowhere", i.text)
		}
	}
	return r, nil
}

// New makes a plan, or says what is wrong with the settings.
func New(s Settings, listeners []Listener) (*Plan, error) {
	r, err := s.read()
	if err != nil {
		return nil, err
	}
	p := &Plan{Backend: r.backend, returnFrom: sorted(s.ReturnFrom), rate: r.rate}
	if p.intakes, err = p.divert("intercept", r.intercepts, listeners, false); err != nil {
		return nil, err
	}
	if p.locals, err = p.divert("intercept_local", r.locals, listeners, true); err != nil {
		return nil, err
	}
	for _, l := range listeners {
		switch {
		case l.Bind.Passed():
			p.note("%s: the port belongs to the socket that is passed and is not known here, so there is no rule for it", l)
			continue
		case l.Bind.Port == 0:
			p.note("%s: the system chooses the port, so there is no rule for it", l)
			continue
		case l.Bind.IsLoopback():
			continue // no packet from elsewhere gets there
		}
		g := guard{listener: l, interfaces: sorted(s.Interfaces), from: r.clients, anyone: len(s.Clients) == 0, rated: p.rate.set()}
		g.limited = len(g.interfaces) > 0 || !g.anyone
		if l.private() {
			g = guard{listener: l, from: r.trusted, limited: true}
			if len(r.trusted) == 0 {
				p.note("%s: no other host is let in; trusted names those that should be", l)
			}
		}
		p.guards = append(p.guards, p.expand(g)...)
	}
	for _, l := range listeners {
		if l.Bind.Transparent != "" && l.Bind.Port != 0 && !p.diverted(l) {
			p.note("%s: nothing is diverted to it; intercept says what should be", l)
		}
	}
	return p, nil
}

func (p *Plan) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

// expand makes the guards of a listener: for each transport and family.
func (p *Plan) expand(g guard) (all []guard) {
	b := g.listener.Bind
	g.ports = ports{b.Port, max(b.Port, b.PortEnd)}
	from := g.from
	for _, g.proto = range transports(b) {
		for _, at := range bound(b) {
			g.family, g.addr, g.from = at.family, at.addr, ofFamily(from, at.family)
			g.redirected = slices.ContainsFunc(p.intakes, func(i intake) bool {
				return i.by == byRedirect && *i.listener == g.listener && i.family == g.family
			})
			all = append(all, g)
		}
	}
	return all
}

// transports lists what a bind takes: tcp, udp or both.
func transports(b listen.Bind) (list []string) {
	if !b.UDP {
		list = append(list, "tcp")
	}
	if b.UDP || b.HTTP3 {
		list = append(list, "udp")
	}
	return list
}

// diverted reports whether an intake goes to the listener.
func (p *Plan) diverted(l Listener) bool {
	return slices.ContainsFunc(append(slices.Clone(p.intakes), p.locals...), func(i intake) bool {
		return i.listener != nil && *i.listener == l
	})
}

// A place is where a bind is reached in one family.
type place struct {
	family family
	addr   netip.Addr // invalid: at all addresses
}

// bound lists where a bind is reached. A hostname may be any address.
func bound(b listen.Bind) []place {
	if strings.EqualFold(b.Address, "localhost") {
		return []place{{ip4, netip.AddrFrom4([4]byte{127, 0, 0, 1})}, {ip6, netip.IPv6Loopback()}}
	}
	addr, err := netip.ParseAddr(b.Address)
	switch {
	case err != nil, addr == netip.IPv6Unspecified() && b.IPv6Only == "off":
		return []place{{family: ip4}, {family: ip6}}
	case addr.IsUnspecified():
		return []place{{family: familyOf(addr)}}
	}
	return []place{{familyOf(addr), addr.WithZone("")}}
}

var interfaceName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}$`)

func checkInterface(name string) error {
	if !interfaceName.MatchString(name) {
		return fmt.Errorf("%q is not the name of a network interface", name)
	}
	return nil
}

// parsePrefixes reads addresses and CIDR ranges. The result is never nil.
func parsePrefixes(option string, list []string) ([]netip.Prefix, error) {
	prefixes := []netip.Prefix{}
	for _, text := range list {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			addr, err := netip.ParseAddr(text)
			if err != nil || addr.Zone() != "" {
				return nil, fmt.Errorf("%s: %q: expected an address or a range such as 10.0.0.0/8", option, text)
			}
			addr = addr.Unmap()
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		prefixes = append(prefixes, prefix.Masked())
	}
	return tidy(prefixes), nil
}

// tidy sorts ranges and drops those within others: a set may not have them.
func tidy(prefixes []netip.Prefix) []netip.Prefix {
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	kept := prefixes[:0]
	for _, prefix := range prefixes {
		if len(kept) > 0 && kept[len(kept)-1].Overlaps(prefix) {
			continue // the wider one stands before it
		}
		kept = append(kept, prefix)
	}
	return kept
}

func ofFamily(prefixes []netip.Prefix, f family) []netip.Prefix {
	own := []netip.Prefix{}
	for _, prefix := range prefixes {
		if familyOf(prefix.Addr()) == f {
			own = append(own, prefix)
		}
	}
	return own
}

// sorted answers the distinct names in order.
func sorted(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names)
}
