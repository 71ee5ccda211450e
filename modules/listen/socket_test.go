package listen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/modules/patient"
)

func TestMain(m *testing.M) { patient.NoLeaks(m) }

// mustListen opens the bind that a line describes, for the length of the test.
func mustListen(t testing.TB, line string) ([]*Socket, []string) {
	t.Helper()
	binds, err := Parse("test_listen", line, HTTP)
	if err != nil {
		t.Fatal(err)
	}
	sockets, warnings, err := binds[0].Listen(t.Context())
	if err != nil {
		if strings.HasPrefix(line, "[") && missingAddress(err) {
			t.Skip("this host has no IPv6; enable it on the loopback interface to run the test")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, s := range sockets {
			s.Close()
		}
	})
	return sockets, warnings
}

// dial connects to a socket and returns both ends.
func dial(t testing.TB, s *Socket) (client, server net.Conn) {
	t.Helper()
	client, err := net.Dial("tcp", s.AddrPort().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if server, err = s.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

func TestListen_plainBindOpensOneSocket(t *testing.T) {
	sockets, warnings := mustListen(t, "127.0.0.1:0")
	if len(sockets) != 1 || len(warnings) != 0 {
		t.Fatalf("got %d sockets, warnings %q; want one socket, no warning", len(sockets), warnings)
	}
	_, server := dial(t, sockets[0])
	tcp, ok := server.(*net.TCPConn)
	if !ok {
		t.Fatalf("Accept returned a %T, want *net.TCPConn", server)
	}
	if multipath, err := tcp.MultipathTCP(); err != nil || multipath {
		t.Errorf("MultipathTCP() = %v, %v; want it off", multipath, err)
	}
}

func TestListen_reuseportSpreadsConnectionsOverSockets(t *testing.T) {
	sockets, _ := mustListen(t, "127.0.0.1:0 reuseport")
	if !spreadsConnections {
		t.Skip("this system does not spread connections; run the test on Linux or FreeBSD")
	}
	if len(sockets) != runtime.GOMAXPROCS(0) {
		t.Fatalf("got %d sockets, want one for each of %d processors", len(sockets), runtime.GOMAXPROCS(0))
	}
	if len(sockets) == 1 {
		t.Skip("one processor makes one socket; run the test with GOMAXPROCS=2")
	}
	const dials = 64
	accepted := make(chan int, dials)
	var wg sync.WaitGroup
	for i, s := range sockets {
		if s.AddrPort() != sockets[0].AddrPort() {
			t.Fatalf("socket %d listens on %s, the first on %s", i, s.AddrPort(), sockets[0].AddrPort())
		}
		wg.Go(func() {
			for {
				c, err := s.Accept()
				if err != nil {
					return
				}
				accepted <- i
				c.Close()
			}
		})
	}
	counts := make([]int, len(sockets))
	for range dials {
		c, err := net.Dial("tcp", sockets[0].AddrPort().String())
		if err != nil {
			t.Fatal(err)
		}
		counts[<-accepted]++
		c.Close()
	}
	for _, s := range sockets {
		s.Close()
	}
	wg.Wait()
	for i, n := range counts {
		if n == 0 {
			t.Errorf("socket %d of %d accepted none of %d connections: %v", i, len(counts), dials, counts)
		}
	}
}

func TestListen_otherFlagsCanStandBesideTheOld(t *testing.T) {
	old, _ := mustListen(t, "127.0.0.1:0")
	fresh, _ := mustListen(t, old[0].AddrPort().String()+" backlog=7 reuseport")
	if fresh[0].AddrPort() != old[0].AddrPort() {
		t.Errorf("the new socket listens on %s, the old on %s", fresh[0].AddrPort(), old[0].AddrPort())
	}
}

func TestListen_foreignListenerIsFound(t *testing.T) {
	for _, tt := range []struct {
		name    string
		control func(_, _ string, c syscall.RawConn) error
	}{
		{"without SO_REUSEPORT", nil},
		{"with SO_REUSEPORT", func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { setReusePort(fd) })
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lc := net.ListenConfig{Control: tt.control}
			foreign, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer foreign.Close()
			port := foreign.Addr().(*net.TCPAddr).Port
			for _, address := range []string{"127.0.0.1", "0.0.0.0"} {
				sockets, _, err := (Bind{Address: address, Port: uint16(port)}).Listen(t.Context())
				if !errors.Is(err, syscall.EADDRINUSE) {
					t.Fatalf("Listen(%s:%d) = %v, %v; want EADDRINUSE", address, port, sockets, err)
				}
				want := fmt.Sprintf("%s:%d: bind: address already in use: another process listens there; stop it, or choose another port", address, port)
				if !strings.HasSuffix(err.Error(), want) {
					t.Errorf("got %q, want it to end in %q", err, want)
				}
			}
		})
	}
}

func TestListen_connectionsOfADeadPredecessorDoNotCount(t *testing.T) {
	sockets, _ := mustListen(t, "127.0.0.1:0")
	addr := sockets[0].AddrPort()
	client, server := dial(t, sockets[0])
	server.Close() // the side that closes first keeps TIME_WAIT
	io.Copy(io.Discard, client)
	client.Close()
	sockets[0].Close()
	mustListen(t, addr.String())
}

func TestListen_errorsSayWhatToDo(t *testing.T) {
	for _, tt := range []struct {
		name string
		bind Bind
		want string
	}{
		{"address of another host", Bind{Address: "192.0.2.1", Port: 8000}, "192.0.2.1:8000: bind: cannot assign requested address: no network interface of this host has the address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := tt.bind.Listen(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
	denied := explain(os.NewSyscallError("bind", syscall.EACCES), netip.MustParseAddrPort("0.0.0.0:80"))
	if !errors.Is(denied, syscall.EACCES) || !strings.Contains(denied.Error(), "setcap cap_net_bind_service=+ep") {
		t.Errorf("a denied port below 1024 gives %q, want the capability in it", denied)
	}
}

func TestListen_failureLeavesNothingOpen(t *testing.T) {
	if _, err := net.DefaultResolver.LookupNetIP(t.Context(), "ip", "localhost"); err != nil {
		t.Skip("this host does not know localhost; add it to /etc/hosts to run the test")
	}
	blocked, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer blocked.Close()
	b := Bind{Address: "localhost", Port: uint16(blocked.Addr().(*net.TCPAddr).Port)}
	if sockets, _, err := b.Listen(t.Context()); err == nil {
		t.Fatalf("Listen(%s) = %v, want an error as 127.0.0.1 is taken", b, sockets)
	}
	open.mu.Lock()
	defer open.mu.Unlock()
	for key := range open.groups {
		if key.addr.Port() == b.Port {
			t.Errorf("%s is still open", key.addr)
		}
	}
}

func TestListen_localhostNeedsOnlyOneOfItsAddresses(t *testing.T) {
	sockets, warnings := mustListen(t, "localhost:0")
	for _, s := range sockets {
		if !s.AddrPort().Addr().IsLoopback() {
			t.Errorf("localhost opened %s", s.AddrPort())
		}
	}
	for _, w := range warnings {
		if !strings.Contains(w, "no network interface of this host has the address") {
			t.Errorf("unexpected warning %q", w)
		}
	}
}

func TestListen_cancelledContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := (Bind{Address: "gateway.invalid", Port: 1}).Listen(ctx)
	if want := "listen tcp gateway.invalid:1: lookup gateway.invalid"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestListen_caddySiteOfThisProcessIsNamed(t *testing.T) {
	site, err := (caddy.NetworkAddress{Network: "tcp", Host: "127.0.0.1"}).Listen(t.Context(), 0, net.ListenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer site.(net.Listener).Close()
	// Caddy counts the use of an address as it was asked for: with its port.
	port := uint(site.(net.Listener).Addr().(*net.TCPAddr).Port)
	again, err := (caddy.NetworkAddress{Network: "tcp", Host: "127.0.0.1", StartPort: port, EndPort: port}).Listen(t.Context(), 0, net.ListenConfig{})
	if err != nil {
		t.Skipf("this system does not let Caddy listen twice (%v); run the test on a Unix", err)
	}
	defer again.(net.Listener).Close()
	_, _, err = (Bind{Address: "127.0.0.1", Port: uint16(port)}).Listen(t.Context())
	if want := "a Caddy site of this process listens there"; !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q in it", err, want)
	}
}

func TestDrain_acceptsWhatClientsHaveCompleted(t *testing.T) {
	sockets, _ := mustListen(t, "127.0.0.1:0")
	s := sockets[0]
	const waiting = 20
	clients := make([]net.Conn, waiting)
	for i := range clients {
		c, err := net.Dial("tcp", s.AddrPort().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		clients[i] = c
	}
	Drain(s)
	for i := range waiting {
		c, err := s.Accept()
		if err != nil {
			t.Fatalf("connection %d of %d: %v", i, waiting, err)
		}
		fmt.Fprint(c, "hello")
		c.Close()
		if i == 0 {
			time.Sleep(2 * maxQuiets * lull) // as on a machine that is busy
		}
	}
	if c, err := s.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("Accept after the last connection = %v, %v; want net.ErrClosed", c, err)
	}
	for i, c := range clients {
		if got, err := io.ReadAll(c); err != nil || string(got) != "hello" {
			t.Errorf("client %d read %q, %v", i, got, err)
		}
	}
	if c, err := net.Dial("tcp", s.AddrPort().String()); err == nil {
		c.Close()
		t.Error("the drained socket still takes connections")
	}
}

func TestDrain_wakesAcceptThatWaits(t *testing.T) {
	sockets, _ := mustListen(t, "127.0.0.1:0")
	result := make(chan error)
	go func() {
		_, err := sockets[0].Accept()
		result <- err
	}()
	Drain(sockets...)
	if err := <-result; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept = %v, want net.ErrClosed", err)
	}
}

func TestDrain_endsUnderSteadyLoad(t *testing.T) {
	sockets, _ := mustListen(t, "127.0.0.1:0")
	s := sockets[0]
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if c, err := net.Dial("tcp", s.AddrPort().String()); err == nil {
					c.Close()
				}
			}
		}
	})
	begin := time.Now()
	Drain(s)
	for {
		c, err := s.Accept()
		if err != nil {
			break
		}
		c.Close()
	}
	took := time.Since(begin)
	close(stop)
	wg.Wait()
	if took > patient.Limit/2 {
		t.Errorf("draining took %v, want about %v", took, maxQuiets*lull+mercy)
	}
}

func TestDrain_ofClosedSocketsDoesNothing(t *testing.T) {
	sockets, _ := mustListen(t, "127.0.0.1:0 reuseport")
	for _, s := range sockets {
		s.Close()
	}
	if Drain(sockets...) {
		t.Error("closed sockets have been replaced by nobody")
	}
}
