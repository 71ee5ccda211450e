package serve

import (
	"crypto/tls"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
)

// Lease is one generation's hold on a server.
type Lease struct {
	Generation
	server *server
	key    key

	refs atomic.Int64  // one for its place in the server, one for each user
	done chan struct{} // closed when refs reaches 0

	alpn   atomic.Pointer[alpnConfig]
	altSvc []string // offers HTTP/3; nil without

	closed bool // protected by server.mu
}

// Addrs are the addresses of the server's sockets, one for each address of the
// bind, with the port that the system chose if the bind left it open.
func (l *Lease) Addrs() []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, s := range l.server.sockets {
		if addr := s.AddrPort(); !slices.Contains(addrs, addr) {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// Close takes the generation off the server. It does not wait, and a second
// call does nothing.
//
// If it was the last one, the server drains: it accepts what has already
// connected, and answers everything with "Connection: close" (in HTTP/2, with
// GOAWAY); then idle connections are closed and the running requests may go on
// for the grace period. All that time, this generation's handler is in use. If
// another server of this process has the same address, clients move over to it
// in the first second of this. Two things remain that they may notice: a
// request sent on an idle connection in the very moment it is closed, which
// HTTP/1.1 cannot prevent, and a handshake that takes longer than that second.
func (l *Lease) Close() {
	if l.server.retire(l) {
		pool.Delete(l.key)
	}
}

// Done is closed when the generation has been closed and nothing uses it any
// more: no request, no upgraded connection, and no server that drains.
func (l *Lease) Done() <-chan struct{} { return l.done }

// Stop closes leases, as an app's Stop should. If the process is exiting, it
// also waits until their servers have drained, and those that previous configs
// have left draining; upgraded connections without a grace period are cut then,
// as they might never end. Otherwise it does not wait.
func Stop(leases ...*Lease) {
	for _, l := range leases {
		l.Close()
	}
	if !exiting() {
		return
	}
	for _, l := range leases {
		l.server.hurry()
		select {
		case <-l.Done():
		case <-l.server.done:
		}
	}
	for _, s := range draining.all() {
		s.hurry()
		<-s.done
	}
}

// exiting is a variable for the tests.
var exiting = caddy.Exiting

// hold keeps the generation in use until release is called. It fails if the
// generation is done.
func (l *Lease) hold() bool {
	for {
		n := l.refs.Load()
		if n == 0 {
			return false
		}
		if l.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (l *Lease) release() {
	if l.refs.Add(-1) == 0 {
		close(l.done)
	}
}

// An alpnConfig is a generation's TLS config with the server's protocols.
type alpnConfig struct{ given, complete *tls.Config }

// withProtos completes a config from the generation. As the generation is
// expected to return the same one each time, the last is remembered.
func (l *Lease) withProtos(given *tls.Config, protos []string) *tls.Config {
	if given == nil {
		return nil
	}
	if last := l.alpn.Load(); last != nil && last.given == given {
		return last.complete
	}
	complete := given.Clone()
	complete.NextProtos = append(slices.Clone(protos), given.NextProtos...)
	l.alpn.Store(&alpnConfig{given, complete})
	return complete
}
