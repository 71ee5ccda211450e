package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/http1"
	"github.com/portcullis-gateway/portcullis/modules/listen"
)

// A server is the part that outlives generations: sockets, connections, TLS
// session tickets.
type server struct {
	config  Config
	sockets []*listen.Socket
	http1   *http1.Server
	http    *http.Server // serves HTTP/2
	http2   *handoff     // to it
	tls     *tls.Config  // shared by all sockets, so a ticket from one is good for the others; nil without `ssl`
	quic    *quicDoor    // serves HTTP/3; nil without `http3`
	unmark  []func()     // take the sockets' privacy back

	top     atomic.Pointer[Lease] // serves; nil before the first and after the end
	closing atomic.Bool           // responses tell clients to go elsewhere

	accepting gauge // loops of Serve
	fresh     gauge // connections that have not had their first request
	upgraded  gauge // hijacked connections

	hurried   chan struct{} // closed by hurry
	hurryOnce sync.Once
	done      chan struct{} // closed at the end

	mu       sync.Mutex
	leases   []*Lease         // protected by mu, oldest first
	hijacked map[*Conn]*Lease // protected by mu
}

// newServer opens the sockets. Connections wait in their queues until the first
// generation is pushed.
func newServer(ctx context.Context, cfg Config, g Generation) (*server, error) {
	sockets, warnings, err := cfg.Bind.Listen(ctx)
	if err != nil {
		return nil, err
	}
	level := zap.WarnLevel
	if g.Usual {
		level = zap.DebugLevel
	}
	for _, warning := range warnings {
		g.Logger.Log(level, "listen flag not honoured",
			zap.String("option", cfg.Option), zap.Stringer("listener", cfg.Bind), zap.String("reason", warning))
	}
	s := &server{
		config:   cfg,
		sockets:  sockets,
		hurried:  make(chan struct{}),
		done:     make(chan struct{}),
		hijacked: make(map[*Conn]*Lease),
	}
	if cfg.Bind.HTTP3 {
		if err := s.openQUIC(ctx); err != nil {
			for _, sock := range sockets {
				sock.Close()
			}
			return nil, err
		}
	}
	if cfg.Private {
		for _, sock := range sockets {
			s.unmark = append(s.unmark, listen.MarkPrivate(sock.AddrPort()))
		}
	}
	s.http1 = &http1.Server{
		Handler:           s,
		Lists:             true,
		ReadHeaderTimeout: cfg.ReadHeaderTimeout,
		ReadTimeout:       cfg.ReadTimeout,
		WriteTimeout:      cfg.WriteTimeout,
		IdleTimeout:       cfg.IdleTimeout,
		MaxHeaderBytes:    cfg.MaxHeaderBytes,
		ErrorLog:          log.New(errorLog{s}, "", 0),
		ConnState:         s.connState,
		ConnContext:       connContext,
		Refusal:           s.refusal,
	}
	if cfg.Bind.HTTP2 {
		s.http2 = newHandoff()
		s.http1.HTTP2, s.http1.H2C = s.http2.give, !cfg.Bind.SSL
	}
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: cfg.ReadHeaderTimeout,
		ReadTimeout:       cfg.ReadTimeout,
		WriteTimeout:      cfg.WriteTimeout,
		IdleTimeout:       cfg.IdleTimeout,
		MaxHeaderBytes:    cfg.MaxHeaderBytes,
		ErrorLog:          s.http1.ErrorLog,
		ConnState:         s.connState,
		ConnContext:       connContext,
		Protocols:         protocols(cfg.Bind),
		TLSConfig:         &tls.Config{NextProtos: nextProtos(cfg.Bind)},
	}
	if cfg.Bind.SSL {
		s.tls = &tls.Config{GetConfigForClient: s.configForClient}
	}
	g.Logger.Info("listening", zap.String("option", cfg.Option), zap.Stringer("listener", cfg.Bind), zap.Int("sockets", len(sockets)))
	return s, nil
}

// protocols are what a bind speaks.
func protocols(b listen.Bind) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(b.HTTP2 && b.SSL)
	p.SetUnencryptedHTTP2(b.HTTP2 && !b.SSL)
	return p
}

// nextProtos are what a bind offers by ALPN, the best first.
func nextProtos(b listen.Bind) []string {
	if b.HTTP2 {
		return []string{"h2", "http/1.1"}
	}
	return []string{"http/1.1"}
}

// push puts a generation on top. The first one starts the accepting.
func (s *server) push(k key, g Generation) *Lease {
	l := &Lease{Generation: g, server: s, key: k, done: make(chan struct{}), altSvc: s.altSvc(g)}
	l.refs.Store(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.top.Load() == nil
	s.leases = append(s.leases, l)
	s.settle()
	if first {
		for _, sock := range s.sockets {
			s.accepting.add(1)
			go s.accept(sock, g.Wrap)
		}
		if s.http2 != nil {
			go s.http.Serve(s.http2) // until it is closed
		}
		if s.quic != nil {
			s.quic.serve(s)
		}
	}
	return l
}

// accept serves the connections of one socket until it is closed.
func (s *server) accept(sock *listen.Socket, wrap func(net.Listener) net.Listener) {
	defer s.accepting.add(-1)
	var ln net.Listener = acceptor{sock, s}
	if wrap != nil {
		ln = wrap(ln)
	}
	if s.tls != nil {
		ln = tls.NewListener(ln, s.tls)
	}
	if err := s.http1.Serve(ln); !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
		s.logger().Error("accepting connections", zap.Stringer("listener", s.config.Bind), zap.Error(err))
	}
}

// refusal is the answer to what is not a request.
func (s *server) refusal(status int) (contentType, body string) {
	if l := s.enter(); l != nil {
		defer l.release()
		if l.Refusal != nil {
			return l.Refusal(status)
		}
	}
	return "text/plain; charset=utf-8", http.StatusText(status)
}

// retire takes a generation off, and reports whether it was on.
func (s *server) retire(l *Lease) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.closed {
		return false
	}
	l.closed = true
	s.settle()
	return true
}

// settle lets the newest open generation serve. If none is open, the one that
// serves goes on: requests may still come while the server drains. The caller
// holds mu.
func (s *server) settle() {
	top := s.top.Load()
	for _, l := range s.leases {
		if !l.closed {
			top = l
		}
	}
	s.top.Store(top)
	s.leases = slices.DeleteFunc(s.leases, func(l *Lease) bool {
		gone := l.closed && l != top
		if gone {
			l.release()
		}
		return gone
	})
}

// enter returns the generation that serves, held. It returns nil when the
// server has ended.
func (s *server) enter() *Lease {
	for {
		l := s.top.Load()
		if l == nil || l.hold() {
			return l
		}
	}
}

// ServeHTTP gives a request to the generation that serves now.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l := s.enter()
	if l == nil {
		panic(http.ErrAbortHandler) // the connection is closed already
	}
	defer l.release()
	requests.Add(1)
	c := ConnFrom(r.Context())
	if c != nil {
		c.serving(l)
	}
	if r.ProtoMajor < 3 {
		if s.closing.Load() {
			http1.Expand(w, r)
			if r.Header.Get("Upgrade") == "" {
				w.Header().Set("Connection", "close")
			}
		} else if l.altSvc != nil {
			w.Header()["Alt-Svc"] = l.altSvc
			if c != nil && c.arrival.How.Intercepted() { // the client knows no other port
				w.Header()["Alt-Svc"] = altSvcAt(c.arrival.Destination.Port())
			}
		}
	}
	if !l.Lists {
		http1.Expand(w, r)
	}
	l.Handler.ServeHTTP(w, r)
}

// configForClient asks the generation that serves now for its TLS config.
func (s *server) configForClient(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	l := s.enter()
	if l == nil {
		return nil, http.ErrServerClosed
	}
	defer l.release()
	given, err := l.TLS(hello)
	return l.withProtos(given, s.http.TLSConfig.NextProtos), err
}

func connContext(ctx context.Context, nc net.Conn) context.Context {
	return &connected{ctx, connOf(nc), newEnds(nc)}
}

// connState follows what net/http does with a connection.
func (s *server) connState(nc net.Conn, state http.ConnState) {
	c := connOf(nc)
	if c == nil {
		return
	}
	switch state {
	case http.StateActive:
		c.enter(reading)
	case http.StateIdle:
		c.enter(waiting)
	case http.StateClosed:
		c.settled()
	case http.StateHijacked:
		s.hijack(c)
	}
}

// hijack keeps the generation in use that upgraded the connection.
func (s *server) hijack(c *Conn) {
	l := c.last.Load() // held by the request that hijacks
	l.refs.Add(1)
	s.upgraded.add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hijacked[c] = l
}

// closed ends that use.
func (s *server) closed(c *Conn) {
	s.mu.Lock()
	l, ok := s.hijacked[c]
	delete(s.hijacked, c)
	s.mu.Unlock()
	if ok {
		l.release()
		s.upgraded.add(-1)
	}
}

// logger is that of the generation that serves.
func (s *server) logger() *zap.Logger {
	if l := s.top.Load(); l != nil {
		return l.Logger
	}
	return zap.NewNop()
}
