package transparent

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// maxFlows is how many flows a packet listener has at a time; datagrams of
	// others are dropped.
	maxFlows = 65536

	// flowQueue is how many datagrams may wait in a flow, and flowBacklog how
	// many flows may wait to be accepted. What comes beyond that is dropped, as
	// it would be in a socket.
	flowQueue   = 128
	flowBacklog = 1024

	// maxDatagram is the largest that UDP knows.
	maxDatagram = 65535
)

// flowIdle ends a flow in which nobody has said anything for that long:
// caddy-l4's own default. A variable for the tests.
var flowIdle = 30 * time.Second

// A PacketListener makes connections of datagrams: one for each client and each
// address that it sends to. A connection ends, by io.EOF, when neither side has
// said anything for 30 seconds, and all end when the listener is closed.
//
// caddy-l4 keys datagrams by their client alone; as connections it keeps
// them apart by destination, too.
type PacketListener struct {
	conn     *net.UDPConn
	owner    io.Closer // what is closed in the end
	bound    netip.AddrPort
	required bool
	logger   *zap.Logger
	replies  Replies
	accepted chan *Flow
	done     chan struct{}
	close    func() error

	mu    sync.Mutex
	flows map[flowKey]*Flow // protected by mu
}

type flowKey struct{ client, to netip.AddrPort }

// NewPacketListener makes one of a socket that [ControlPackets] has prepared.
// With required, datagrams to the listener itself are dropped. Owner is closed
// in the end; it may be the socket.
func NewPacketListener(c *net.UDPConn, owner io.Closer, required bool, logger *zap.Logger) *PacketListener {
	l := &PacketListener{
		conn: c, owner: owner, bound: AddrPort(c.LocalAddr()), required: required, logger: logger,
		accepted: make(chan *Flow, flowBacklog),
		done:     make(chan struct{}),
		flows:    make(map[flowKey]*Flow),
	}
	l.close = sync.OnceValue(func() error {
		close(l.done)
		err := l.owner.Close()
		l.replies.Close()
		return err
	})
	go l.receive()
	return l
}

// Accept answers a *Flow.
func (l *PacketListener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case f := <-l.accepted:
		return f, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Addr is the address of the socket.
func (l *PacketListener) Addr() net.Addr { return l.conn.LocalAddr() }

// Close closes the socket and ends the flows.
func (l *PacketListener) Close() error { return l.close() }

// receive sorts datagrams into flows. It waits for nobody.
func (l *PacketListener) receive() {
	buf, control := make([]byte, maxDatagram), make([]byte, 256)
	for {
		n, oobn, _, from, err := l.conn.ReadMsgUDPAddrPort(buf, control)
		if errors.Is(err, net.ErrClosed) {
			l.Close()
			return
		}
		if err != nil {
			l.logger.Debug("receiving datagrams", zap.Stringer("listener", l.bound), zap.Error(err))
			select {
			case <-l.done:
				return
			case <-time.After(5 * time.Millisecond):
			}
			continue
		}
		to, ok := destinationOf(control[:oobn])
		if !ok {
			continue
		}
		if f := l.flow(flowKey{netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), to}); f != nil {
			f.deliver(buf[:n])
		}
	}
}

// flow finds a flow or begins one; nil if the datagram is to be dropped.
func (l *PacketListener) flow(key flowKey) *Flow {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.flows[key]; f != nil {
		return f
	}
	a := LocateDatagram(key.to, l.bound)
	if l.required && !a.How.Intercepted() || len(l.flows) >= maxFlows {
		if ce := l.logger.Check(zap.DebugLevel, "datagram dropped"); ce != nil {
			ce.Write(zap.Stringer("listener", l.bound), zap.Stringer("remote", key.client),
				zap.Stringer("arrived", a.How), zap.Stringer("destination", key.to), zap.Int("flows", len(l.flows)))
		}
		return nil
	}
	f := &Flow{
		listener: l, key: key, arrival: a,
		local: net.UDPAddrFromAddrPort(key.to), remote: net.UDPAddrFromAddrPort(key.client),
		queue: make(chan []byte, flowQueue), ended: make(chan struct{}),
	}
	f.touch()
	f.end = sync.OnceFunc(func() {
		close(f.ended)
		l.mu.Lock()
		delete(l.flows, key)
		l.mu.Unlock()
	})
	select {
	case l.accepted <- f:
	default:
		return nil
	}
	l.flows[key] = f
	return f
}

// A Flow is what one client and one address say to each other, as a connection
// whose reads and writes are datagrams.
type Flow struct {
	listener      *PacketListener
	key           flowKey
	arrival       Arrival
	local, remote *net.UDPAddr
	queue         chan []byte
	ended         chan struct{}
	end           func()
	moved         atomic.Int64 // when the last datagram came or went, since clock began

	reading sync.Mutex
	rest    []byte // protected by reading: of a datagram that was larger than what it was read into

	deadline deadline
}

func (f *Flow) touch() { f.moved.Store(int64(time.Since(clock))) }

func (f *Flow) deliver(b []byte) {
	f.touch()
	select {
	case f.queue <- append([]byte(nil), b...):
	default:
	}
}

// Read reads a datagram, or what a smaller buffer has left of it.
func (f *Flow) Read(b []byte) (int, error) {
	f.reading.Lock()
	defer f.reading.Unlock()
	if len(f.rest) > 0 {
		n := copy(b, f.rest)
		f.rest = f.rest[n:]
		return n, nil
	}
	timer := time.NewTimer(flowIdle)
	defer timer.Stop()
	for {
		passed, moved := f.deadline.wait()
		select {
		case <-passed:
			return 0, os.ErrDeadlineExceeded
		default:
		}
		select {
		case d := <-f.queue:
			n := copy(b, d)
			f.rest = d[n:]
			return n, nil
		case <-passed:
		case <-moved:
		case <-f.ended:
			return 0, io.EOF
		case <-f.listener.done:
			f.end()
			return 0, io.EOF
		case <-timer.C:
			left := flowIdle - (time.Since(clock) - time.Duration(f.moved.Load()))
			if left <= 0 {
				f.end()
				return 0, io.EOF
			}
			timer.Reset(left)
		}
	}
}

// Write sends a datagram from where the client had sent to.
func (f *Flow) Write(b []byte) (int, error) {
	select {
	case <-f.ended:
		return 0, net.ErrClosed
	default:
	}
	f.touch()
	l := f.listener
	if f.key.to.Port() == l.bound.Port() {
		return sendFrom(l.conn, b, f.key.to, f.key.client)
	}
	return l.replies.Send(b, nil, f.key.to, f.key.client)
}

// Close ends the flow.
func (f *Flow) Close() error {
	f.end()
	return nil
}

// LocalAddr is where the client has sent to, as a *net.UDPAddr.
func (f *Flow) LocalAddr() net.Addr { return f.local }

// RemoteAddr is the client, as a *net.UDPAddr.
func (f *Flow) RemoteAddr() net.Addr { return f.remote }

// Arrival tells how the datagrams came here.
func (f *Flow) Arrival() Arrival { return f.arrival }

// SetDeadline bounds reads; writes do not wait.
func (f *Flow) SetDeadline(t time.Time) error { return f.SetReadDeadline(t) }

// SetReadDeadline bounds reads.
func (f *Flow) SetReadDeadline(t time.Time) error {
	f.deadline.set(t)
	return nil
}

// SetWriteDeadline does nothing: writes do not wait.
func (f *Flow) SetWriteDeadline(time.Time) error { return nil }

// A deadline is a time that can be waited for, and moved.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer   // protected by mu
	over  chan struct{} // protected by mu; closed when the time has come
	moved chan struct{} // protected by mu; closed when the time is another one
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.moved != nil {
		close(d.moved)
		d.moved = nil
	}
	d.over = nil
	if t.IsZero() {
		return
	}
	over := make(chan struct{})
	d.over = over
	if wait := time.Until(t); wait > 0 {
		d.timer = time.AfterFunc(wait, func() { close(over) })
	} else {
		close(over)
	}
}

// wait answers a channel that is closed when the time has come, nil if there is
// none, and one that is closed when the time becomes another one.
func (d *deadline) wait() (over, moved <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.moved == nil {
		d.moved = make(chan struct{})
	}
	return d.over, d.moved
}

// Interface guards
var (
	_ net.Listener = (*PacketListener)(nil)
	_ net.Conn     = (*Flow)(nil)
)
