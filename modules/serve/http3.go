package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/transparent"
)

// altSvcAge is for how long clients may remember that there is HTTP/3.
const altSvcAge = 24 * time.Hour

// A quicDoor is a server's side of HTTP/3. Its UDP sockets are Caddy's: a server
// with other options shares them, so that connections of both get their packets
// while the first one drains.
type quicDoor struct {
	server    *http3.Server
	listeners []http3.QUICListener

	accepting gauge       // loops of Serve
	requests  gauge       // that are being answered
	refusing  atomic.Bool // handshakes that still come here belong to nobody
}

// openQUIC opens a socket for datagrams beside each one for connections. It
// keeps nothing open if it fails.
func (s *server) openQUIC(ctx context.Context) error {
	q := &quicDoor{}
	// Handshakes begin with the listening, before the server has its door.
	config := &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		return s.configForQUIC(q, hello)
	}}
	early := false // a request of 0-RTT can be replayed by others
	var seen []netip.AddrPort
	for _, sock := range s.sockets {
		addr := sock.AddrPort()
		if slices.Contains(seen, addr) {
			continue
		}
		seen = append(seen, addr)
		network := "udp4"
		switch {
		case addr.Addr().Is6() && s.config.Bind.IPv6Only == "off":
			network = "udp"
		case addr.Addr().Is6():
			network = "udp6"
		}
		na := caddy.NetworkAddress{
			Network: network, Host: addr.Addr().String(),
			StartPort: uint(addr.Port()), EndPort: uint(addr.Port()),
		}
		lc := net.ListenConfig{}
		if s.config.Bind.Transparent != "" {
			na.Network, lc.Control = transparent.QUICNetwork, s.config.Bind.ControlFamily(addr.Addr())
			if s.config.Bind.Intercepted {
				na.Network += transparent.Intercepted
			}
		}
		ln, err := na.ListenQUIC(ctx, 0, lc, config, nil, &early)
		if err != nil {
			q.release()
			return fmt.Errorf("flag \"http3\": %w", err)
		}
		q.listeners = append(q.listeners, ln)
	}
	q.server = &http3.Server{
		Handler:        http.HandlerFunc(s.serveHTTP3),
		MaxHeaderBytes: s.config.MaxHeaderBytes,
		IdleTimeout:    max(0, s.config.IdleTimeout),
		ConnContext:    s.quicContext,
	}
	s.quic = q
	return nil
}

// serve accepts connections until drain.
func (q *quicDoor) serve(s *server) {
	for _, ln := range q.listeners {
		q.accepting.add(1)
		go func() {
			defer q.accepting.add(-1)
			if err := q.server.ServeListener(ln); err != nil && !q.refusing.Load() && !errors.Is(err, http.ErrServerClosed) {
				s.logger().Error("accepting connections of HTTP/3", zap.Stringer("listener", s.config.Bind), zap.Error(err))
			}
		}()
	}
}

// serveHTTP3 counts the requests that drain waits for.
func (s *server) serveHTTP3(w http.ResponseWriter, r *http.Request) {
	s.quic.requests.add(1)
	defer s.quic.requests.add(-1)
	s.ServeHTTP(w, r)
}

// configForQUIC asks the generation that serves now for its TLS config.
func (s *server) configForQUIC(q *quicDoor, hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if q.refusing.Load() {
		return nil, http.ErrServerClosed
	}
	l := s.enter()
	if l == nil {
		return nil, http.ErrServerClosed
	}
	defer l.release()
	return l.TLS(hello)
}

// drain lets another server of the address accept, tells clients by GOAWAY to
// go there, and ends connections as soon as they have no request any more. What
// it returns brings the result when all are closed.
func (q *quicDoor) drain(grace context.Context) <-chan error {
	q.refusing.Store(true)
	for _, ln := range q.listeners {
		ln.Close() // for this server only
	}
	q.accepting.await(context.Background())
	ended := make(chan error, 1)
	over := make(chan struct{})
	go func() {
		defer close(over)
		ended <- q.server.Shutdown(grace)
	}()
	go func() {
		patience := time.NewTimer(handover)
		defer patience.Stop()
		select {
		case <-over:
			return
		case <-grace.Done():
			return
		case <-patience.C:
		}
		q.requests.await(grace)
		q.server.Close() // clients that keep an idle connection in spite of GOAWAY
	}()
	return ended
}

// await returns when the connections are closed. Handlers that do not end
// within the grace period are left behind, their connections are not.
func await(grace context.Context, ended <-chan error) error {
	select {
	case err := <-ended:
		return err
	case <-grace.Done():
	}
	select {
	case <-ended:
	case <-time.After(100 * time.Millisecond):
	}
	return grace.Err()
}

// release gives the sockets back; the last one who does closes them.
func (q *quicDoor) release() {
	for _, ln := range q.listeners {
		ln.Close() // the first call ends Accept
		ln.Close()
	}
}

// altSvc is the value of the header Alt-Svc that offers HTTP/3 to clients of the
// bind; nil if there is none.
func (s *server) altSvc(g Generation) []string {
	if s.quic == nil {
		return nil
	}
	port := s.sockets[0].AddrPort().Port()
	if g.PublicPort != nil {
		port = g.PublicPort(port)
	}
	return altSvcAt(port)
}

// altSvcAt offers HTTP/3 on a port of the host that was asked (RFC 7838).
func altSvcAt(port uint16) []string {
	return []string{`h3=":` + strconv.Itoa(int(port)) + `"; ma=` + strconv.Itoa(int(altSvcAge/time.Second))}
}

// quicContext counts a connection as one that waits, as long as it is open, and
// notes how it came to a bind with `transparent`.
func (s *server) quicContext(ctx context.Context, c *quic.Conn) context.Context {
	accepted.Add(1)
	phases[waiting].Add(1)
	context.AfterFunc(c.Context(), func() { phases[waiting].Add(-1) })
	to, ok := transparent.QUICDestination(c.RemoteAddr())
	if !ok {
		return ctx
	}
	arrival := transparent.Arrival{How: transparent.TPROXY, Destination: to}
	for _, sock := range s.sockets {
		if a := transparent.LocateDatagram(to, sock.AddrPort()); !a.How.Intercepted() {
			arrival = a
		}
	}
	ctx = context.WithValue(ctx, http.LocalAddrContextKey, net.Addr(net.UDPAddrFromAddrPort(to)))
	return context.WithValue(ctx, arrivalKey{}, arrival)
}
