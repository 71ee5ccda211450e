package serve

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"

	proxyproto "github.com/pires/go-proxyproto"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/listen"
	"github.com/portcullis-gateway/portcullis/transparent"
)

// Conn is an accepted connection; handlers get it with [ConnFrom]. It wraps
// *net.TCPConn itself, so that sendfile, splice and half-close keep working.
type Conn struct {
	*net.TCPConn
	server *server

	arrival transparent.Arrival // zero without `transparent`
	local   net.Addr            // what arrival says; nil without `transparent`

	header    *proxyproto.Conn // nil without `proxy_protocol`
	untrusted bool             // whether what header says is not believed

	phase atomic.Int32          // a phase
	fresh atomic.Bool           // no request has reached a handler yet
	last  atomic.Pointer[Lease] // the generation that served the last request
}

// ConnFrom returns the connection that a request came in on, from the
// request's context; from a ClientHelloInfo's context, that of the handshake.
// It is nil for requests of HTTP/3, and for those that no server of this package
// has read.
func ConnFrom(ctx context.Context) *Conn {
	c, _ := ctx.Value(connKey{}).(*Conn)
	return c
}

type connKey struct{}

// Ends are the addresses of a connection, with what is asked of them for each
// request.
type Ends struct {
	Peer, Local netip.AddrPort // invalid for a Unix socket
	PeerIP      string         // Peer's address; empty for a Unix socket
	LocalPort   string
}

func newEnds(nc net.Conn) Ends {
	e := Ends{Peer: transparent.AddrPort(nc.RemoteAddr()), Local: transparent.AddrPort(nc.LocalAddr())}
	if e.LocalPort = strconv.Itoa(int(e.Local.Port())); e.Peer.IsValid() {
		e.PeerIP = e.Peer.Addr().String()
	}
	return e
}

// EndsFrom returns the ends of the connection that a request came in on, as the
// server's listener and its wrappers have them; nil where ConnFrom has no
// connection.
func EndsFrom(ctx context.Context) *Ends {
	e, _ := ctx.Value(endsKey{}).(*Ends)
	return e
}

type endsKey struct{}

// connected is the context of a connection.
type connected struct {
	context.Context
	conn *Conn
	ends Ends
}

// Value implements context.Context.
func (c *connected) Value(key any) any {
	switch key.(type) {
	case connKey:
		return c.conn
	case endsKey:
		return &c.ends
	}
	return c.Context.Value(key)
}

// ArrivalFrom tells how a request's connection, of HTTP/3 too, came to a bind
// with `transparent`; of other binds it is the zero value.
func ArrivalFrom(ctx context.Context) transparent.Arrival {
	if c := ConnFrom(ctx); c != nil {
		return c.arrival
	}
	a, _ := ctx.Value(arrivalKey{}).(transparent.Arrival)
	return a
}

type arrivalKey struct{}

// Bind is the listener's address and flags, as the config has them.
func (c *Conn) Bind() listen.Bind { return c.server.config.Bind }

// Peer is the address of the socket at the other end. A PROXY protocol header
// does not change it.
func (c *Conn) Peer() netip.AddrPort { return addrPort(c.TCPConn.RemoteAddr()) }

// Local is the address that the client connected to: a particular one even if
// the bind is a wildcard, and somebody else's if the bind is `transparent`. A
// PROXY protocol header does not change it.
func (c *Conn) Local() netip.AddrPort { return addrPort(c.LocalAddr()) }

// LocalAddr is Local as a *net.TCPAddr.
func (c *Conn) LocalAddr() net.Addr {
	if c.local != nil {
		return c.local
	}
	return c.TCPConn.LocalAddr()
}

// Socket is the connection as the kernel has it, unless a PROXY protocol header
// may stand in front of what it brings.
func (c *Conn) Socket() *net.TCPConn { return c.TCPConn }

// Arrival tells how the connection came to a bind with `transparent`.
func (c *Conn) Arrival() transparent.Arrival { return c.arrival }

// Proxied returns the addresses in the PROXY protocol header: the client's, and
// the one it connected to. It is not ok if the bind has no `proxy_protocol`, if
// the header names no TCP addresses (LOCAL, UNKNOWN), or if the generation that
// accepted the connection did not trust its peer.
func (c *Conn) Proxied() (source, destination netip.AddrPort, ok bool) {
	if c.header == nil || c.untrusted {
		return
	}
	h := c.header.ProxyHeader()
	if h == nil || h.Command.IsLocal() {
		return
	}
	source, destination = addrPort(h.SourceAddr), addrPort(h.DestinationAddr)
	return source, destination, source.IsValid() && destination.IsValid()
}

// Close closes the connection, and ends its hold on the generation it was
// upgraded by.
func (c *Conn) Close() error {
	c.enter(gone)
	c.settled() // a listener wrapper may turn it away before net/http sees it
	c.server.closed(c)
	return c.TCPConn.Close()
}

// serving notes that a request has reached a handler.
func (c *Conn) serving(l *Lease) {
	c.enter(writing)
	c.last.Store(l)
	c.settled()
}

// settled notes that the server need not wait for a first request any more.
func (c *Conn) settled() {
	if c.fresh.CompareAndSwap(true, false) {
		c.server.fresh.add(-1)
	}
}

// addrPort returns an address that compares equal to the same one read from
// text, and the zero value for anything but TCP.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	addr := tcp.AddrPort()
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}

// proxied is a connection whose bytes begin with a PROXY protocol header. Only
// reading and writing pass through the parser: the addresses stay the
// socket's, as in nginx, where a header is one thing and `real_ip_header`
// another.
type proxied struct {
	*proxyproto.Conn
	conn *Conn
}

func (p proxied) LocalAddr() net.Addr  { return p.conn.LocalAddr() }
func (p proxied) RemoteAddr() net.Addr { return p.conn.RemoteAddr() }
func (p proxied) CloseWrite() error    { return p.conn.CloseWrite() }

// An acceptor makes the connections of one socket known to the server.
type acceptor struct {
	*listen.Socket
	server *server
}

// Accept returns a *Conn, or a proxied one.
func (a acceptor) Accept() (net.Conn, error) {
	tcp, arrival, err := a.admitted()
	if err != nil {
		return nil, err
	}
	c := &Conn{TCPConn: tcp, server: a.server, arrival: arrival}
	if c.Bind().Transparent != "" {
		c.local = net.TCPAddrFromAddrPort(arrival.Destination)
	}
	c.begin()
	c.fresh.Store(true)
	a.server.fresh.add(1)
	if !c.Bind().ProxyProtocol {
		return c, nil
	}
	if l := a.server.enter(); l != nil {
		c.untrusted = l.Trusted != nil && !l.Trusted(c.Peer().Addr())
		l.release()
	}
	c.header = proxyproto.NewConn(c,
		proxyproto.WithPolicy(proxyproto.REQUIRE),
		proxyproto.SetReadHeaderTimeout(max(0, a.server.config.ReadHeaderTimeout)))
	return proxied{c.header, c}, nil
}

// admitted accepts the next connection that the bind takes, however it arrived,
// and resets others.
func (a acceptor) admitted() (*net.TCPConn, transparent.Arrival, error) {
	for {
		tcp, err := a.AcceptTCP()
		if err != nil {
			return nil, transparent.Arrival{}, err
		}
		arrival, ok := a.Arrival(tcp)
		if ok {
			return tcp, arrival, nil
		}
		if c := a.server.logger().Check(zap.DebugLevel, "connection refused for how it arrived"); c != nil {
			c.Write(zap.Stringer("listener", a.server.config.Bind), zap.Stringer("remote", tcp.RemoteAddr()),
				zap.Stringer("arrived", arrival.How), zap.Stringer("destination", arrival.Destination))
		}
		_ = tcp.SetLinger(0)
		tcp.Close()
	}
}

// connOf finds the Conn inside of what net/http holds.
func connOf(nc net.Conn) *Conn {
	switch c := nc.(type) {
	case *Conn:
		return c
	case proxied:
		return c.conn
	case interface{ NetConn() net.Conn }: // *tls.Conn, and what listener wrappers make
		return connOf(c.NetConn())
	case interface{ Raw() net.Conn }: // *proxyproto.Conn
		return connOf(c.Raw())
	}
	return nil
}

// Interface guards
var (
	_ net.Listener = acceptor{}
	_ net.Conn     = (*Conn)(nil)
	_ net.Conn     = proxied{}

	_ interface{ CloseWrite() error } = proxied{}
)
