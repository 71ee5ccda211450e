package transparent

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestFlow_endsInSilence lets a flow alone.
func TestFlow_endsInSilence(t *testing.T) {
	flowIdle = 50 * time.Millisecond
	defer func() { flowIdle = 30 * time.Second }()
	l := &PacketListener{done: make(chan struct{})}
	f := &Flow{listener: l, queue: make(chan []byte, 1), ended: make(chan struct{})}
	f.end = func() { close(f.ended) }
	f.touch()
	begin := time.Now()
	if _, err := f.Read(make([]byte, 1)); err != io.EOF || time.Since(begin) < 50*time.Millisecond {
		t.Errorf("got %v after %v", err, time.Since(begin))
	}
}

func TestWithDestination(t *testing.T) {
	for _, tt := range []struct{ client, to string }{
		{"192.0.2.1:1000", "198.51.100.7:443"},
		{"[2001:db8::1]:1000", "[2001:db8::2]:443"},
		{"[::ffff:192.0.2.1]:1000", "198.51.100.7:53"},
	} {
		client := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(tt.client))
		to := netip.MustParseAddrPort(tt.to)
		both := withDestination(client, to)
		if both.String() != client.String() || !both.IP.Equal(client.IP) {
			t.Errorf("%v looks like %v", client, both)
		}
		if got, ok := destinationBehind(both); !ok || got != to {
			t.Errorf("got %v, %v, want %v", got, ok, to)
		}
		if got, ok := destinationBehind(client); ok {
			t.Errorf("an ordinary address tells of %v", got)
		}
	}
}

// Control messages come from the kernel; whatever they are, nothing breaks.
func FuzzDatagramDestination(f *testing.F) {
	// struct cmsghdr of a 64-bit system, SOL_IP, IP_ORIGDSTADDR, 198.51.100.7:53.
	good := binary.NativeEndian.AppendUint64(nil, 32)
	good = binary.NativeEndian.AppendUint32(good, 0)
	good = binary.NativeEndian.AppendUint32(good, 20)
	good = append(good, 2, 0, 0, 53, 198, 51, 100, 7, 0, 0, 0, 0, 0, 0, 0, 0)
	f.Add(good)
	f.Add(good[:20])
	f.Fuzz(func(t *testing.T, b []byte) { DatagramDestination(b) })
}
