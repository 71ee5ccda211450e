package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"syscall"

	"github.com/portcullis-gateway/portcullis/modules/dial"
	"github.com/portcullis-gateway/portcullis/modules/hello"
	"github.com/portcullis-gateway/portcullis/modules/listen"
	"github.com/portcullis-gateway/portcullis/modules/relay"
)

// A plain flow needs nothing but that its bytes are passed on: no plugin acts on
// it, both ends are TCP as it is, and where it goes is known without waiting. It
// lives in a loop of relay. All others live in goroutines: see listener.serve.
//
// Its stations are: hear the ClientHello, if it has to be looked at; choose the
// place; the link, which connects and copies; end. From each of the first three
// it may leave for a goroutine: when it turns out not to be plain, from the
// start; when a try to connect has failed, for the tries that follow.
type plainFlow struct {
	flow
	listener *listener
	live     *liveFlow
	loop     *relay.Loop
	station  station

	client int         // the socket
	watch  relay.Watch // for the ClientHello

	chooser chooser
	dialer  dial.Dialer
	to      netip.AddrPort
	link    relay.Link
}

type station uint8

const (
	hearing station = iota // or not even that
	linked
	left // for a goroutine
	over
)

// take serves a connection that was accepted. The loop's goroutine calls it.
func (l *listener) take(s *listen.Socket, loop *relay.Loop, fd int, peer netip.AddrPort) {
	arrival, local, ok := s.Locate(fd, peer)
	if !ok {
		relay.ResetSocket(fd)
		return
	}
	p := &plainFlow{listener: l, loop: loop, client: fd}
	l.enter().begin(&p.flow, l.name, "tcp", peer, local)
	if l.bind.Transparent != "" {
		p.arrive(arrival)
	}
	p.live = l.begin(func() { loop.Do(p.cut) })
	defer p.guard()
	if !l.bind.SSL {
		p.proceed()
		return
	}
	if err := p.watch.Begin(loop, fd, p.engine.hello, p); err != nil {
		p.serve()
	}
}

// Ready looks at what the client has said so far, and leaves it there.
func (p *plainFlow) Ready(last bool) (again bool) {
	b, err := p.loop.Peek(p.client)
	if err != nil || last {
		p.serve() // who meets the same
		return false
	}
	h, _, err := hello.Peek(bytes.NewReader(b), make([]byte, 0, len(b)))
	switch {
	case err == nil:
		p.watch.End()
		p.facts.Protocol, p.facts.SNI = "tls", h.ServerName
		p.proceed()
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF): // there cannot be more to come
		p.serve()
	}
	return false
}

// Late has the client told that it took too long.
func (p *plainFlow) Late() { p.serve() }

// proceed goes on when all is known that the route depends on.
func (p *plainFlow) proceed() {
	if !p.choose() {
		p.serve()
		return
	}
	p.counts = countsOf(p.match.Route)
	p.counts.begin()
	s := p.match.Service
	source, err := s.Sources.For(p.place.address, p.facts.Source.Addr(), 0)
	if err != nil {
		p.retry(err)
		return
	}
	p.dialer = dial.Dialer{Guarded: !p.engine.options.AllowAdminUpstream, Source: source}
	upstream, connected, err := p.dialer.Begin(p.to)
	if err != nil {
		p.retry(err)
		return
	}
	k := &p.link
	k.Client, k.Upstream, k.Connecting, k.Owner = p.client, upstream, !connected, p
	k.Connect, k.Silence, k.Stall = milli(s.ConnectTimeout), milli(s.ReadTimeout), milli(s.WriteTimeout)
	k.TotalUp, k.TotalDown = &p.counts.up, &p.counts.down
	if err := k.Join(p.loop); err != nil {
		relay.ResetSocket(upstream)
		p.retry(err)
		return
	}
	p.station = linked
	p.up, p.down = &k.Up, &k.Down
	if connected {
		p.reached()
	}
}

// choose finds the flow's route and place, and reports whether the flow is a
// plain one.
func (p *plainFlow) choose() bool {
	f := &p.flow
	if chain := f.find(); chain != nil {
		if f.epoch != nil {
			f.epoch.Leave()
		}
		return false
	}
	s := f.match.Service
	if f.match.Route == nil || s == nil || s.Err != nil || s.ProxyProtocol != "" || f.encrypts() ||
		p.listener.bind.SSL && !f.passesThrough() {
		return false
	}
	if fail := f.choices(&p.chooser); fail != nil {
		return false
	}
	if fail := p.chooser.next(ended); fail != nil {
		return false // perhaps it has to wait
	}
	to, err := netip.ParseAddrPort(f.place.address)
	if err != nil || to.Addr().Zone() != "" {
		f.release()
		return false
	}
	p.to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	return true
}

// ended is a context of those who do not wait.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// Connected notes that the service was reached, if it was.
func (p *plainFlow) Connected() error {
	if dial.ToItself(p.link.Upstream, p.to) {
		return syscall.ECONNREFUSED
	}
	p.reached()
	return nil
}

// Failed tries again.
func (p *plainFlow) Failed(err error) { p.retry(p.dialer.Failed(p.to, err)) }

// Ended ends the flow.
func (p *plainFlow) Ended(err error) {
	p.station = over
	p.counts.end()
	p.finish(p.flow.ended(err))
}

// finish ends the flow, in a goroutine if that may take long.
func (p *plainFlow) finish(fail *failure) {
	if fail == nil && p.engine.access == nil {
		p.end(nil)
		p.listener.finish(p.live)
		p.engine.dropAside()
		return
	}
	go func() {
		defer p.done()
		p.end(fail)
	}()
}

// done is called in a goroutine when all is over.
func (p *plainFlow) done() {
	p.listener.finish(p.live)
	p.engine.drop()
}

// serve leaves for a goroutine, which begins from the start.
func (p *plainFlow) serve() {
	conn := p.leave()
	if conn == nil {
		return
	}
	f := p.engine.newFlow(p.flow.listener, "tcp", p.peer, p.local)
	f.start = p.start
	if p.arrived != nil {
		f.arrive(*p.arrived)
	}
	go func() {
		defer p.done()
		p.engine.serve(f, intake{conn: conn, tls: p.listener.bind.SSL}, p.begun)
	}()
}

// retry leaves for a goroutine after a try that has failed.
func (p *plainFlow) retry(err error) {
	conn := p.leave()
	if conn == nil {
		p.counts.end()
		return
	}
	go func() {
		defer p.done()
		fail := p.goOn(conn, err)
		if fail != nil {
			refuse(&intake{conn: conn, tls: p.listener.bind.SSL}, fail)
		}
		p.counts.end()
		p.end(fail)
	}()
}

func (p *plainFlow) goOn(conn net.Conn, err error) *failure {
	if fail := p.missed(err); fail != nil {
		return fail
	}
	upstream, fail := p.tryAll(&p.chooser)
	if fail != nil {
		return fail
	}
	return p.join(conn, upstream, nil, p.begun)
}

// leave makes the client's socket a connection of net. If it answers nil, the
// flow is at its end.
func (p *plainFlow) leave() net.Conn {
	p.watch.End()
	p.station = left
	conn, err := listen.Conn(p.client)
	if err != nil { // too many open files
		p.station = over
		p.finish(&failure{reason: "other", status: statusError, text: "connection cannot be served", err: err})
		return nil
	}
	p.cutBy(func() { conn.Close() })
	return conn
}

func (p *plainFlow) begun(r *relay.Relay) { p.cutBy(func() { r.Cut(errDrained) }) }

// cutBy says how the flow is cut from now on.
func (p *plainFlow) cutBy(cut func()) {
	p.listener.mu.Lock()
	defer p.listener.mu.Unlock()
	p.live.cut = cut
}

// cut ends the flow, as its listener does not wait any longer.
func (p *plainFlow) cut() {
	switch p.station {
	case linked:
		p.link.Cut(errDrained)
	case hearing:
		p.abandon(p.flow.ended(errDrained))
	case left:
		p.listener.mu.Lock()
		cut := p.live.cut
		p.listener.mu.Unlock()
		cut()
	}
}

// abandon ends a flow that has no link.
func (p *plainFlow) abandon(fail *failure) {
	p.watch.End()
	p.station = over
	relay.ResetSocket(p.client)
	p.finish(fail)
}

// guard keeps a panic from other flows.
func (p *plainFlow) guard() {
	if r := recover(); r != nil {
		p.Broken(fmt.Errorf("panic: %v\n%s", r, debug.Stack()))
	}
}

// Broken ends what has panicked.
func (p *plainFlow) Broken(err error) {
	switch p.station {
	case linked:
		p.link.Cut(err)
	case hearing:
		p.abandon(p.flow.ended(err))
	default:
		panic(err)
	}
}

// Interface guards
var (
	_ relay.Watcher = (*plainFlow)(nil)
	_ relay.Owner   = (*plainFlow)(nil)
)
