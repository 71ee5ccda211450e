package transparent_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/portcullis-gateway/portcullis/transparent"
)

// BenchmarkReplies is what it costs to answer in the name of others, next to
// answers from one socket: on loopback, where 127.0.0.0/8 is ours.
func BenchmarkReplies(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("needs root, for transparent sockets")
	}
	client, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	to := transparent.AddrPort(client.LocalAddr())
	payload := make([]byte, 100)
	b.Run("one socket", func(b *testing.B) {
		c, err := net.ListenUDP("udp4", nil)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.WriteToUDPAddrPort(payload, to); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, count := range map[string]int{"1 destination": 1, "1000 destinations": 1000, "2000 destinations": 2000} {
		b.Run(name, func(b *testing.B) {
			var replies transparent.Replies
			defer replies.Close()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i % count >> 8), byte(i % count)}), 5353)
				if _, err := replies.Send(payload, nil, from, to); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDatagramDestination is what a datagram costs more that tells where it
// was sent to: reading its control message.
func BenchmarkDatagramDestination(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("needs root, for transparent sockets")
	}
	lc := net.ListenConfig{Control: transparent.ControlPackets}
	pc, err := lc.ListenPacket(context.Background(), "udp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer pc.Close()
	if _, err := pc.(*net.UDPConn).WriteTo([]byte("x"), pc.LocalAddr()); err != nil {
		b.Fatal(err)
	}
	control := make([]byte, 256)
	_, n, _, _, err := pc.(*net.UDPConn).ReadMsgUDPAddrPort(make([]byte, 10), control)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if to, ok := transparent.DatagramDestination(control[:n]); !ok || to != transparent.AddrPort(pc.LocalAddr()) {
			b.Fatal(to)
		}
	}
}
