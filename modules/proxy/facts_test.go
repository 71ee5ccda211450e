package proxy

import (
	"net"
	"testing"

	"github.com/portcullis-gateway/portcullis/transparent"
)

func TestAddrPort(t *testing.T) {
	ip := net.ParseIP("::ffff:192.0.2.1")
	for _, tt := range []struct {
		in   net.Addr
		want string
	}{
		{&net.TCPAddr{IP: ip, Port: 443}, "192.0.2.1:443"},
		{&net.UDPAddr{IP: ip, Port: 443}, "192.0.2.1:443"}, // HTTP/3
		{&net.UDPAddr{IP: net.ParseIP("fe80::1"), Zone: "lo", Port: 443}, "[fe80::1]:443"},
	} {
		if got := transparent.AddrPort(tt.in).String(); got != tt.want {
			t.Errorf("%T %s: got %s, want %s", tt.in, tt.in, got, tt.want)
		}
	}
	if got := transparent.AddrPort(&net.UnixAddr{Name: "/x"}); got.IsValid() || got.Port() != 0 {
		t.Errorf("got %s for a Unix socket", got)
	}
}
