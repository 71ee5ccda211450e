package transparent_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/portcullis-gateway/portcullis/transparent"
)

// address is one of a listener wrapper's own type.
type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

func TestAddrPort(t *testing.T) {
	for _, c := range []struct {
		from net.Addr
		want string // empty: none
	}{
		{&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80}, "192.0.2.1:80"}, // IPv4 in 16 bytes
		{&net.UDPAddr{IP: net.ParseIP("fe80::1"), Port: 53, Zone: "eth0"}, "[fe80::1]:53"},
		{address("[::ffff:192.0.2.1]:80"), "192.0.2.1:80"},
		{address("somewhere"), ""},
		{&net.UnixAddr{Net: "unix", Name: "192.0.2.1:80"}, ""},
		{(*net.TCPAddr)(nil), ""},
		{nil, ""},
	} {
		var want netip.AddrPort
		if c.want != "" {
			want = netip.MustParseAddrPort(c.want)
		}
		if got := transparent.AddrPort(c.from); got != want {
			t.Errorf("%v: got %v, want %v", c.from, got, want)
		}
	}
}
