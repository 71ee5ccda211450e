package transparent

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"

	"go.uber.org/zap"
)

// Conn is an accepted connection that knows where its client wanted to go. It
// embeds *net.TCPConn itself, so that sendfile, splice and half-close keep
// working.
type Conn struct {
	*net.TCPConn
	arrival Arrival
	local   *net.TCPAddr
}

func newConn(c *net.TCPConn, a Arrival) *Conn {
	return &Conn{c, a, net.TCPAddrFromAddrPort(a.Destination)}
}

// LocalAddr is the original destination, as a *net.TCPAddr.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// Arrival tells how the connection came here.
func (c *Conn) Arrival() Arrival { return c.arrival }

// NetConn is the connection as the kernel sees it.
func (c *Conn) NetConn() net.Conn { return c.TCPConn }

// ArrivalOf finds out how a connection came here: from a [Conn], or what TLS and
// others have made of it. It is not ok if none of this package's listeners has
// accepted it.
func ArrivalOf(c net.Conn) (Arrival, bool) {
	for c != nil {
		if known, ok := c.(interface{ Arrival() Arrival }); ok {
			return known.Arrival(), true
		}
		if inner, ok := c.(interface{ NetConn() net.Conn }); ok {
			c = inner.NetConn()
			continue
		}
		// Some of Caddy's and caddy-l4's own connections embed what they wrap,
		// and have no method for it.
		inner, ok := embedded(c, "Conn").(net.Conn)
		if !ok {
			break
		}
		c = inner
	}
	return Arrival{}, false
}

// embedded is the exported field of a struct, such as an embedded one; nil if
// it has none of that name.
func embedded(v any, field string) any {
	s := reflect.Indirect(reflect.ValueOf(v))
	if s.Kind() != reflect.Struct {
		return nil
	}
	f := s.FieldByName(field)
	if !f.IsValid() || !f.CanInterface() {
		return nil
	}
	return f.Interface()
}

// Listener accepts connections that were addressed to others, and tells how
// each of them came. Direct ones it accepts, too, unless it is not to.
type Listener struct {
	net.Listener
	bound    netip.AddrPort
	modes    Modes
	required bool
	logger   *zap.Logger
}

// NewListener makes one of a listener whose socket [Modes.Control] has
// prepared, and which accepts *net.TCPConn. With required, connections that were
// not intercepted are closed.
func NewListener(ln net.Listener, modes Modes, required bool, logger *zap.Logger) *Listener {
	return &Listener{Listener: ln, bound: AddrPort(ln.Addr()), modes: modes, required: required, logger: logger}
}

// Accept answers a *Conn. Connections that the listener does not admit are
// closed, with a line in the debug log.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp, ok := c.(*net.TCPConn)
		if !ok {
			c.Close()
			return nil, fmt.Errorf("transparent: the listener below accepts %T instead of a TCP connection; "+
				"the wrapper transparent has to be the first", c)
		}
		a := l.modes.Locate(tcp, l.bound)
		if l.modes.Admits(a.How, l.required) {
			return newConn(tcp, a), nil
		}
		if ce := l.logger.Check(zap.DebugLevel, "connection refused for how it arrived"); ce != nil {
			ce.Write(zap.Stringer("listener", l.bound), zap.Stringer("remote", tcp.RemoteAddr()),
				zap.Stringer("arrived", a.How), zap.Stringer("destination", a.Destination))
		}
		refuse(tcp)
	}
}

// refuse resets a connection, so that its client knows at once.
func refuse(c *net.TCPConn) {
	_ = c.SetLinger(0)
	c.Close()
}

// brokenListener is what a listener wrapper can answer instead of an error: it
// fails as soon as it is used.
type brokenListener struct {
	net.Listener
	err error
}

func (l brokenListener) Accept() (net.Conn, error) { return nil, l.err }

// socketOf digs the socket out of what Caddy wraps around it, which embeds the
// listener in a field of that name and has no method that answers it.
func socketOf(ln net.Listener) (*net.TCPListener, error) {
	var at any = ln
	for at != nil {
		if tcp, ok := at.(*net.TCPListener); ok {
			return tcp, nil
		}
		at = embedded(at, "Listener")
	}
	return nil, errors.New("no TCP socket is to be found in the listener")
}
