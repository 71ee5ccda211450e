package stream

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/listen"
	"github.com/portcullis-gateway/portcullis/transparent"
)

const (
	// maxDatagram is the largest that UDP knows.
	maxDatagram = 65535

	// sessionQueue is how many datagrams of a client may wait for its session;
	// what comes beyond that is lost, as it would be in a socket.
	sessionQueue = 128

	// refusedFor is how long the datagrams of a client without a route are
	// swallowed, so that it is logged once and not for each.
	refusedFor = 5 * time.Second

	// drainSilence ends a session of a listener that drains.
	drainSilence = time.Second
)

// A sessionKey tells sessions of a listener apart.
type sessionKey struct{ client, local netip.AddrPort }

// A session is what one client and one address say to each other,
// with a socket of its own towards the service. It ends when nobody has said
// anything for a while.
type session struct {
	listener *listener
	key      sessionKey
	arrival  transparent.Arrival // zero unless the listener is transparent
	reply    func([]byte) error
	queue    chan []byte   // what the client has sent
	stop     chan struct{} // closed to end the session
	stopOnce sync.Once

	up, down atomic.Int64 // bytes
	moved    atomic.Int64 // when the last datagram came, in nanoseconds since epoch
}

var epoch = time.Now()

func (s *session) touch() { s.moved.Store(int64(time.Since(epoch))) }

func (s *session) silence() time.Duration { return time.Since(epoch) - time.Duration(s.moved.Load()) }

// receive sorts the datagrams of one socket into sessions, until it is closed.
// It waits for nobody.
func (l *listener) receive(sock *listen.PacketSocket) {
	buf, control := make([]byte, maxDatagram), make([]byte, 256)
	for {
		n, from, to, err := sock.ReadPacket(buf, control)
		if closed(err) {
			return
		}
		if err != nil {
			l.top.Load().logger.Debug("receiving datagrams", zap.Stringer("listener", l.bind), zap.Error(err))
			time.Sleep(5 * time.Millisecond)
			continue
		}
		s := l.session(sock, sessionKey{from, to})
		if s == nil {
			dropped.Inc()
			continue
		}
		s.touch()
		select {
		case s.queue <- append(datagrams.Get().([]byte)[:0], buf[:n]...):
		default:
			dropped.Inc()
		}
	}
}

// datagrams are buffers for what waits in queues; most of it is small.
var datagrams = sync.Pool{New: func() any { return make([]byte, 0, 2048) }}

func recycle(b []byte) {
	if cap(b) <= 16<<10 {
		datagrams.Put(b) //nolint:staticcheck // a header more is no harm
	}
}

// session finds the session of a datagram, or begins it; nil if there are too
// many, or the listener does not take what arrives like this.
func (l *listener) session(sock *listen.PacketSocket, key sessionKey) *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sessions[key]; s != nil {
		return s
	}
	e := l.top.Load()
	arrival, ok := sock.Arrival(key.local)
	if !ok || l.draining.Load() || !e.hold() {
		return nil
	}
	if len(l.sessions) >= e.maxSessions {
		e.drop()
		if l.warned.allow() {
			e.logger.Warn("too many UDP sessions; datagrams of new clients are dropped",
				zap.Stringer("listener", l.bind), zap.Int("max_udp_sessions", e.maxSessions))
		}
		failed(nil, "sessions")
		return nil
	}
	s := &session{
		listener: l, key: key, arrival: arrival,
		reply: sock.Reply(key.local, key.client),
		queue: make(chan []byte, sessionQueue),
		stop:  make(chan struct{}),
	}
	l.sessions[key] = s
	live := &liveFlow{s.cut}
	l.flows[live] = struct{}{}
	go func() {
		defer e.drop()
		defer l.finish(live)
		s.serve(e)
	}()
	return s
}

func (s *session) cut() { s.stopOnce.Do(func() { close(s.stop) }) }

// wakeSessions lets sessions notice that their listener drains.
func (l *listener) wakeSessions() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sessions {
		select {
		case s.queue <- nil:
		default: // it is awake
		}
	}
}

// serve passes datagrams on until there is silence.
func (s *session) serve(e *Engine) {
	f := e.newFlow(s.listener.name, "udp", s.key.client, s.key.local)
	f.up, f.down = &s.up, &s.down
	if s.listener.bind.Transparent != "" {
		f.arrive(s.arrival)
	}
	fail := s.run(f)
	if fail != nil && len(fail.answer) > 0 {
		_ = s.reply(fail.answer)
	}
	f.end(fail)
	if fail != nil && fail.reason != "drained" {
		s.swallow()
	}
	s.listener.mu.Lock()
	delete(s.listener.sessions, s.key)
	s.listener.mu.Unlock()
}

// swallow drops what a client goes on to send that was refused.
func (s *session) swallow() {
	over := time.After(refusedFor)
	for !s.listener.draining.Load() {
		select {
		case <-s.stop:
			return
		case <-over:
			return
		case b := <-s.queue:
			recycle(b)
		}
	}
}

func (s *session) run(f *flow) *failure {
	if fail := f.route(); fail != nil {
		return fail
	}
	f.counts.begin()
	defer f.counts.end()
	// That there is somebody on the other side is not known before the first
	// datagram.
	conn, fail := f.connect()
	if fail != nil {
		return fail
	}
	c := conn.(*net.UDPConn)
	defer c.Close()

	broken := make(chan error, 1)
	go func() { broken <- s.answers(f, c) }()
	idle := milli(f.match.Service.ReadTimeout)
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for {
		limit := idle
		if s.listener.draining.Load() {
			limit = min(idle, drainSilence)
		}
		select {
		case b := <-s.queue:
			if b == nil { // the listener drains
				timer.Reset(drainSilence)
				continue
			}
			n, err := c.Write(b)
			recycle(b)
			if err != nil && !errors.Is(err, net.ErrClosed) {
				if refusedByPeer(err) {
					f.observe(balancer.ConnectFailed)
					return &failure{reason: "upstream_reset", status: statusBadGateway, text: "service does not take datagrams", err: err}
				}
				dropped.Inc() // such as one that is too large
				continue
			}
			s.up.Add(int64(n))
			f.counts.up.Add(int64(n))
		case err := <-broken:
			f.observe(balancer.ConnectFailed)
			return &failure{reason: "upstream_reset", status: statusBadGateway, text: "service does not take datagrams", err: err}
		case <-s.stop:
			return &failure{reason: "drained", status: statusOK, text: "session was ended, as the grace period was over", err: errDrained}
		case <-timer.C:
			left := limit - s.silence()
			if left <= 0 {
				return nil
			}
			timer.Reset(left)
		}
	}
}

// answers passes on what the service sends, until the socket is closed.
func (s *session) answers(f *flow, c *net.UDPConn) error {
	return readDatagrams(c, func(b []byte) {
		s.touch()
		if err := s.reply(b); err != nil {
			dropped.Inc()
			return
		}
		s.down.Add(int64(len(b)))
		f.counts.down.Add(int64(len(b)))
	})
}

// seldom lets one message through in a while.
type seldom struct{ last time.Time }

func (s *seldom) allow() bool {
	if time.Since(s.last) < 10*time.Second {
		return false
	}
	s.last = time.Now()
	return true
}
