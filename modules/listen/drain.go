package listen

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// How long no connection may come before a socket that drains is closed.
const (
	// lull is for a socket without a successor: clients are to be told soon
	// that nobody listens any more.
	lull = 10 * time.Millisecond

	// handshake is for one with a successor. It should be longer than a round
	// trip, as the kernel resets a connection whose handshake has begun at a
	// socket that is closed before it ends.
	handshake = 250 * time.Millisecond

	// maxQuiets bounds a drain under steady load, in multiples of the above.
	maxQuiets = 4
)

// Drain ends sockets without cutting off connections that clients have
// completed and nobody has accepted yet: each one's Accept goes on until no
// connection comes any more, then closes the socket and returns net.ErrClosed.
// Drain itself does not wait, and does not touch sockets that drain already.
//
// It reports whether the sockets are replaced: whether others of this process
// listen on the same address. In that case they stay open a little longer, for
// handshakes under way. On Linux, the kernel is told to send all new
// connections to the others; elsewhere the old sockets get their share to the
// end, and the kernel may reset some of the last.
func Drain(sockets ...*Socket) (replaced bool) {
	open.mu.Lock()
	defer open.mu.Unlock()
	quiet := lull
	for _, s := range sockets {
		if slices.ContainsFunc(open.groups[s.key], func(o *Socket) bool { return !o.draining() && !slices.Contains(sockets, o) }) {
			replaced, quiet = true, handshake
		}
	}
	for _, s := range sockets {
		if s.quiet.CompareAndSwap(0, int64(quiet)) {
			s.SetDeadline(time.Unix(1, 0)) // wakes Accept
		}
	}
	for _, s := range sockets {
		open.steer(s.key)
	}
	return replaced
}

func (s *Socket) draining() bool { return s.quiet.Load() != 0 }

// open knows this process's sockets.
var open = openSockets{groups: make(map[groupKey][]*Socket)}

// A groupKey is what sockets must have in common to share the connections of an
// address.
type groupKey struct {
	addr     netip.AddrPort
	ipv6Only bool
}

// openSockets holds the sockets of each address in the kernel's own order:
// a new one comes last, and the last takes the place of one that is closed
// (net/core/sock_reuseport.c).
type openSockets struct {
	mu     sync.Mutex
	groups map[groupKey][]*Socket // protected by mu
}

// The caller of any of these holds mu.

// holds reports whether a socket of ours covers addr.
func (o *openSockets) holds(addr netip.AddrPort) bool {
	for key := range o.groups {
		if key.addr.Port() == addr.Port() &&
			(key.addr.Addr() == addr.Addr() || key.addr.Addr().IsUnspecified() || addr.Addr().IsUnspecified()) {
			return true
		}
	}
	return false
}

func (o *openSockets) add(s *Socket) {
	o.groups[s.key] = append(o.groups[s.key], s)
	o.steer(s.key)
}

func (o *openSockets) remove(s *Socket) {
	group := o.groups[s.key]
	i, last := slices.Index(group, s), len(group)-1
	if i < 0 {
		return // it never came so far as to be added
	}
	group[i] = group[last]
	if group = group[:last]; len(group) == 0 {
		delete(o.groups, s.key)
		return
	}
	o.groups[s.key] = group
	o.steer(s.key)
}

// steer keeps new connections away from sockets that drain, as long as there
// are others in the group. It is no loss where the system cannot: those sockets
// accept, too.
func (o *openSockets) steer(key groupKey) {
	group := o.groups[key]
	var stay []int
	for i, s := range group {
		if !s.draining() {
			stay = append(stay, i)
		}
	}
	if len(stay) == len(group) || len(stay) == 0 {
		stay = nil // nobody to keep away from, or nobody to send to
	}
	raw, err := group[0].SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) { steerTo(fd, stay) })
}
