package serve

import (
	"net"
	"sync"
)

// A handoff gives connections that turned out to speak HTTP/2 to net/http's
// server, as if it had accepted them.
type handoff struct {
	conns chan net.Conn
	once  sync.Once
	over  chan struct{}
}

func newHandoff() *handoff {
	return &handoff{conns: make(chan net.Conn), over: make(chan struct{})}
}

// give hands a connection over, or closes it if nobody takes it any more.
func (h *handoff) give(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.over:
		c.Close()
	}
}

// Accept implements net.Listener.
func (h *handoff) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.over:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handoff) Close() error {
	h.once.Do(func() { close(h.over) })
	return nil
}

// Addr implements net.Listener.
func (h *handoff) Addr() net.Addr { return &net.TCPAddr{} }

// Interface guards
var _ net.Listener = (*handoff)(nil)
