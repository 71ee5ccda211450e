package stream

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/listen"
	"github.com/portcullis-gateway/portcullis/modules/relay"
	"github.com/portcullis-gateway/portcullis/transparent"
)

// listeners are those of the process, by key. One that drains is in it no more.
var listeners = caddy.NewUsagePool()

// A listenerKey is what makes two listeners different.
type listenerKey struct {
	listen.Bind
	serial uint64 // of one that is never shared
}

var serial atomic.Uint64

// A listener outlives configurations: its sockets stay open as long as one wants
// them. A connection is served by the engine that is on top when it comes, and
// stays with it.
type listener struct {
	bind    listen.Bind
	name    string // the bind in words
	sockets []*listen.Socket
	packets []*listen.PacketSocket
	loops   sync.WaitGroup // accepting and receiving

	attendants []*attendant           // of the sockets that nobody else accepts from; set by the first push
	top        atomic.Pointer[Engine] // nil before the first
	draining   atomic.Bool

	hurried   chan struct{} // closed when the process exits
	hurryOnce sync.Once
	done      chan struct{} // closed when all has ended

	mu       sync.Mutex
	engines  []*Engine               // protected by mu, oldest first
	flows    map[*liveFlow]struct{}  // protected by mu
	idle     chan struct{}           // protected by mu; closed when there are no flows; nil if nobody waits
	sessions map[sessionKey]*session // protected by mu
	warned   seldom                  // protected by mu
}

// A liveFlow is a connection or session that the listener may have to cut.
type liveFlow struct {
	cut func() // protected by listener.mu
}

// openListener puts an engine on top of the listener of a bind, and opens it if
// there is none.
func openListener(ctx context.Context, b listen.Bind, e *Engine) (listenerKey, *listener, error) {
	key := listenerKey{Bind: b}
	if b.Port == 0 && !b.Passed() {
		key.serial = serial.Add(1)
	}
	value, _, err := listeners.LoadOrNew(key, func() (caddy.Destructor, error) { return newListener(ctx, b, e.logger) })
	if err != nil {
		return key, nil, err
	}
	l := value.(*listener)
	l.push(e)
	return key, l, nil
}

func newListener(ctx context.Context, b listen.Bind, logger *zap.Logger) (*listener, error) {
	l := &listener{
		bind:     b,
		name:     b.String(),
		hurried:  make(chan struct{}),
		done:     make(chan struct{}),
		flows:    make(map[*liveFlow]struct{}),
		sessions: make(map[sessionKey]*session),
	}
	var warnings []string
	var err error
	if b.UDP {
		l.packets, warnings, err = b.ListenPacket(ctx)
	} else {
		l.sockets, warnings, err = b.Listen(ctx)
	}
	if err != nil {
		return nil, err
	}
	for _, warning := range warnings {
		logger.Warn("listen flag not honoured",
			zap.String("option", "stream_listen"), zap.Stringer("listener", b), zap.String("reason", warning))
	}
	logger.Info("listening", zap.String("option", "stream_listen"), zap.Stringer("listener", b),
		zap.Int("sockets", len(l.sockets)+len(l.packets)))
	return l, nil
}

// push puts an engine on top. The first one starts the accepting.
func (l *listener) push(e *Engine) {
	e.hold()
	l.mu.Lock()
	l.engines = append(l.engines, e)
	begun := l.top.Swap(e) != nil
	l.mu.Unlock()
	if begun {
		return
	}
	for _, s := range l.sockets {
		if a, ok := l.attend(s); ok {
			l.attendants = append(l.attendants, a)
			continue
		}
		l.loops.Go(func() { l.accept(s) })
	}
	for _, s := range l.packets {
		l.loops.Go(func() { l.receive(s) })
	}
}

// pop takes an engine off. The last one stays on top until the listener has
// drained.
func (l *listener) pop(e *Engine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.engines) == 1 {
		return
	}
	l.engines = slices.DeleteFunc(l.engines, func(x *Engine) bool { return x == e })
	l.top.Store(l.engines[len(l.engines)-1])
	e.drop()
}

// enter answers the engine on top, held.
func (l *listener) enter() *Engine {
	for {
		if e := l.top.Load(); e.hold() {
			return e
		}
	}
}

// addrs are the addresses of the sockets.
func (l *listener) addrs() []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, s := range l.sockets {
		addrs = append(addrs, s.AddrPort())
	}
	for _, s := range l.packets {
		addrs = append(addrs, s.AddrPort())
	}
	slices.SortFunc(addrs, netip.AddrPort.Compare)
	return slices.Compact(addrs)
}

// accept serves the connections of one socket until it is closed.
func (l *listener) accept(s *listen.Socket) {
	for {
		c, err := s.AcceptTCP()
		if err == nil {
			go l.serve(s, c)
			continue
		}
		if closed(err) {
			return
		}
		// Such as too many open files: others may close some.
		l.top.Load().logger.Error("accepting connections", zap.Stringer("listener", l.bind), zap.Error(err))
		time.Sleep(50 * time.Millisecond)
	}
}

// serve passes one connection on.
func (l *listener) serve(s *listen.Socket, c *net.TCPConn) {
	arrival, ok := s.Arrival(c)
	if !ok {
		relay.Reset(c)
		return
	}
	e := l.enter()
	defer e.drop()
	f := e.newFlow(l.name, "tcp", transparent.AddrPort(c.RemoteAddr()), transparent.AddrPort(c.LocalAddr()))
	if l.bind.Transparent != "" {
		f.arrive(arrival)
	}
	live := l.begin(func() { c.Close() })
	defer l.finish(live)
	e.serve(f, intake{conn: c, proxyProtocol: l.bind.ProxyProtocol, tls: l.bind.SSL}, func(r *relay.Relay) {
		l.mu.Lock()
		defer l.mu.Unlock()
		live.cut = func() { r.Cut(errDrained) }
	})
}

// begin notes a flow along with what ends it at once.
func (l *listener) begin(cut func()) *liveFlow {
	live := &liveFlow{cut}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flows[live] = struct{}{}
	return live
}

func (l *listener) finish(live *liveFlow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.flows, live)
	if len(l.flows) == 0 && l.idle != nil {
		close(l.idle)
		l.idle = nil
	}
}

// quiet returns a channel that is closed as soon as there are no flows.
func (l *listener) quiet() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.flows) == 0 {
		none := make(chan struct{})
		close(none)
		return none
	}
	if l.idle == nil {
		l.idle = make(chan struct{})
	}
	return l.idle
}
