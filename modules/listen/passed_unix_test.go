//go:build unix

package listen

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// pass opens a socket as whoever starts the process would, and answers its number
// and address.
func pass(t *testing.T, network string) (fd int, at netip.AddrPort) {
	t.Helper()
	var socket interface{ File() (*os.File, error) }
	if network == "udp" {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		socket, at = c, c.LocalAddr().(*net.UDPAddr).AddrPort()
	} else {
		ln, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		socket, at = ln, ln.Addr().(*net.TCPAddr).AddrPort()
	}
	f, err := socket.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return int(f.Fd()), unmapped(at)
}

func mustParse(t *testing.T, line string) Bind {
	t.Helper()
	binds, err := Parse("x", line, Stream)
	if err != nil {
		t.Fatal(err)
	}
	return binds[0]
}

// A successor gets the same socket, and clients that come between the two wait.
func TestPassed_socketsStayOpen(t *testing.T) {
	fd, at := pass(t, "tcp")
	b := mustParse(t, fmt.Sprintf("fd/%d", fd))
	meet := func(s *Socket) {
		t.Helper()
		c, err := net.DialTimeout("tcp", at.String(), 20*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = s.SetDeadline(time.Now().Add(20 * time.Second))
		accepted, err := s.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		accepted.Close()
	}
	if IsOwn(at) {
		t.Error("the socket is ours before it is used")
	}
	var last *Socket
	for range 3 {
		sockets, warnings, err := b.Listen(t.Context())
		if err != nil || len(warnings) > 0 || len(sockets) != 1 || sockets[0].AddrPort() != at {
			t.Fatalf("got %v, %q, %v", sockets, warnings, err)
		}
		if !IsOwn(at) {
			t.Error("the socket is not ours")
		}
		if last != nil {
			last.Close()
			last.Close()
		}
		last = sockets[0]
		meet(last)
	}
	Drain(last)
	if _, err := last.AcceptTCP(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a drained socket answers %v", err)
	}
	if IsOwn(at) {
		t.Error("the socket is ours when it is not used any more")
	}
	waiting, err := net.DialTimeout("tcp", at.String(), 20*time.Second)
	if err != nil {
		t.Fatalf("nobody listens between two owners: %v", err)
	}
	defer waiting.Close()
	sockets, _, err := b.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer sockets[0].Close()
	if c, err := sockets[0].AcceptTCP(); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
}

func TestPassed_byName(t *testing.T) {
	tcp, at := pass(t, "tcp")
	udp, packetsAt := pass(t, "udp")
	names := make([]string, max(tcp, udp)-firstPassed+1)
	names[tcp-firstPassed], names[udp-firstPassed] = "web", "web" // one name for both kinds
	t.Setenv("LISTEN_FDNAMES", strings.Join(names, ":"))
	t.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	sockets, _, err := mustParse(t, "fd/web").Listen(t.Context())
	if err != nil || len(sockets) != 1 || sockets[0].AddrPort() != at {
		t.Fatalf("got %v, %v", sockets, err)
	}
	sockets[0].Close()
	datagrams, _, err := mustParse(t, "fd/web udp").ListenPacket(t.Context())
	if err != nil || len(datagrams) != 1 || datagrams[0].AddrPort() != packetsAt {
		t.Fatalf("got %v, %v", datagrams, err)
	}
	s := datagrams[0]
	defer s.Close()
	client, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(packetsAt))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_ = client.SetDeadline(time.Now().Add(20 * time.Second))
	client.Write([]byte("ping"))
	buf := make([]byte, 10)
	n, from, to, err := s.ReadPacket(buf, make([]byte, 100))
	if err != nil || to != packetsAt {
		t.Fatalf("got a datagram to %v, %v", to, err)
	}
	if err := s.Reply(to, from)(buf[:n]); err != nil {
		t.Fatal(err)
	}
	if n, err := client.Read(buf); err != nil || string(buf[:n]) != "ping" {
		t.Errorf("got %q, %v", buf[:n], err)
	}

	t.Setenv("LISTEN_PID", "1")
	if _, _, err := mustParse(t, "fd/web").Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "LISTEN_PID") {
		t.Errorf("names for another process: got %v", err)
	}
}

func TestPassed_flagsThatComeTooLate(t *testing.T) {
	fd, _ := pass(t, "tcp")
	sockets, warnings, err := mustParse(t, fmt.Sprintf("fd/%d backlog=5 reuseport ipv6only=off so_keepalive=on", fd)).Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer sockets[0].Close()
	for _, want := range []string{`"backlog=5"`, `"reuseport"`, `"ipv6only=off"`, `"so_keepalive=on"`} {
		if !strings.Contains(strings.Join(warnings, "\n"), want) {
			t.Errorf("no warning names %s: %q", want, warnings)
		}
	}
}
