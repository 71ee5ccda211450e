package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/transparent"
)

// Socket is one accepting socket of a bind. One goroutine at a time may call
// Accept.
type Socket struct {
	*net.TCPListener
	addr netip.AddrPort
	key  groupKey

	passed bool // to the process, which keeps it

	modes       transparent.Modes
	intercepted bool

	closeOnce sync.Once
	closeErr  error

	quiet    atomic.Int64 // a time.Duration; set by Drain, before it wakes Accept
	lastCall time.Time    // touched by Accept only: when draining ends at the latest
}

// Listen opens the bind's sockets and sets every flag on them: one socket, or
// one for each processor with ReusePort; for a hostname, that many for each of
// its addresses. With port 0 the sockets of one address share the port that the
// system chose for the first.
//
// SO_REUSEPORT is always set, so that a socket with other flags can be opened
// beside the one it will replace. Because this would also let a second gateway
// of the same user share the port without a word, Listen first makes sure that
// nobody but this package's own sockets listens there.
//
// Multipath TCP is off: on such connections the kernel hides the destination a
// firewall has redirected.
//
// Sockets that were passed to the process (`fd/3`) are shared with whoever
// listened before; flags that shape a socket when it is opened are warned of.
//
// A flag that this system cannot honour makes a warning that names it. An
// error names the address and, where one is known, the remedy; no socket is
// left open then.
func (b Bind) Listen(ctx context.Context) (sockets []*Socket, warnings []string, err error) {
	if b.Passed() {
		return b.adopt()
	}
	addrs, err := b.resolve(ctx)
	if err != nil {
		return nil, nil, err
	}
	var failures []error
	for _, addr := range addrs {
		opened, notes, err := b.listenAt(ctx, addr)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		sockets = append(sockets, opened...)
		for _, note := range notes {
			if !slices.Contains(warnings, note) {
				warnings = append(warnings, note)
			}
		}
	}
	// A name may well have an address this host lacks ("localhost" and ::1).
	for _, failure := range failures {
		if len(sockets) > 0 && missingAddress(failure) {
			warnings = append(warnings, failure.Error())
			continue
		}
		for _, s := range sockets {
			s.Close()
		}
		return nil, nil, failure
	}
	return sockets, warnings, nil
}

// resolve returns the addresses to open, without duplicates.
func (b Bind) resolve(ctx context.Context) ([]netip.AddrPort, error) {
	ips := []netip.Addr{}
	if ip, err := netip.ParseAddr(b.Address); err == nil {
		ips = append(ips, ip)
	} else if ips, err = net.DefaultResolver.LookupNetIP(ctx, "ip", b.Address); err != nil {
		return nil, fmt.Errorf("listen tcp %s: %w", b.HostPort(), err)
	}
	var addrs []netip.AddrPort
	for _, ip := range ips {
		if addr := netip.AddrPortFrom(ip.Unmap(), b.Port); !slices.Contains(addrs, addr) {
			addrs = append(addrs, addr)
		}
	}
	return addrs, nil
}

// listenAt opens the sockets of one address.
func (b Bind) listenAt(ctx context.Context, addr netip.AddrPort) (sockets []*Socket, warnings []string, err error) {
	open.mu.Lock()
	defer open.mu.Unlock()

	defer func() {
		if err != nil {
			err = explain(err, addr)
			for _, s := range sockets {
				s.TCPListener.Close()
			}
			sockets = nil
		}
	}()
	if addr.Port() != 0 && !open.holds(addr) {
		if err := probe(addr, b.IPv6Only != "off"); err != nil {
			return nil, nil, err
		}
	}
	count := 1
	if b.ReusePort {
		count, warnings = b.fanOut()
	}
	for i := range count {
		s, notes, err := b.listenOne(ctx, addr)
		if err != nil {
			return sockets, nil, err
		}
		if i == 0 {
			warnings = append(warnings, notes...)
			addr = s.addr
		}
		sockets = append(sockets, s)
	}
	for _, s := range sockets {
		open.add(s)
	}
	return sockets, warnings, nil
}

// fanOut is how many sockets `reuseport` opens.
func (b Bind) fanOut() (int, []string) {
	if !spreadsConnections {
		return 1, []string{`flag "reuseport": this system would give all connections to one of the sockets; one is open`}
	}
	return runtime.GOMAXPROCS(0), nil
}

// listenOne opens one socket.
func (b Bind) listenOne(ctx context.Context, addr netip.AddrPort) (*Socket, []string, error) {
	options := b.options(addr.Addr())
	var warnings []string
	lc := net.ListenConfig{
		Control: func(_, _ string, c syscall.RawConn) error {
			if err := c.Control(func(fd uintptr) { warnings = setAll(fd, options) }); err != nil {
				return err
			}
			if b.Transparent == "" {
				return nil
			}
			return b.modes().Control("", "", c)
		},
	}
	lc.SetMultipathTCP(false)
	b.SoKeepalive.apply(&lc)
	inheritKeepAlive(&lc)

	network := "tcp4"
	if addr.Addr().Is6() {
		network = "tcp6" // Go sets IPV6_V6ONLY for it, and options may undo that
	}
	ln, err := lc.Listen(ctx, network, addr.String())
	if err != nil {
		return nil, nil, err
	}
	tcp := ln.(*net.TCPListener)
	if b.IPv6Only != "" && addr.Addr().Is4() {
		warnings = append(warnings, fmt.Sprintf("flag \"ipv6only=%s\": means nothing for the IPv4 address %s", b.IPv6Only, addr.Addr()))
	}
	if b.Backlog > 0 {
		warnings = append(warnings, setBacklogOf(tcp, b.Backlog)...)
	}
	bound := tcp.Addr().(*net.TCPAddr).AddrPort()
	return &Socket{
		TCPListener: tcp, addr: bound, key: groupKey{bound, b.IPv6Only != "off"},
		modes: b.modes(), intercepted: b.Intercepted,
	}, warnings, nil
}

// ControlFamily is for sockets that others open for the bind's addresses: it
// makes an IPv6 wildcard leave IPv4 alone, or not, as the bind has it.
func (b Bind) ControlFamily(addr netip.Addr) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		if !addr.Is6() {
			return nil
		}
		var err error
		ctlErr := c.Control(func(fd uintptr) { err = setIPv6Only(fd, b.IPv6Only != "off") })
		return errors.Join(ctlErr, err)
	}
}

// AddrPort is the address the socket is bound to, with the port the system
// chose if it was left to it.
func (s *Socket) AddrPort() netip.AddrPort { return s.addr }

// Arrival tells how an accepted connection came to a bind with `transparent`;
// of other binds it is the zero value. It is not ok if the bind does not take
// such connections. Ask as soon as the connection is accepted.
func (s *Socket) Arrival(c *net.TCPConn) (a transparent.Arrival, ok bool) {
	if s.modes == 0 {
		return a, true
	}
	a = s.modes.Locate(c, s.addr)
	return a, s.modes.Admits(a.How, s.intercepted)
}

// Accept waits for the next connection, which is a *net.TCPConn. It returns
// net.ErrClosed when the socket was closed, or has been drained.
func (s *Socket) Accept() (net.Conn, error) {
	c, err := s.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// AcceptTCP is Accept with the concrete type.
func (s *Socket) AcceptTCP() (*net.TCPConn, error) {
	for {
		if !s.lastCall.IsZero() {
			s.SetDeadline(earlier(time.Now().Add(time.Duration(s.quiet.Load())), s.lastCall))
		}
		c, err := s.TCPListener.AcceptTCP()
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return c, err
		}
		// Only Drain sets the first deadline, to end the wait for a connection.
		if s.lastCall.IsZero() {
			s.lastCall = time.Now().Add(maxQuiets * time.Duration(s.quiet.Load()))
			continue
		}
		// The time may be over because this machine is busy.
		if time.Since(s.lastCall) < mercy && s.waiting() {
			s.SetDeadline(time.Now().Add(mercy))
			if c, err := s.TCPListener.AcceptTCP(); !errors.Is(err, os.ErrDeadlineExceeded) {
				return c, err
			}
		}
		s.Close()
		return nil, net.ErrClosed
	}
}

// Close closes the socket. The kernel resets connections that wait in its
// queue; see [Drain].
func (s *Socket) Close() error {
	s.closeOnce.Do(func() {
		if s.passed {
			adopted.add(s.addr, -1)
			s.closeErr = s.TCPListener.Close()
			return
		}
		open.mu.Lock()
		defer open.mu.Unlock()
		s.closeErr = open.remove(s)
	})
	return s.closeErr
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// explain adds what the operator can do about an error from bind or listen. The
// caller holds open.mu.
func explain(err error, addr netip.AddrPort) error {
	var denied *transparent.PrivilegeError
	switch {
	case errors.As(err, &denied):
		return fmt.Errorf("listen %s: flag \"transparent\": %w", addr, denied)
	case errors.Is(err, syscall.EACCES) && addr.Port() < 1024:
		return fmt.Errorf("%w: ports below 1024 need the capability CAP_NET_BIND_SERVICE "+
			"(systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE; binary: setcap cap_net_bind_service=+ep), "+
			"or choose a port from 1024 up", err)
	case errors.Is(err, syscall.EADDRINUSE) && !sharesAddresses && open.holds(addr):
		return fmt.Errorf("%w: this process listens there with other options, which this system lets it change only by a restart", err)
	case errors.Is(err, syscall.EADDRINUSE) && caddyListensOn(addr):
		return fmt.Errorf("%w: a Caddy site of this process listens there; choose another port for one of them", err)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: another process listens there; stop it, or choose another port", err)
	case missingAddress(err):
		return fmt.Errorf("%w: no network interface of this host has the address", err)
	}
	return err
}

// caddyListensOn reports whether one of Caddy's own servers holds the address.
func caddyListensOn(addr netip.AddrPort) bool {
	any4, any6 := netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port()), netip.AddrPortFrom(netip.IPv6Unspecified(), addr.Port())
	for _, spelling := range []string{any4.String(), any6.String(), fmt.Sprintf(":%d", addr.Port())} {
		if caddy.ListenerUsage("tcp", spelling) > 0 {
			return true
		}
	}
	return caddyListensAt(addr)
}

// caddyListensAt does the same for this address alone.
func caddyListensAt(addr netip.AddrPort) bool { return caddy.ListenerUsage("tcp", addr.String()) > 0 }

func missingAddress(err error) bool {
	return errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)
}

// Interface guards
var _ net.Listener = (*Socket)(nil)
