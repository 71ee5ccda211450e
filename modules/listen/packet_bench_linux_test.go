package listen

import (
	"net"
	"os"
	"testing"
	"time"
)

// BenchmarkReadPacket is one datagram over loopback and its answer, with and
// without `transparent`.
func BenchmarkReadPacket(b *testing.B) {
	for _, line := range []string{"0.0.0.0:0 udp", "0.0.0.0:0 udp transparent"} {
		b.Run(line, func(b *testing.B) {
			binds, err := Parse("stream_listen", line, Stream)
			if err != nil {
				b.Fatal(err)
			}
			sockets, _, err := binds[0].ListenPacket(b.Context())
			if err != nil {
				if os.Getuid() != 0 {
					b.Skip("needs root, for transparent sockets")
				}
				b.Fatal(err)
			}
			s := sockets[0]
			defer s.Close()
			client, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(s.AddrPort().Port())})
			if err != nil {
				b.Fatal(err)
			}
			defer client.Close()
			_ = client.SetDeadline(time.Now().Add(time.Minute))
			buf, control := make([]byte, 2048), make([]byte, 256)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.Write(buf[:100]); err != nil {
					b.Fatal(err)
				}
				n, from, to, err := s.ReadPacket(buf, control)
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Reply(to, from)(buf[:n]); err != nil {
					b.Fatal(err)
				}
				if _, err := client.Read(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
