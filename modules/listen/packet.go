package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/portcullis-gateway/portcullis/transparent"
)

// receiveBuffer is how many bytes of datagrams may wait in a socket; the
// system may grant less (Linux: net.core.rmem_max).
const receiveBuffer = 4 << 20

// PacketSocket is one socket of a bind for datagrams. Each datagram comes with
// the address it was sent to, also on a wildcard, so that the answer can leave
// from there.
type PacketSocket struct {
	conn *net.UDPConn
	addr netip.AddrPort

	// On a wildcard one of them tells and sets the address of this host.
	v4 *ipv4.PacketConn
	v6 *ipv6.PacketConn

	// On a bind with `transparent` datagrams tell by themselves, and answers to
	// other ports than the socket's own leave by sockets of their own.
	transparent, intercepted bool
	replies                  *transparent.Replies // nil if this process may not
}

// ListenPacket opens the bind's sockets, as [Bind.Listen] does for connections:
// all flags that mean something for datagrams take effect, others are warned
// of. The bind has no range.
func (b Bind) ListenPacket(ctx context.Context) (sockets []*PacketSocket, warnings []string, err error) {
	if b.Passed() {
		return b.adoptPackets()
	}
	addrs, err := b.resolve(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			for _, s := range sockets {
				s.Close()
			}
			sockets = nil
		}
	}()
	for _, word := range []string{b.backlogWord(), b.keepAliveWord()} {
		if word != "" {
			warnings = append(warnings, fmt.Sprintf("flag %q: means nothing for datagrams", word))
		}
	}
	for _, addr := range addrs {
		opened, notes, err := b.packetsAt(ctx, addr)
		if missingAddress(err) && len(addrs) > 1 {
			warnings = append(warnings, err.Error())
			continue
		}
		if err != nil {
			return sockets, nil, err
		}
		sockets, warnings = append(sockets, opened...), append(warnings, notes...)
	}
	if len(sockets) == 0 {
		return nil, nil, fmt.Errorf("listen udp %s: no network interface of this host has one of its addresses", b.HostPort())
	}
	return sockets, warnings, nil
}

func (b Bind) backlogWord() string {
	if b.Backlog == 0 {
		return ""
	}
	return fmt.Sprintf("backlog=%d", b.Backlog)
}

func (b Bind) keepAliveWord() string {
	if b.SoKeepalive.IsZero() {
		return ""
	}
	return "so_keepalive=" + b.SoKeepalive.String()
}

// packetsAt opens the sockets of one address.
func (b Bind) packetsAt(ctx context.Context, addr netip.AddrPort) (sockets []*PacketSocket, warnings []string, err error) {
	network := "udp4"
	if addr.Addr().Is6() {
		network = "udp6"
	}
	if addr.Port() != 0 && !packets.holds(addr) {
		// SO_REUSEPORT would let another process share the port without a word.
		probe, err := (&net.ListenConfig{}).ListenPacket(ctx, network, addr.String())
		if err != nil {
			return nil, nil, explain(err, addr)
		}
		probe.Close()
	}
	count := 1
	if b.ReusePort {
		count, warnings = b.fanOut()
	}
	options := b.options(addr.Addr())
	for i := range count {
		var notes []string
		lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			if err := c.Control(func(fd uintptr) { notes = setAll(fd, options) }); err != nil || b.Transparent == "" {
				return err
			}
			return transparent.ControlPackets("", "", c)
		}}
		if b.Transparent != "" && i == 0 {
			if err := transparent.CheckReplies(); err != nil {
				return nil, nil, explain(err, addr)
			}
		}
		pc, err := lc.ListenPacket(ctx, network, addr.String())
		if err != nil {
			for _, s := range sockets {
				s.Close()
			}
			return nil, nil, explain(err, addr)
		}
		s := newPacketSocket(pc.(*net.UDPConn))
		if i == 0 {
			warnings = append(warnings, notes...)
			addr = s.addr
		}
		if b.Transparent != "" {
			s.intercept(b.Intercepted)
		} else if note := s.askForDestinations(); note != "" && i == 0 {
			warnings = append(warnings, note)
		}
		sockets = append(sockets, s)
	}
	return sockets, warnings, nil
}

func newPacketSocket(c *net.UDPConn) *PacketSocket {
	_ = c.SetReadBuffer(receiveBuffer)
	s := &PacketSocket{conn: c, addr: c.LocalAddr().(*net.UDPAddr).AddrPort()}
	packets.add(s.addr, 1)
	return s
}

// askForDestinations makes the system tell where a datagram was sent to. It
// answers a warning if the system does not.
func (s *PacketSocket) askForDestinations() (warning string) {
	if !s.addr.Addr().IsUnspecified() {
		return "" // there is only one place
	}
	var err error
	if s.addr.Addr().Is4() {
		p := ipv4.NewPacketConn(s.conn)
		if err = p.SetControlMessage(ipv4.FlagDst, true); err == nil {
			s.v4 = p
		}
	} else {
		p := ipv6.NewPacketConn(s.conn)
		if err = p.SetControlMessage(ipv6.FlagDst, true); err == nil {
			s.v6 = p
		}
	}
	if err == nil {
		return ""
	}
	return fmt.Sprintf("%s: this system does not tell where datagrams were sent to, "+
		"so answers may leave from another of its addresses: %v", s.addr, err)
}

// AddrPort is the address that the socket is bound to, with the port that the
// system chose if it was left to it.
func (s *PacketSocket) AddrPort() netip.AddrPort { return s.addr }

// ReadPacket waits for a datagram and answers where it came from and where it
// was sent to. What does not fit b is lost. It is for one goroutine.
func (s *PacketSocket) ReadPacket(b, control []byte) (n int, from, to netip.AddrPort, err error) {
	to = s.addr
	if s.transparent {
		return s.readIntercepted(b, control)
	}
	if s.v4 == nil && s.v6 == nil {
		n, from, err = s.conn.ReadFromUDPAddrPort(b)
		return n, unmapped(from), to, err
	}
	n, controls, _, from, err := s.conn.ReadMsgUDPAddrPort(b, control)
	if err != nil {
		return n, from, to, err
	}
	var ip net.IP
	if s.v4 != nil {
		var cm ipv4.ControlMessage
		if cm.Parse(control[:controls]) == nil {
			ip = cm.Dst
		}
	} else {
		var cm ipv6.ControlMessage
		if cm.Parse(control[:controls]) == nil {
			ip = cm.Dst
		}
	}
	if addr, ok := netip.AddrFromSlice(ip); ok {
		to = netip.AddrPortFrom(addr.Unmap(), s.addr.Port())
	}
	return n, unmapped(from), to, nil
}

// readIntercepted is ReadPacket where each datagram tells where it was sent to.
func (s *PacketSocket) readIntercepted(b, control []byte) (n int, from, to netip.AddrPort, err error) {
	n, controls, _, from, err := s.conn.ReadMsgUDPAddrPort(b, control)
	to, ok := transparent.DatagramDestination(control[:controls])
	if !ok {
		to = s.addr
	}
	return n, unmapped(from), to, err
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// Reply makes the function that sends datagrams to one client from the address
// that it had sent its own to. The function is safe for concurrent use.
func (s *PacketSocket) Reply(from, to netip.AddrPort) func(b []byte) error {
	if s.replies != nil && from.Port() != s.addr.Port() {
		return func(b []byte) error {
			_, err := s.replies.Send(b, nil, from, to)
			return err
		}
	}
	var control []byte
	dst := to
	if s.addr.Addr().Is6() && to.Addr().Is4() {
		dst = netip.AddrPortFrom(netip.AddrFrom16(to.Addr().As16()), to.Port())
	}
	switch {
	case s.v4 == nil && s.v6 == nil && !s.transparent:
	case from.Addr().Is4(): // also on an IPv6 socket that takes both
		control = (&ipv4.ControlMessage{Src: from.Addr().AsSlice()}).Marshal()
	default:
		control = (&ipv6.ControlMessage{Src: from.Addr().AsSlice()}).Marshal()
	}
	return func(b []byte) error {
		_, _, err := s.conn.WriteMsgUDPAddrPort(b, control, dst)
		return err
	}
}

// packets knows this process's sockets for datagrams.
var packets addressCounts

// addressCounts counts sockets by the address that they are bound to.
type addressCounts struct {
	mu     sync.Mutex
	counts map[netip.AddrPort]int // protected by mu
}

func (p *addressCounts) add(addr netip.AddrPort, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.counts == nil {
		p.counts = make(map[netip.AddrPort]int)
	}
	if p.counts[addr] += n; p.counts[addr] == 0 {
		delete(p.counts, addr)
	}
}

// holds reports whether a socket of ours covers addr.
func (p *addressCounts) holds(addr netip.AddrPort) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for a := range p.counts {
		if a.Port() == addr.Port() && (a.Addr() == addr.Addr() || a.Addr().IsUnspecified() || addr.Addr().IsUnspecified()) {
			return true
		}
	}
	return false
}

// takes reports whether a socket of ours gets the datagrams to dst.
func (p *addressCounts) takes(dst netip.AddrPort) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for a := range p.counts {
		if takes(a, dst) {
			return true
		}
	}
	return false
}

// Wake ends a ReadPacket that waits, with os.ErrDeadlineExceeded.
func (s *PacketSocket) Wake() { _ = s.conn.SetReadDeadline(time.Unix(1, 0)) }

// Close closes the socket; datagrams that wait in it are lost.
func (s *PacketSocket) Close() error {
	if s.replies != nil {
		s.replies.Close()
	}
	err := s.conn.Close()
	if !errors.Is(err, net.ErrClosed) {
		packets.add(s.addr, -1)
	}
	return err
}
