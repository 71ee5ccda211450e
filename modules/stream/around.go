package stream

import (
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync"

	"github.com/portcullis-gateway/portcullis/modules/relay"
	"github.com/portcullis-gateway/portcullis/transparent"
)

// around passes the connection through the plugins that are around it, and
// then to the service. A plugin may also keep it for itself.
func (f *flow) around(in *intake, begun func(*relay.Relay)) (fail *failure) {
	client, fail := f.client(in)
	if fail != nil {
		return fail
	}
	base := &outermost{Conn: client, first: in.first}
	called := false
	defer func() {
		if p := recover(); p != nil {
			fail = broken(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
		if fail == nil { // else the client is to be told, and then it is closed
			base.Close()
		}
	}()
	err := f.chain.Around(f.session, base, func(c net.Conn) error {
		called = true
		f.renamed(c)
		upstream, failed := f.connect()
		if failed != nil {
			fail = failed
			return nil
		}
		fail = f.join(&innermost{Conn: c, base: base}, upstream, nil, begun)
		exhaust(c)
		return nil
	})
	if !called && err != nil {
		return broken(err)
	}
	return fail
}

// renamed notes the addresses that a plugin has learned, as from a PROXY header.
func (f *flow) renamed(c net.Conn) {
	source := transparent.AddrPort(c.RemoteAddr())
	if !source.IsValid() || source == f.facts.Source || source == f.peer {
		return
	}
	f.facts.Source = source
	f.local, f.facts.Destination = transparent.AddrPort(c.LocalAddr()), public(f.engine.options, transparent.AddrPort(c.LocalAddr()))
	f.session.Client, f.session.Destination = f.facts.Source, f.facts.Destination
}

// exhaust lets plugins that watch what is read see its end. The connection is
// closed, so it does not wait.
func exhaust(c net.Conn) {
	var buf [512]byte
	for {
		if _, err := c.Read(buf[:]); err != nil {
			return
		}
	}
}

// An outermost connection is what plugins are around: after what was read
// before, the client's. Its end is always an end to them, as some of them take
// no notice of another error; the error is for the innermost.
type outermost struct {
	net.Conn
	first []byte

	mu  sync.Mutex
	err error // protected by mu; why it ended, other than in order
}

// Read answers what was read before, and then what comes.
func (c *outermost) Read(b []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(b, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	n, err := c.Conn.Read(b)
	if err != nil && err != io.EOF {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.err == nil {
			c.err = err
		}
		err = io.EOF
	}
	return n, err
}

// An innermost connection is what plugins have made of the outermost one.
type innermost struct {
	net.Conn
	base *outermost
}

// Read answers what comes through the plugins, and why it ended.
func (c *innermost) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == io.EOF {
		c.base.mu.Lock()
		defer c.base.mu.Unlock()
		if c.base.err != nil {
			err = c.base.err
		}
	}
	return n, err
}

// Close closes the client's connection, whatever plugins make of it.
func (c *innermost) Close() error { return c.base.Conn.Close() }

// CloseWrite ends what is sent to the client.
func (c *innermost) CloseWrite() error {
	if c, ok := c.base.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// NetConn is the client's connection.
func (c *innermost) NetConn() net.Conn { return c.base.Conn }
