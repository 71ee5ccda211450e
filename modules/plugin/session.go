package plugin

import (
	"crypto/tls"
	"net"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// A Session is a TCP connection or UDP session on its way through the gateway,
// as plugins see it. It belongs to one goroutine.
type Session struct {
	ID          string
	Protocol    string // tcp, tls, tls_passthrough or udp
	SNI         string // empty: none was sent, or the protocol has none
	Client      netip.AddrPort
	Destination netip.AddrPort  // the address of the gateway that was connected to
	Route       *entity.Route   // nil in the phase log, if none was found
	Service     *entity.Service // nil: none
	Start       time.Time
	Directory   Directory
	Logger      *zap.Logger

	// TLS is what was agreed on with the client; nil before its handshake, and
	// where the gateway has no part in it.
	TLS *tls.ConnectionState

	Outcome SessionOutcome // in the phase log

	run run
}

// SessionOutcome is what became of a session.
type SessionOutcome struct {
	Status   int   // as Kong logs it: 200; 502: the service could not be connected; that of a plugin that refused
	Received int64 // bytes from the client that were passed on
	Sent     int64 // bytes to the client that came from the service
	Duration time.Duration
	Tries    []Try
}

// Set keeps a value for the plugin that is running, for its later phases.
func (s *Session) Set(v any) { s.run.slots[s.run.at] = v }

// Value answers what the plugin that is running has Set, or nil.
func (s *Session) Value() any { return s.run.slots[s.run.at] }

// Preread runs the plugins' phase of that name on a session, which is to be
// ended if there is an error: with the answer of a plugin, if it is one.
// Afterwards, in any case, LogSession ends it.
func (c *Chain) Preread(s *Session) error {
	s.run.begin(c)
	for i := range c.steps {
		in := s.run.choose(c, i, nil)
		switch {
		case in == nil:
		case in.err != nil:
			s.run.rest(c, 0, nil)
			return in.explain(in.err)
		case in.preread != nil:
			s.run.at = i
			if err := in.preread.Preread(s); err != nil {
				s.run.rest(c, 0, nil)
				return in.explain(err)
			}
		}
	}
	return nil
}

// SkipPreread stands for Preread on a session that no route was found for.
func (c *Chain) SkipPreread(s *Session) {
	s.run.begin(c)
	s.run.rest(c, 0, nil)
}

// Stands reports whether a plugin may be around the connections of clients.
func (c *Chain) Stands() bool { return c != nil && c.stands }

// Around calls next with the client's connection as those plugins make it that
// are around it. It follows Preread.
func (c *Chain) Around(s *Session, conn net.Conn, next func(net.Conn) error) error {
	return c.around(s, 0, conn, next)
}

func (c *Chain) around(s *Session, from int, conn net.Conn, next func(net.Conn) error) error {
	for i := from; i < len(s.run.chosen); i++ {
		in := s.run.chosen[i]
		if in == nil || in.phases.around == nil {
			continue
		}
		s.run.at = i
		return in.explain(in.phases.around.AroundSession(s, conn, func(conn net.Conn) error {
			return c.around(s, i+1, conn, next)
		}))
	}
	return next(conn)
}

// LogSession runs the plugins' phase log.
func (c *Chain) LogSession(s *Session) {
	for i, in := range s.run.chosen {
		if in != nil && in.logSession != nil {
			s.run.at = i
			in.logSession.LogSession(s)
		}
	}
	s.run.reset()
}
