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

	// mercy is for how long after that those are accepted that are there.
	mercy = 2 * time.Second
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
		open.steer(s.key, nil)
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

// takes reports whether a socket of ours gets the connections to dst.
func (o *openSockets) takes(dst netip.AddrPort) bool {
	for key := range o.groups {
		if takes(key.addr, dst) {
			return true
		}
	}
	return false
}

func (o *openSockets) add(s *Socket) {
	o.groups[s.key] = append(o.groups[s.key], s)
	o.steer(s.key, nil)
}

// remove closes s and takes it out.
func (o *openSockets) remove(s *Socket) error {
	o.steer(s.key, s)
	err := s.TCPListener.Close()
	group := o.groups[s.key]
	i, last := slices.Index(group, s), len(group)-1
	group[i], group[last] = group[last], nil
	if last == 0 {
		delete(o.groups, s.key)
		return err
	}
	o.groups[s.key] = group[:last]
	o.steer(s.key, nil)
	return err
}

// steer keeps new connections away from sockets that drain, and from one that
// is about to be closed (or nil), as long as there are others in the group. It
// is no loss where the system cannot: those that drain accept, too.
func (o *openSockets) steer(key groupKey, leaving *Socket) {
	group := o.groups[key]
	if len(group) == 0 {
		return // closed already, such as by a server that could not accept
	}
	members := takers(len(group), func(i int) bool { return !group[i].draining() && group[i] != leaving }, leaving != nil)
	raw, err := group[0].SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) { steerTo(fd, members) })
}

// takers returns the numbers of the sockets in a group of n that are to take
// new connections; none if there is no need, or no way, to choose.
//
// When a socket leaves, the last gets a new number at once, but the kernel
// learns of new takers only after that. So the last is left out before, unless
// no other is there. (If it is the only one, and several sockets drain, which
// is so when a bind gives `reuseport` up, then a connection that comes in
// between may be given to one that drains.)
func takers(n int, stays func(i int) bool, leaving bool) []int {
	var members []int
	for i := range n {
		if stays(i) {
			members = append(members, i)
		}
	}
	if len(members) == n {
		return nil
	}
	if last := len(members) - 1; leaving && last > 0 && members[last] == n-1 {
		members = members[:last]
	}
	return members
}
