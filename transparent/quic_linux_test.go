package transparent

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// What QUIC is told is read back by x/net, which reads what the kernel writes.
func TestTranslate(t *testing.T) {
	class := make([]byte, unix.CmsgSpace(4))
	word := binary.NativeEndian.AppendUint32(nil, 2)
	if n := putControl(class, unix.SOL_IPV6, unix.IPV6_TCLASS, word); n != len(class) {
		t.Fatalf("wrote %d bytes, want %d", n, len(class))
	}
	foreign := make([]byte, unix.CmsgSpace(8))
	putControl(foreign, unix.SOL_SOCKET, unix.SO_TIMESTAMP, make([]byte, 8)) // of no concern
	control := append(foreign, class...)

	out := make([]byte, 128)
	n := translate(out, control, netip.MustParseAddr("2001:db8::7"))
	var v6 ipv6.ControlMessage
	if err := v6.Parse(out[:n]); err != nil || v6.Dst.String() != "2001:db8::7" || v6.TrafficClass != 2 || v6.IfIndex != 0 {
		t.Errorf("got %v, %v", &v6, err)
	}
	n = translate(out, nil, netip.MustParseAddr("192.0.2.7"))
	var v4 ipv4.ControlMessage
	if err := v4.Parse(out[:n]); err != nil || v4.Dst.String() != "192.0.2.7" || v4.IfIndex != 0 {
		t.Errorf("got %v, %v", &v4, err)
	}
	if n := translate(out[:10], control, netip.MustParseAddr("192.0.2.7")); n != 0 {
		t.Errorf("wrote %d bytes where there is no room", n)
	}
}

// FuzzTranslate: what comes from the kernel is copied or left out, in whole
// messages.
func FuzzTranslate(f *testing.F) {
	seed := make([]byte, unix.CmsgSpace(4))
	putControl(seed, unix.SOL_IPV6, unix.IPV6_TCLASS, []byte{1, 0, 0, 0})
	f.Add(seed, 128)
	f.Add(seed[:7], 40)
	f.Fuzz(func(t *testing.T, control []byte, room int) {
		out := make([]byte, min(max(room, 0), 256))
		n := translate(out, control, netip.MustParseAddr("192.0.2.7"))
		if n > len(out) {
			t.Fatalf("wrote %d bytes of %d", n, len(out))
		}
		if _, err := unix.ParseSocketControlMessage(out[:n]); err != nil {
			t.Error(err)
		}
	})
}
