package listen

import (
	"net"
	"net/netip"
	"testing"
)

func TestIsPrivate(t *testing.T) {
	host := ""
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if p := a.(*net.IPNet); p.IP.To4() != nil && !p.IP.IsLoopback() {
			host = p.IP.String()
		}
	}
	for _, tt := range []struct {
		name, mark, dst string
		want            bool
	}{
		{"the same address", "127.0.0.1:8001", "127.0.0.1:8001", true},
		{"another port", "127.0.0.1:8001", "127.0.0.1:8002", false},
		{"mapped into ipv6", "127.0.0.1:8001", "[::ffff:127.0.0.1]:8001", true},
		{"unspecified reaches loopback", "127.0.0.1:8001", "0.0.0.0:8001", true},
		{"unspecified ipv6", "[::1]:8001", "[::]:8001", true},
		{"unspecified, mapped", "127.0.0.1:8001", "[::ffff:0.0.0.0]:8001", true},
		{"another loopback address is another listener", "127.0.0.1:8001", "127.0.0.2:8001", false},
		{"a zone does not hide it", "[fe80::1%eth0]:8001", "[fe80::1%2]:8001", true},
		{"wildcard by loopback", "0.0.0.0:8001", "127.3.2.1:8001", true},
		{"wildcard by ipv6 loopback", "[::]:8001", "[::1]:8001", true},
		{"wildcard by loopback, mapped", "[::]:8001", "[::ffff:127.0.0.1]:8001", true},
		{"wildcard by this host's address", "0.0.0.0:8001", host + ":8001", true},
		{"wildcard and another host", "0.0.0.0:8001", "192.0.2.1:8001", false},
		{"this host's other address", "192.0.2.7:8001", host + ":8001", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dst, err := netip.ParseAddrPort(tt.dst)
			if err != nil {
				t.Skip("this host has loopback addresses only; add another to run the test")
			}
			unmark := MarkPrivate(netip.MustParseAddrPort(tt.mark))
			if got := IsPrivate(dst); got != tt.want {
				t.Errorf("with a private %s, IsPrivate(%s) = %v, want %v", tt.mark, tt.dst, got, tt.want)
			}
			unmark()
			if IsPrivate(dst) {
				t.Errorf("%s is still private after the mark was taken back", tt.dst)
			}
		})
	}
}

func TestMarkPrivate_marksAreCounted(t *testing.T) {
	addr := netip.MustParseAddrPort("127.0.0.1:8444")
	first, second := MarkPrivate(addr), MarkPrivate(addr)
	first()
	first() // a second call must not take the other mark back
	if !IsPrivate(addr) {
		t.Error("one of two marks was taken back, and the address is not private any more")
	}
	second()
	if IsPrivate(addr) {
		t.Error("both marks were taken back, and the address is still private")
	}
}

func BenchmarkIsPrivate(b *testing.B) {
	defer MarkPrivate(netip.MustParseAddrPort("0.0.0.0:8001"))()
	for _, dst := range []string{"192.0.2.1:80", "192.0.2.1:8001"} {
		addr := netip.MustParseAddrPort(dst)
		b.Run(dst, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				IsPrivate(addr)
			}
		})
	}
}
