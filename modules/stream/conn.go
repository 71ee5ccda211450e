package stream

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/relay"
)

// An intake is a connection as it came.
type intake struct {
	conn  net.Conn // *net.TCPConn, if bytes are to be spliced
	first []byte   // what was read from it already

	proxyProtocol bool // whether it begins with a PROXY header
	tls           bool // whether it begins with a ClientHello

	// terminated tells that TLS was spoken with the client before, for the
	// server name in it.
	terminated *tls.ConnectionState
}

// serve passes a connection to its service, and returns when both have ended.
// The relay can be cut once it was given to begun.
func (e *Engine) serve(f *flow, in intake, begun func(*relay.Relay)) {
	fail := f.run(&in, begun)
	if fail != nil {
		refuse(&in, fail)
	}
	f.end(fail)
}

// refuse closes a connection that could not be served, in the way that its
// client understands: with an alert if it waits for the answer to its
// ClientHello, and without a close_notify if TLS is spoken already. The answer
// of a plugin is for those that can read it.
func refuse(in *intake, fail *failure) {
	waiting := in.tls && in.terminated == nil
	switch {
	case !waiting && len(fail.answer) > 0:
		_ = in.conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = in.conn.Write(fail.answer)
	case in.terminated != nil:
		relay.Reset(in.conn)
		return
	case waiting && fail.alert != 0:
		sendAlert(in.conn, fail.alert)
	}
	in.conn.Close()
}

// run does what serve does, up to the failure.
func (f *flow) run(in *intake, begun func(*relay.Relay)) *failure {
	if in.proxyProtocol || in.tls {
		if fail := f.listen(in); fail != nil {
			return fail
		}
	}
	if state := in.terminated; state != nil {
		f.facts.Protocol, f.facts.SNI = "tls", state.ServerName
		f.tls = state
	}
	if fail := f.route(); fail != nil {
		return fail
	}
	f.counts.begin()
	defer f.counts.end()

	if f.chain.Stands() {
		return f.around(in, begun)
	}
	upstream, fail := f.connect()
	if fail != nil {
		return fail
	}
	client, fail := f.client(in)
	if fail != nil {
		upstream.Close()
		return fail
	}
	return f.join(client, upstream, in.first, begun)
}

// join copies between the two until they have ended, and closes both.
func (f *flow) join(client, upstream net.Conn, first []byte, begun func(*relay.Relay)) *failure {
	s := f.match.Service
	r := &relay.Relay{
		Client: client, Upstream: upstream, First: first,
		Silence: milli(s.ReadTimeout), Stall: milli(s.WriteTimeout),
		TotalUp: &f.counts.up, TotalDown: &f.counts.down,
	}
	f.up, f.down = &r.Up, &r.Down
	if begun != nil {
		begun(r)
	}
	return f.ended(r.Run())
}

// passesThrough reports whether TLS is between the client and the service, and
// the gateway only looks at the server name.
func (f *flow) passesThrough() bool {
	return slices.Contains(f.match.Route.Protocols, "tls_passthrough")
}

// listen reads what a connection has to begin with: a PROXY header, a
// ClientHello, or both.
func (f *flow) listen(in *intake) *failure {
	_ = in.conn.SetReadDeadline(f.start.Add(f.engine.hello))
	if in.proxyProtocol {
		said, rest, err := readProxyHeader(in.conn)
		if err != nil {
			return f.silent(err, "proxy_protocol", "client sent no PROXY protocol header")
		}
		if said.source.IsValid() && f.engine.options.Trusts(f.peer.Addr()) {
			f.facts.Source = said.source
			f.local, f.facts.Destination = said.destination, said.destination
		}
		in.first = slices.Concat(in.first, rest)
	}
	if in.tls {
		f.facts.Protocol = "tls"
		c, buf := io.ReadWriter(in.conn), helloBuffers.Get().(*[]byte)
		if len(in.first) > 0 {
			c = &replay{Conn: in.conn, first: in.first}
		}
		h, read, asked, err := greet(c, *buf)
		f.postgres = asked
		in.first = slices.Clone(read)
		if rest, ok := c.(*replay); ok {
			in.first = append(in.first, rest.first...)
		}
		helloBuffers.Put(buf)
		if err != nil {
			return f.silent(err, "client_hello", "client sent no ClientHello")
		}
		f.facts.SNI = h.ServerName
	}
	_ = in.conn.SetReadDeadline(time.Time{})
	return nil
}

// silent is what becomes of a client that does not say what it has to.
func (f *flow) silent(err error, reason, text string) *failure {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		text += " in time"
	}
	return &failure{reason: reason, status: statusBadRequest, text: text, err: err, client: true}
}

// client is the client's end of what is passed on: the connection itself, or
// what is inside of its TLS if that ends here.
func (f *flow) client(in *intake) (net.Conn, *failure) {
	if !in.tls || in.terminated != nil || f.passesThrough() {
		return in.conn, nil
	}
	_ = in.conn.SetDeadline(time.Now().Add(f.engine.hello))
	c := tls.Server(&replay{Conn: in.conn, first: in.first}, f.engine.tls)
	if err := c.Handshake(); err != nil {
		return nil, &failure{reason: "handshake", status: statusBadRequest, text: "tls handshake with the client failed", err: err, client: true}
	}
	_ = in.conn.SetDeadline(time.Time{})
	state := c.ConnectionState()
	in.first, in.terminated = nil, &state
	if f.session != nil {
		f.session.TLS = &state
	}
	return c, nil
}

var helloBuffers = newBuffers(4096)

// A replay is a connection of which something was read before.
type replay struct {
	net.Conn
	first []byte
}

// Read answers what was read before, and then what comes.
func (r *replay) Read(b []byte) (int, error) {
	if len(r.first) > 0 {
		n := copy(b, r.first)
		r.first = r.first[n:]
		return n, nil
	}
	return r.Conn.Read(b)
}

// NetConn is the connection itself.
func (r *replay) NetConn() net.Conn { return r.Conn }

// CloseWrite ends what is sent.
func (r *replay) CloseWrite() error {
	if c, ok := r.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}
