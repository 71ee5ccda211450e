package stream

import (
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/listen"
	"github.com/portcullis-gateway/portcullis/modules/relay"
)

// An attendant accepts the connections of a socket in a loop of relay, where
// those stay that are plain.
type attendant struct {
	listener *listener
	socket   *listen.Socket
	taker    *listen.Taker
	loop     *relay.Loop
	watch    relay.Watch
	waiting  bool // after an error, for others to close some files
	ended    bool
}

// attend accepts the connections of a socket until the attendant leaves. It is
// not ok if they have to be accepted in another way.
func (l *listener) attend(s *listen.Socket) (a *attendant, ok bool) {
	if l.bind.ProxyProtocol || l.bind.Passed() {
		return nil, false
	}
	loop := relay.NextLoop()
	taker, err := s.Taker()
	if err != nil || loop == nil {
		return nil, false
	}
	a = &attendant{listener: l, socket: s, taker: taker, loop: loop}
	loop.Wait(func() { err = a.begin() })
	if err != nil {
		return nil, false
	}
	return a, true
}

// leave ends the accepting. What was accepted has become a flow then.
func (a *attendant) leave() {
	a.loop.Wait(a.end)
	relay.Settle()
}

func (a *attendant) begin() (err error) {
	controlErr := a.taker.Control(func(fd uintptr) { err = a.watch.Begin(a.loop, int(fd), 0, a) })
	if controlErr != nil {
		return controlErr
	}
	return err
}

func (a *attendant) end() {
	a.ended = true
	_ = a.taker.Control(func(uintptr) { a.watch.End() })
}

// Ready accepts one connection. Others wait for the next turn, so that the
// connections that are there have theirs.
func (a *attendant) Ready(bool) (again bool) {
	if a.waiting {
		return false
	}
	fd, peer, err := a.taker.Take()
	switch {
	case err == nil:
		a.give(fd, peer)
		return true
	case err == listen.ErrNone, closed(err):
		return false
	}
	// Such as too many open files: others may close some.
	a.waiting = true
	l := a.listener
	l.top.Load().logger.Error("accepting connections", zap.Stringer("listener", l.bind), zap.Error(err))
	time.AfterFunc(50*time.Millisecond, func() { a.loop.Do(a.retry) })
	return false
}

func (a *attendant) retry() {
	a.waiting = false
	if !a.ended && a.Ready(false) {
		a.loop.Do(a.retry)
	}
}

// give serves a connection in this loop, or in another one, if all come through
// this socket.
func (a *attendant) give(fd int, peer netip.AddrPort) {
	to := a.loop
	if len(a.listener.sockets) == 1 {
		to = relay.NextLoop()
	}
	if to == a.loop {
		a.listener.take(a.socket, to, fd, peer)
		return
	}
	to.Do(func() { a.listener.take(a.socket, to, fd, peer) })
}

// Late does nothing: there is no limit.
func (a *attendant) Late() {}

// Broken says that a connection was lost.
func (a *attendant) Broken(err error) {
	a.listener.top.Load().logger.Error("accepting connections", zap.Stringer("listener", a.listener.bind), zap.Error(err))
	a.loop.Do(a.retry)
}

// Interface guard
var _ relay.Watcher = (*attendant)(nil)
