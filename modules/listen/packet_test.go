package listen

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func mustListenPacket(t *testing.T, line string) *PacketSocket {
	t.Helper()
	binds, err := Parse("stream_listen", line, Stream)
	if err != nil {
		t.Fatal(err)
	}
	sockets, warnings, err := binds[0].ListenPacket(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sockets {
		t.Cleanup(func() { s.Close() })
	}
	if len(warnings) > 0 {
		t.Errorf("warnings: %q", warnings)
	}
	return sockets[0]
}

func TestListenPacket_answersLeaveFromWhereTheClientSentTo(t *testing.T) {
	for _, tt := range []struct{ line, at string }{
		{"127.0.0.1:0 udp", "127.0.0.1"},
		{"0.0.0.0:0 udp", "127.0.0.1"},
		{"0.0.0.0:0 udp", "127.3.2.1"}, // not the one that the system would choose
		{"[::]:0 udp", "::1"},
		{"[::]:0 udp ipv6only=off", "127.3.2.1"},
	} {
		t.Run(tt.line+" at "+tt.at, func(t *testing.T) {
			s := mustListenPacket(t, tt.line)
			at := netip.AddrPortFrom(netip.MustParseAddr(tt.at), s.AddrPort().Port())
			client, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at)) // hears nobody else
			if err != nil {
				t.Skipf("%v: this host has no such address; enable it to run the test", err)
			}
			defer client.Close()
			deadline := time.Now().Add(20 * time.Second)
			client.SetDeadline(deadline)
			s.conn.SetDeadline(deadline)
			client.Write([]byte("ping"))
			b, control := make([]byte, 100), make([]byte, 100)
			n, from, to, err := s.ReadPacket(b, control)
			if err != nil || string(b[:n]) != "ping" {
				t.Fatalf("got %q, %v", b[:n], err)
			}
			if want := unmapped(client.LocalAddr().(*net.UDPAddr).AddrPort()); from != want || to != at {
				t.Errorf("from %v to %v, want from %v to %v", from, to, want, at)
			}
			if err := s.Reply(to, from)([]byte("pong")); err != nil {
				t.Fatal(err)
			}
			if n, err := client.Read(b); err != nil || string(b[:n]) != "pong" {
				t.Errorf("the client got %q, %v", b[:n], err)
			}
		})
	}
}

func TestListenPacket_refusesAPortOfAnotherProcess(t *testing.T) {
	other, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	b := Bind{Address: "127.0.0.1", Port: uint16(other.LocalAddr().(*net.UDPAddr).Port), UDP: true}
	_, _, err = b.ListenPacket(t.Context())
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "another process listens there") {
		t.Errorf("got %v, want that another process listens there", err)
	}
}

func TestListenPacket_sharesThePortWithItsSuccessor(t *testing.T) {
	s := mustListenPacket(t, "127.0.0.1:0 udp")
	b := Bind{Address: "127.0.0.1", Port: s.AddrPort().Port(), UDP: true, ReusePort: true}
	sockets, _, err := b.ListenPacket(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sockets {
		s.Close()
	}
	s.Wake()
	if _, _, _, err := s.ReadPacket(make([]byte, 1), nil); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v after Wake", err)
	}
}
