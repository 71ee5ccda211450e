package dial

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/listen"
)

func prefixes(texts ...string) (ps []netip.Prefix) {
	for _, s := range texts {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

func TestGuard_refusesWhatOnlyTheGatewayReaches(t *testing.T) {
	own := hostAddress(t)
	for _, tt := range []struct {
		name string
		to   string
		want string // a part of the reason; empty: it is dialled
	}{
		{"somebody else", "198.51.100.7:80", ""},
		{"somebody else, v6", "[2001:db8::7]:443", ""},
		{"a private network", "10.1.2.3:5432", ""},
		{"loopback", "127.0.0.1:22", "loopback"},
		{"the end of loopback", "127.255.255.254:22", "loopback"},
		{"loopback v6", "[::1]:22", "loopback"},
		{"loopback, v4-mapped", "[::ffff:127.0.0.1]:22", "loopback"},
		{"unspecified", "0.0.0.0:22", "unspecified"},
		{"this network", "0.1.2.3:22", "unspecified"},
		{"unspecified v6", "[::]:22", "unspecified"},
		{"unspecified, v4-mapped", "[::ffff:0.0.0.0]:22", "unspecified"},
		{"link-local, metadata of clouds", "169.254.169.254:80", "link-local"},
		{"link-local v6 with a zone", "[fe80::1%eth0]:80", "link-local"},
		{"multicast", "224.0.0.251:5353", "multicast"},
		{"multicast v6", "[ff02::1]:5353", "multicast"},
		{"broadcast", "255.255.255.255:67", "broadcast"},
		{"an address of this host", own.String() + ":22", "this host"},
		{"NAT64 of loopback", "[64:ff9b::127.0.0.1]:22", "another form of 127.0.0.1, which is a loopback"},
		{"NAT64 of an address of this host", netip.AddrPortFrom(nat64(own), 22).String(), "this host"},
		{"NAT64 of a network's own", "[64:ff9b:1::7f00:1]:22", "loopback"},
		{"NAT64 of somebody else", "[64:ff9b::198.51.100.7]:80", ""},
		{"6to4 of loopback", "[2002:7f00:1::1]:22", "loopback"},
		{"Teredo of loopback", "[2001:0:1:2:3:4:80ff:fffe]:22", "loopback"},
		{"ISATAP of loopback", "[2001:db8::5efe:7f00:1]:22", "loopback"},
		{"IPv4-compatible", "[::127.0.0.1]:22", "loopback"},
		{"IPv4-translated", "[::ffff:0:127.0.0.1]:22", "loopback"},
		{"no port", "198.51.100.7:0", "none at all"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := new(Guard).Check(netip.MustParseAddrPort(tt.to))
			var refused *RefusedError
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && (!errors.As(err, &refused) || !strings.Contains(refused.Reason, tt.want)):
				t.Errorf("got %v, want a refusal for %q", err, tt.want)
			}
		})
	}
}

func TestGuard_allowAndDeny(t *testing.T) {
	own := hostAddress(t)
	for _, tt := range []struct {
		name        string
		allow, deny []netip.Prefix
		to          string
		dialled     bool
	}{
		{"everything allowed opens no loopback", prefixes("0.0.0.0/0"), nil, "127.0.0.1:22", false},
		{"loopback allowed", prefixes("127.0.0.0/8"), nil, "127.0.0.1:22", true},
		{"one loopback address allowed", prefixes("127.0.0.2/32"), nil, "127.0.0.1:22", false},
		{"a network that this host is in", []netip.Prefix{netip.PrefixFrom(own, 8).Masked()}, nil, own.String() + ":22", false},
		{"this host by name", []netip.Prefix{netip.PrefixFrom(own, own.BitLen())}, nil, own.String() + ":22", true},
		{"NAT64 needs both", prefixes("64:ff9b::/96"), nil, "[64:ff9b::127.0.0.1]:22", false},
		{"denied", nil, prefixes("10.0.0.0/8"), "10.1.2.3:80", false},
		{"denied for NAT64, too", nil, prefixes("10.0.0.0/8"), "[64:ff9b::10.1.2.3]:80", false},
		{"not denied", nil, prefixes("10.0.0.0/8"), "11.1.2.3:80", true},
		{"the longest decides", prefixes("10.1.0.0/16"), prefixes("0.0.0.0/0"), "10.1.2.3:80", true},
		{"the longest decides against", prefixes("10.1.0.0/16"), prefixes("10.1.2.0/24"), "10.1.2.3:80", false},
		{"a draw is a refusal", prefixes("10.1.0.0/16"), prefixes("10.1.0.0/16"), "10.1.2.3:80", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := Guard{Allow: tt.allow, Deny: tt.deny}
			if err := g.Check(netip.MustParseAddrPort(tt.to)); (err == nil) != tt.dialled {
				t.Errorf("got %v, want it dialled: %t", err, tt.dialled)
			}
		})
	}
}

// What this process listens on stays out of reach, whatever is allowed.
func TestGuard_ownListeners(t *testing.T) {
	g := Guard{Allow: prefixes("127.0.0.0/8", "::1/128")}
	for _, at := range []string{"127.0.0.1", "0.0.0.0"} {
		sockets, _, err := listen.Bind{Address: at}.Listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		port := sockets[0].AddrPort().Port()
		dst := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
		for _, to := range []netip.AddrPort{dst, netip.AddrPortFrom(netip.AddrFrom16(dst.Addr().As16()), port), netip.AddrPortFrom(nat64(dst.Addr()), port)} {
			if err := g.Check(to); err == nil || !strings.Contains(err.Error(), "listener of this process") {
				t.Errorf("listening on %s: %s: got %v", at, to, err)
			}
		}
		sockets[0].Close()
		if err := g.Check(dst); err != nil {
			t.Errorf("after the listener was closed: %v", err)
		}
	}
	// A listener that only has a mark, such as Caddy's admin endpoint.
	dst := netip.MustParseAddrPort("127.0.0.1:2")
	unmark := listen.MarkPrivate(dst)
	defer unmark()
	if g.Check(dst) == nil {
		t.Error("a private listener was within reach")
	}
}

func TestIsPrivate_throughNAT64(t *testing.T) {
	unmark := listen.MarkPrivate(netip.MustParseAddrPort("0.0.0.0:3"))
	defer unmark()
	if !listen.IsPrivate(netip.AddrPortFrom(nat64(hostAddress(t)), 3)) {
		t.Error("NAT64 leads around the mark")
	}
}

func nat64(v4 netip.Addr) netip.Addr {
	b := netip.MustParseAddr("64:ff9b::").As16()
	four := v4.As4()
	copy(b[12:], four[:])
	return netip.AddrFrom16(b)
}

// hostAddress is an IPv4 address of this machine that is not loopback.
func hostAddress(t *testing.T) netip.Addr {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
			return p.Addr()
		}
	}
	t.Skip("needs a network interface with an IPv4 address other than loopback")
	return netip.Addr{}
}
