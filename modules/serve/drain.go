package serve

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/listen"
)

// handover is how long a server that drains waits for handshakes and first
// requests, and lets clients move over to the server that replaces it.
const handover = time.Second

// Destruct is called by the pool when the last generation is closed. It starts
// the draining, and does not wait for it.
func (s *server) Destruct() error {
	draining.add(s)
	go s.drain()
	return nil
}

// hurry tells a server that drains that the process is exiting.
func (s *server) hurry() { s.hurryOnce.Do(func() { close(s.hurried) }) }

// drain ends the server: it empties and closes the sockets, answers those that
// have just connected, lets net/http end what is left within the grace period,
// and waits for upgraded connections.
func (s *server) drain() {
	last := s.top.Load()
	logger := last.Logger.With(zap.String("option", s.config.Option), zap.Stringer("listener", s.config.Bind))
	logger.Info("draining", zap.Duration("grace_period", last.GracePeriod))
	grace, cancel := context.Background(), func() {}
	if last.GracePeriod > 0 {
		grace, cancel = context.WithTimeout(grace, last.GracePeriod)
	}
	defer cancel()

	s.closing.Store(true)
	var quic <-chan error
	if s.quic != nil {
		quic = s.quic.drain(grace)
	}
	s.handOver(grace)
	err := s.http1.Shutdown(grace)
	if s.http2 != nil {
		err = errors.Join(err, s.http.Shutdown(grace))
	}
	if s.quic != nil {
		err = errors.Join(err, await(grace, quic))
	}
	if err == nil {
		err = s.awaitUpgraded(grace)
	}
	if err != nil {
		logger.Warn("grace period is over; closing what is left", zap.Int("upgraded", s.upgraded.count()))
		s.http1.Close()
		s.http.Close()
	}
	s.closeUpgraded()
	if s.quic != nil {
		s.quic.release()
	}
	s.end()
	logger.Info("drained")
}

// handOver closes the sockets, and returns when connections have had the time
// to bring one more request, and to be told that it is the last.
func (s *server) handOver(grace context.Context) {
	ctx, cancel := context.WithTimeout(grace, handover)
	defer cancel()
	replaced := listen.Drain(s.sockets...)
	s.accepting.await(ctx)
	for _, unmark := range s.unmark {
		unmark()
	}
	s.fresh.await(ctx)
	if replaced {
		select {
		case <-s.hurried:
		case <-ctx.Done():
		}
	}
}

// awaitUpgraded returns when the last upgraded connection is closed, or may be
// cut: after the grace period with an error, or without one when the process is
// exiting and nothing else would ever end them.
func (s *server) awaitUpgraded(grace context.Context) error {
	hurried := s.hurried
	if _, limited := grace.Deadline(); limited {
		hurried = nil
	}
	select {
	case <-s.upgraded.none():
		return nil
	case <-hurried:
		return nil
	case <-grace.Done():
		return grace.Err()
	}
}

func (s *server) closeUpgraded() {
	s.mu.Lock()
	left := slices.Collect(maps.Keys(s.hijacked))
	s.mu.Unlock()
	for _, c := range left {
		c.Close()
	}
}

// end lets the last generation go.
func (s *server) end() {
	s.top.Store(nil)
	s.mu.Lock()
	for _, l := range s.leases {
		l.release()
	}
	s.leases = nil
	s.mu.Unlock()
	draining.remove(s)
	close(s.done)
}

// draining is the set of servers that are neither in the pool nor done.
var draining = serverSet{set: make(map[*server]struct{})}

type serverSet struct {
	mu  sync.Mutex
	set map[*server]struct{} // protected by mu
}

func (d *serverSet) add(s *server) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set[s] = struct{}{}
}

func (d *serverSet) remove(s *server) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.set, s)
}

func (d *serverSet) all() []*server {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.set))
}

// A gauge counts things, and tells when there are none.
type gauge struct {
	mu   sync.Mutex
	n    int           // protected by mu
	zero chan struct{} // protected by mu; closed when n reaches 0; nil if nobody waits
}

func (g *gauge) add(d int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n += d
	if g.n == 0 && g.zero != nil {
		close(g.zero)
		g.zero = nil
	}
}

func (g *gauge) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.n
}

// await returns when there are none, or the context is done.
func (g *gauge) await(ctx context.Context) {
	select {
	case <-g.none():
	case <-ctx.Done():
	}
}

// none returns a channel that is closed as soon as there are none.
func (g *gauge) none() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n == 0 {
		zero := make(chan struct{})
		close(zero)
		return zero
	}
	if g.zero == nil {
		g.zero = make(chan struct{})
	}
	return g.zero
}
