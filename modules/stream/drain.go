package stream

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/listen"
)

// exitGrace is how long connections may go on that have no grace period when
// the process exits: they might never end.
const exitGrace = 10 * time.Second

// drainings are the listeners that are neither in the pool nor done.
var drainings struct {
	mu  sync.Mutex
	set map[*listener]bool // protected by mu
}

// Destruct is called by the pool when the last configuration has given the
// listener back. It starts the draining, and does not wait for it.
func (l *listener) Destruct() error {
	drainings.mu.Lock()
	defer drainings.mu.Unlock()
	if drainings.set == nil {
		drainings.set = make(map[*listener]bool)
	}
	drainings.set[l] = true
	go l.drain()
	return nil
}

// drain closes the sockets, gives what is under way the grace period, and ends
// the rest.
func (l *listener) drain() {
	e := l.top.Load()
	logger := e.logger.With(zap.String("option", "stream_listen"), zap.Stringer("listener", l.bind))
	l.draining.Store(true)
	for _, a := range l.attendants {
		a.leave()
		l.loops.Go(func() { l.accept(a.socket) })
	}
	listen.Drain(l.sockets...)
	l.wakeSessions()
	if !l.bind.UDP {
		l.loops.Wait()
	}

	if !l.wait(e.grace) {
		l.mu.Lock()
		left := len(l.flows)
		for live := range l.flows {
			go live.cut()
		}
		l.mu.Unlock()
		drained.Add(float64(left))
		logger.Warn("grace period is over; closing what is left", zap.Int("connections", left))
	}
	<-l.quiet()
	for _, s := range l.packets {
		s.Close()
	}
	l.loops.Wait()
	e.drop()
	drainings.mu.Lock()
	delete(drainings.set, l)
	drainings.mu.Unlock()
	close(l.done)
	logger.Info("drained")
}

// wait reports whether all flows have ended within the grace period.
func (l *listener) wait(grace time.Duration) bool {
	var over, exit <-chan time.Time
	if grace > 0 {
		over = time.After(grace)
	}
	hurried := l.hurried
	for {
		select {
		case <-l.quiet():
			return true
		case <-over:
			return false
		case <-exit:
			return false
		case <-hurried:
			hurried = nil
			if grace == 0 {
				exit = time.After(exitGrace)
			}
		}
	}
}

// awaitDrained waits for the listeners that drain, if the process is exiting.
func awaitDrained() {
	if !exiting() {
		return
	}
	drainings.mu.Lock()
	var list []*listener
	for l := range drainings.set {
		list = append(list, l)
	}
	drainings.mu.Unlock()
	for _, l := range list {
		l.hurryOnce.Do(func() { close(l.hurried) })
	}
	for _, l := range list {
		<-l.done
	}
}

// exiting is a variable for the tests.
var exiting = caddy.Exiting

// closed reports whether an error is that of a socket that was closed here.
func closed(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded)
}

// Interface guard
var _ caddy.Destructor = (*listener)(nil)
