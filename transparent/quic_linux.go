package transparent

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// quicControl is room for the control messages of one datagram: those that QUIC
// asks for and those of this package.
const quicControl = 256

// A quicConn is the socket of a QUIC listener. QUIC reads from it in batches,
// with control messages, and so learns the address that a client had sent to as
// if it were the host's own; its answers leave from there.
type quicConn struct {
	*net.UDPConn
	owner    net.PacketConn // what is closed in the end
	bound    netip.AddrPort
	required bool
	batch    *ipv4.PacketConn
	replies  Replies
	messages []ipv4.Message // of ReadBatch, which is for one goroutine
	last     *net.UDPAddr   // the address of the datagram before
}

func newQUICConn(c *net.UDPConn, owner net.PacketConn, required bool) net.PacketConn {
	return &quicConn{
		UDPConn: c, owner: owner, bound: AddrPort(c.LocalAddr()), required: required,
		batch: ipv4.NewPacketConn(c), replies: Replies{Whole: true},
	}
}

// ReadBatch reads datagrams as ipv4.PacketConn does.
func (c *quicConn) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	for len(c.messages) < len(ms) {
		c.messages = append(c.messages, ipv4.Message{OOB: make([]byte, quicControl)})
	}
	batch := c.messages[:len(ms)]
	for {
		for i := range ms {
			batch[i].Buffers = ms[i].Buffers
		}
		n, err := c.batch.ReadBatch(batch, flags)
		if err != nil {
			return 0, err
		}
		taken := 0
		for i := range batch[:n] {
			if !c.take(&ms[taken], &batch[i]) {
				continue
			}
			if taken < i { // one before it was left out
				copy(ms[taken].Buffers[0], batch[i].Buffers[0][:batch[i].N])
			}
			taken++
		}
		if taken > 0 {
			return taken, nil
		}
	}
}

// take makes of a datagram what QUIC is to see, unless the listener does not
// want it.
func (c *quicConn) take(m, from *ipv4.Message) bool {
	client, ok := from.Addr.(*net.UDPAddr)
	if !ok {
		return false
	}
	control := from.OOB[:from.NN]
	to, ok := destinationOf(control)
	if !ok || c.required && !LocateDatagram(to, c.bound).How.Intercepted() {
		return false
	}
	m.N, m.Flags = from.N, from.Flags
	m.NN = translate(m.OOB, control, to.Addr())
	if c.last == nil || !sameFlow(c.last, client, to) {
		c.last = withDestination(client, to)
	}
	m.Addr = c.last
	return true
}

func sameFlow(known, client *net.UDPAddr, to netip.AddrPort) bool {
	at, _ := destinationBehind(known)
	return at == to && known.Port == client.Port && known.IP.Equal(client.IP) && known.Zone == client.Zone
}

// translate writes the control messages that QUIC understands: congestion
// marks as they came, and the address that the datagram was sent to.
func translate(out, control []byte, to netip.Addr) (n int) {
	for len(control) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			break
		}
		if h.Level == unix.SOL_IP && h.Type == unix.IP_TOS || h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_TCLASS {
			n += putControl(out[n:], h.Level, h.Type, data)
		}
		control = rest
	}
	// struct in_pktinfo is interface, source, address, and struct in6_pktinfo
	// address, interface (ip(7), ipv6(7)). Which interface it was does not matter.
	if to.Is4() {
		var info [unix.SizeofInet4Pktinfo]byte
		copy(info[4:], to.AsSlice())
		copy(info[8:], to.AsSlice())
		return n + putControl(out[n:], unix.SOL_IP, unix.IP_PKTINFO, info[:])
	}
	var info [unix.SizeofInet6Pktinfo]byte
	copy(info[:], to.AsSlice())
	return n + putControl(out[n:], unix.SOL_IPV6, unix.IPV6_PKTINFO, info[:])
}

// putControl writes one control message, if there is room.
func putControl(out []byte, level, kind int32, data []byte) int {
	if len(out) < unix.CmsgSpace(len(data)) {
		return 0
	}
	// The length is a word, and level and type are 32 bits (cmsg(3)).
	word := unix.CmsgLen(0) - 8
	clear(out[:unix.CmsgSpace(len(data))])
	if word == 8 {
		binary.NativeEndian.PutUint64(out, uint64(unix.CmsgLen(len(data))))
	} else {
		binary.NativeEndian.PutUint32(out, uint32(unix.CmsgLen(len(data))))
	}
	binary.NativeEndian.PutUint32(out[word:], uint32(level))
	binary.NativeEndian.PutUint32(out[word+4:], uint32(kind))
	copy(out[unix.CmsgLen(0):], data)
	return unix.CmsgSpace(len(data))
}

// WriteMsgUDP sends an answer from where its client had sent to.
func (c *quicConn) WriteMsgUDP(b, oob []byte, client *net.UDPAddr) (n, oobn int, err error) {
	from, ok := destinationBehind(client)
	if !ok || from.Port() == c.bound.Port() { // the socket may use the address that oob says
		return c.UDPConn.WriteMsgUDP(b, oob, client)
	}
	to := client.AddrPort()
	n, err = c.replies.Send(b, oob, from, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()))
	return n, len(oob), err
}

// Close closes the sockets.
func (c *quicConn) Close() error {
	c.replies.Close()
	return c.owner.Close()
}
