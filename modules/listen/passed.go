package listen

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/portcullis-gateway/portcullis/transparent"
)

// passedPrefix begins the address of a bind whose sockets were opened by
// whoever started the process, such as systemd: `fd/3` by number, `fd/https` by
// name (sd_listen_fds_with_names(3)). A name may stand for several sockets.
const passedPrefix = "fd/"

// firstPassed is the number of the first one that systemd passes
// (SD_LISTEN_FDS_START).
const firstPassed = 3

// Passed reports whether the bind's sockets are not opened but were passed to
// the process. Which address they have is not known before [Bind.Listen]; the
// port of such a bind is 0.
func (b Bind) Passed() bool { return strings.HasPrefix(b.Address, passedPrefix) }

// checkPassed reports an address that names no socket. The error quotes it.
func checkPassed(address string) error {
	word := strings.TrimPrefix(address, passedPrefix)
	if digits(word) {
		if n, err := strconv.Atoi(word); err != nil || n < firstPassed {
			return fmt.Errorf("address %q: want the number of a socket that was passed to the process, from fd/%d on", address, firstPassed)
		}
		return nil
	}
	if !plain(word) || word == "" {
		return fmt.Errorf("address %q: want fd/<number> or fd/<name> (systemd: FileDescriptorName=)", address)
	}
	return nil
}

// validatePassed reports what a socket that is there already cannot be given.
func (b Bind) validatePassed() error {
	switch {
	case !b.Passed():
		return nil
	case b.Port != 0 || b.PortEnd != 0:
		return fmt.Errorf("address %q: a socket that was passed has its port already", b.Address)
	case b.HTTP3:
		return fmt.Errorf("flag \"http3\": not for a socket that was passed, as HTTP/3 needs one of its own")
	}
	return nil
}

// fds are the numbers of the bind's sockets.
func (b Bind) fds() ([]int, error) {
	word := strings.TrimPrefix(b.Address, passedPrefix)
	if n, err := strconv.Atoi(word); err == nil {
		return []int{n}, nil
	}
	// The environment is for this process if LISTEN_PID says so.
	if pid := os.Getenv("LISTEN_PID"); pid != strconv.Itoa(os.Getpid()) {
		return nil, fmt.Errorf("listen %s: no sockets were passed to this process with names (LISTEN_FDNAMES, LISTEN_PID); "+
			"start it by a systemd .socket unit, or name the socket by its number", b.Address)
	}
	var found []int
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for i, name := range names {
		if name == word {
			found = append(found, firstPassed+i)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("listen %s: no socket of that name was passed; there are: %s", b.Address, strings.Join(names, ", "))
	}
	return found, nil
}

// shapedElsewhere warns of flags that shape a socket when it is opened.
func (b Bind) shapedElsewhere() (warnings []string) {
	for _, f := range []struct{ word, instead string }{
		{b.backlogWord(), "Backlog="},
		{b.keepAliveWord(), "KeepAlive="},
		{wordIf(b.ReusePort, "reuseport"), "ReusePort="},
		{wordIf(b.Deferred, "deferred"), "DeferAcceptSec="},
		{wordIf(b.IPv6Only != "", "ipv6only="+b.IPv6Only), "BindIPv6Only="},
	} {
		if f.word != "" {
			warnings = append(warnings, fmt.Sprintf("flag %q: means nothing for a socket that was passed; systemd's .socket units have %s", f.word, f.instead))
		}
	}
	return warnings
}

func wordIf(set bool, word string) string {
	if set {
		return word
	}
	return ""
}

// adopted knows the sockets for connections that were passed to this process.
var adopted addressCounts

// adopt answers the bind's sockets, which stay open when what it answers is
// closed: the next configuration gets them again.
func (b Bind) adopt() (sockets []*Socket, warnings []string, err error) {
	err = b.eachPassed(false, func(f *os.File) error {
		ln, err := net.FileListener(f)
		if err != nil {
			return err
		}
		tcp, ok := ln.(*net.TCPListener)
		if !ok {
			ln.Close()
			return fmt.Errorf("want a TCP socket, got one of the network %s", ln.Addr().Network())
		}
		s := &Socket{
			TCPListener: tcp, addr: tcp.Addr().(*net.TCPAddr).AddrPort(), passed: true,
			modes: b.modes(), intercepted: b.Intercepted,
		}
		adopted.add(s.addr, 1)
		sockets = append(sockets, s)
		if b.Transparent == "" {
			return nil
		}
		raw, err := tcp.SyscallConn()
		if err != nil {
			return err
		}
		if isMultipath(raw) {
			return errors.New("flag \"transparent\": the socket speaks Multipath TCP, which hides where a connection was redirected from; " +
				"leave SocketProtocol=mptcp out of the .socket unit")
		}
		return flagged(b.modes().Control("", "", raw))
	})
	if err != nil {
		for _, s := range sockets {
			s.Close()
		}
		return nil, nil, err
	}
	return sockets, b.shapedElsewhere(), nil
}

// adoptPackets is adopt for datagrams.
func (b Bind) adoptPackets() (sockets []*PacketSocket, warnings []string, err error) {
	warnings = b.shapedElsewhere()
	err = b.eachPassed(true, func(f *os.File) error {
		c, err := net.FilePacketConn(f)
		if err != nil {
			return err
		}
		udp, ok := c.(*net.UDPConn)
		if !ok {
			c.Close()
			return fmt.Errorf("want a UDP socket, got one of the network %s", c.LocalAddr().Network())
		}
		s := newPacketSocket(udp)
		sockets = append(sockets, s)
		if b.Transparent == "" {
			if note := s.askForDestinations(); note != "" {
				warnings = append(warnings, note)
			}
			return nil
		}
		raw, err := udp.SyscallConn()
		if err != nil {
			return err
		}
		if err := transparent.ControlPackets("", "", raw); err != nil {
			return flagged(err)
		}
		s.intercept(b.Intercepted)
		if err := transparent.CheckReplies(); err != nil {
			warnings = append(warnings, fmt.Sprintf("flag \"transparent\": datagrams to other ports than %d are dropped, as they could not be answered: %v", s.addr.Port(), err))
			s.replies = nil
		}
		return nil
	})
	if err != nil {
		for _, s := range sockets {
			s.Close()
		}
		return nil, nil, err
	}
	return sockets, warnings, nil
}

// eachPassed gives a duplicate of each of the bind's sockets to use. Errors name
// the bind.
func (b Bind) eachPassed(datagrams bool, use func(*os.File) error) error {
	numbers, err := b.fds()
	if err != nil {
		return err
	}
	byName := strings.TrimPrefix(b.Address, passedPrefix) != strconv.Itoa(numbers[0])
	used := 0
	for _, n := range numbers {
		fits, err := passedFits(n, datagrams)
		if err == nil && !fits && byName {
			continue // a name may be that of sockets of both kinds
		}
		var f *os.File
		if err == nil && !fits {
			err = errors.New(wanted(datagrams))
		}
		if err == nil {
			f, err = duplicate(n)
		}
		if err == nil {
			err = use(f)
			f.Close()
		}
		if err != nil {
			return fmt.Errorf("listen %s: %w", b.Address, err)
		}
		used++
	}
	if used == 0 {
		return fmt.Errorf("listen %s: %s", b.Address, wanted(datagrams))
	}
	return nil
}

func wanted(datagrams bool) string {
	if datagrams {
		return "want a socket for datagrams (systemd: ListenDatagram=)"
	}
	return "want a socket that listens for connections (systemd: ListenStream=); the flag \"udp\" is for datagrams"
}

// flagged names the flag that an error is about.
func flagged(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("flag \"transparent\": %w", err)
}

// intercept makes a socket that transparent.ControlPackets has prepared tell
// datagrams by where they were sent to.
func (s *PacketSocket) intercept(required bool) {
	s.transparent, s.intercepted, s.replies = true, required, new(transparent.Replies)
}

// Arrival tells how a datagram that was sent to an address came to a bind with
// `transparent`; of other binds it is the zero value. It is not ok if the bind
// does not take it.
func (s *PacketSocket) Arrival(to netip.AddrPort) (a transparent.Arrival, ok bool) {
	if !s.transparent {
		return a, true
	}
	a = transparent.LocateDatagram(to, s.addr)
	answerable := s.replies != nil || to.Port() == s.addr.Port()
	return a, answerable && (a.How.Intercepted() || !s.intercepted)
}
