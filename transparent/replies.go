package transparent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

const (
	// maxReplies is how many sockets for replies are open at a time. One that
	// is needed again is opened again, which costs a few system calls.
	maxReplies = 1024

	// replyIdle is how long one stays open that nobody uses: it occupies an
	// address that may be this host's own.
	replyIdle = 30 * time.Second
)

// Replies sends datagrams from the addresses that clients had sent theirs to,
// with a socket for each, and keeps a bounded number of them open. The zero
// value is ready; it is safe for concurrent use.
type Replies struct {
	// Whole sockets never fragment what they send, as QUIC wants it.
	Whole bool

	complained atomic.Int64 // when, since clock began

	mu      sync.RWMutex
	sockets map[netip.AddrPort]*replySocket // protected by mu; nil when closed
	closed  bool                            // protected by mu
	sweeper *time.Timer                     // protected by mu; nil while there are none
}

type replySocket struct {
	*net.UDPConn
	used atomic.Int64 // when, since clock began
}

var clock = time.Now()

// Send sends a datagram, with control messages that may be nil.
func (r *Replies) Send(b, control []byte, from, to netip.AddrPort) (n int, err error) {
	for range 2 {
		var s *replySocket
		if s, err = r.socket(from); err != nil {
			r.complain(err)
			return 0, err
		}
		if n, _, err = s.WriteMsgUDPAddrPort(b, control, to); !errors.Is(err, net.ErrClosed) {
			break // else it had to make room for another one
		}
	}
	return n, err
}

// complain tells of an address that cannot be answered from, but not each time.
func (r *Replies) complain(err error) {
	now := int64(time.Since(clock))
	last := r.complained.Load()
	if errors.Is(err, net.ErrClosed) || last != 0 && now-last < int64(10*time.Second) || !r.complained.CompareAndSwap(last, now) {
		return
	}
	caddy.Log().Named(Network).Error("datagrams are not answered", zap.Error(err))
}

// socket is that of an address.
func (r *Replies) socket(from netip.AddrPort) (*replySocket, error) {
	r.mu.RLock()
	s := r.sockets[from]
	r.mu.RUnlock()
	now := int64(time.Since(clock))
	if s != nil {
		s.used.Store(now)
		return s, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sockets[from]; s != nil {
		return s, nil
	}
	if r.closed {
		return nil, net.ErrClosed
	}
	s, err := openReply(from, r.Whole)
	if err != nil {
		return nil, err
	}
	s.used.Store(now)
	if len(r.sockets) >= maxReplies {
		r.evict()
	}
	if r.sockets == nil {
		r.sockets = make(map[netip.AddrPort]*replySocket)
	}
	r.sockets[from] = s
	if r.sweeper == nil {
		r.sweeper = time.AfterFunc(replyIdle, r.sweep)
	}
	return s, nil
}

func openReply(from netip.AddrPort, whole bool) (*replySocket, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		ctlErr := c.Control(func(fd uintptr) { err = prepareReply(fd, whole) })
		return errors.Join(ctlErr, explainDatagrams(err))
	}}
	network := "udp4"
	if from.Addr().Is6() {
		network = "udp6"
	}
	c, err := lc.ListenPacket(context.Background(), network, from.String())
	if err != nil {
		return nil, fmt.Errorf("answering from %s: %w", from, unwrapControl(err))
	}
	udp := c.(*net.UDPConn)
	if raw, err := udp.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { deafen(fd, from) })
	}
	return &replySocket{UDPConn: udp}, nil
}

// evict closes the socket that was not used for longest. The caller holds mu.
func (r *Replies) evict() {
	var oldest netip.AddrPort
	var used int64
	for from, s := range r.sockets {
		if at := s.used.Load(); used == 0 || at < used {
			oldest, used = from, at
		}
	}
	r.drop(oldest)
}

func (r *Replies) drop(from netip.AddrPort) {
	r.sockets[from].Close()
	delete(r.sockets, from)
}

// sweep closes the sockets that nobody has used for a while.
func (r *Replies) sweep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := int64(time.Since(clock) - replyIdle)
	for from, s := range r.sockets {
		if s.used.Load() <= before {
			r.drop(from)
		}
	}
	if r.sweeper = nil; len(r.sockets) > 0 {
		r.sweeper = time.AfterFunc(replyIdle, r.sweep)
	}
}

// Close closes the sockets. What is sent then fails with net.ErrClosed.
func (r *Replies) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for from := range r.sockets {
		r.drop(from)
	}
	if r.sweeper != nil {
		r.sweeper.Stop()
	}
}
