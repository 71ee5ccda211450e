package dial

import (
	"errors"
	"net/netip"
	"testing"
)

func TestSources_For(t *testing.T) {
	own := hostAddress(t).String()
	for _, tt := range []struct {
		name          string
		list          []string
		to, client    string
		want          string // "" for the system's choice
		foreign, fail bool
	}{
		{"none said", nil, "198.51.100.7:80", "192.0.2.9", "", false, false},
		{"the client", []string{"client"}, "198.51.100.7:80", "192.0.2.9", "192.0.2.9", true, false},
		{"the client, v4-mapped", []string{"client"}, "198.51.100.7:80", "::ffff:192.0.2.9", "192.0.2.9", true, false},
		{"the client, v6", []string{"client"}, "[2001:db8::7]:80", "2001:db8::9", "2001:db8::9", true, false},
		{"the client of another family", []string{"client"}, "[2001:db8::7]:80", "192.0.2.9", "", false, true},
		{"a fixed one for the other family", []string{"client", "2001:db8::1"}, "[2001:db8::7]:80", "192.0.2.9", "2001:db8::1", false, false},
		{"the client on this host", []string{"client"}, "198.51.100.7:80", own, own, false, false},
		{"the client on loopback", []string{"client"}, "198.51.100.7:80", "127.0.0.1", "", false, false},
		{"no client", []string{"client"}, "198.51.100.7:80", "", "", false, true},
		{"a fixed one", []string{"192.0.2.1"}, "198.51.100.7:80", "192.0.2.9", "192.0.2.1", false, false},
		{"none of the family", []string{"192.0.2.1"}, "[2001:db8::7]:80", "192.0.2.9", "", false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := ParseSources(tt.list)
			if err != nil {
				t.Fatal(err)
			}
			var client, want netip.Addr
			if tt.client != "" {
				client = netip.MustParseAddr(tt.client)
			}
			if tt.want != "" {
				want = netip.MustParseAddr(tt.want)
			}
			got, err := s.For(tt.to, client, 0)
			if tt.fail != (err != nil) || tt.fail && !errors.As(err, new(*SourceError)) {
				t.Fatalf("got the error %v", err)
			}
			if got != (Source{want, tt.foreign}) {
				t.Errorf("got %+v, want %s, foreign: %t", got, tt.want, tt.foreign)
			}
		})
	}
}

// A client keeps its address; tries go around the range; and a range is used to its
// ends.
func TestSources_range(t *testing.T) {
	s, err := ParseSources([]string{"192.0.2.16/30", "192.0.2.64"})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[netip.Addr]bool{}
	for n := range 200 {
		client := netip.AddrFrom4([4]byte{198, 51, 100, byte(n)})
		first, _ := s.For("203.0.113.1:80", client, 0)
		if again, _ := s.For("203.0.113.1:80", client, 0); again != first {
			t.Fatalf("%s came from %s, and then from %s", client, first.Addr, again.Addr)
		}
		if next, _ := s.For("203.0.113.1:80", client, 1); next == first {
			t.Errorf("the second try of %s came from %s again", client, first.Addr)
		}
		seen[first.Addr] = true
	}
	for _, want := range []string{"192.0.2.16", "192.0.2.17", "192.0.2.18", "192.0.2.19", "192.0.2.64"} {
		if !seen[netip.MustParseAddr(want)] {
			t.Errorf("%s was never used", want)
		}
	}
	if len(seen) != 5 {
		t.Errorf("got %v", seen)
	}
}

func TestParseSources_refuses(t *testing.T) {
	for _, bad := range []string{"", "clients", "192.0.2.0/33", "fe80::1%eth0", "192.0.2.1:80"} {
		if _, err := ParseSources([]string{bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
