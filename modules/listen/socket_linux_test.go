package listen

import (
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portcullis-gateway/portcullis/modules/patient"
)

// option reads a socket option back from the kernel.
func option(t testing.TB, c syscall.Conn, level, name int) int {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var value int
	if ctlErr := raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), level, name) }); ctlErr != nil {
		t.Fatal(ctlErr)
	}
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestListen_flagsAreOnTheSocket(t *testing.T) {
	for _, tt := range []struct {
		name, line  string
		level, opt  int
		want        func(int) bool
		description string
	}{
		{"SO_REUSEPORT without the flag", "127.0.0.1:0", unix.SOL_SOCKET, unix.SO_REUSEPORT, is(1), "1"},
		{"SO_REUSEPORT with the flag", "127.0.0.1:0 reuseport", unix.SOL_SOCKET, unix.SO_REUSEPORT, is(1), "1"},
		{"not MPTCP", "127.0.0.1:0", unix.SOL_SOCKET, unix.SO_PROTOCOL, is(unix.IPPROTO_TCP), "IPPROTO_TCP"},
		{"not deferred", "127.0.0.1:0", unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, is(0), "0"},
		// The kernel rounds up to a number of retransmissions.
		{"deferred", "127.0.0.1:0 deferred", unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, func(n int) bool { return n >= deferSeconds }, "60 or more"},
		{"ipv6 alone by default", "[::]:0", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, is(1), "1"},
		{"ipv6only=on", "[::]:0 ipv6only=on", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, is(1), "1"},
		{"ipv6only=off", "[::]:0 ipv6only=off", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, is(0), "0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sockets, warnings := mustListen(t, tt.line)
			if len(warnings) != 0 {
				t.Errorf("warnings %q, want none", warnings)
			}
			for i, s := range sockets {
				if got := option(t, s, tt.level, tt.opt); !tt.want(got) {
					t.Errorf("%s: socket %d has %d, want %s", tt.line, i, got, tt.description)
				}
			}
		})
	}
}

func is(want int) func(int) bool { return func(got int) bool { return got == want } }

func TestListen_keepAliveIsOnAcceptedConnections(t *testing.T) {
	// The system's own timing, which a fresh socket shows.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	system := func(opt int) int {
		n, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, opt)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	idle, interval, count := system(unix.TCP_KEEPIDLE), system(unix.TCP_KEEPINTVL), system(unix.TCP_KEEPCNT)

	for _, tt := range []struct {
		line            string
		on              int
		idle, intvl, nr int // looked at only if on
	}{
		{"127.0.0.1:0", 1, 15, 15, 9},
		{"127.0.0.1:0 so_keepalive=off", 0, 0, 0, 0},
		{"127.0.0.1:0 so_keepalive=on", 1, idle, interval, count},
		{"127.0.0.1:0 so_keepalive=30m:20:5", 1, 1800, 20, 5},
		{"127.0.0.1:0 so_keepalive=77::", 1, 77, interval, count},
		{"127.0.0.1:0 so_keepalive=::4", 1, idle, interval, 4},
	} {
		t.Run(tt.line, func(t *testing.T) {
			sockets, _ := mustListen(t, tt.line)
			_, server := dial(t, sockets[0])
			c := server.(syscall.Conn)
			if got := option(t, c, unix.SOL_SOCKET, unix.SO_KEEPALIVE); got != tt.on {
				t.Fatalf("SO_KEEPALIVE = %d, want %d", got, tt.on)
			}
			if tt.on == 0 {
				return
			}
			got := [3]int{option(t, c, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE), option(t, c, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL), option(t, c, unix.IPPROTO_TCP, unix.TCP_KEEPCNT)}
			if want := [3]int{tt.idle, tt.intvl, tt.nr}; got != want {
				t.Errorf("idle, interval, count = %v, want %v", got, want)
			}
		})
	}
}

// sendQ asks ss for the length of the accept queue of each socket that
// listens on port.
func sendQ(t testing.TB, port uint16) []int {
	t.Helper()
	if _, err := exec.LookPath("ss"); err != nil {
		t.Skip("ss is missing; install iproute2 to run the test")
	}
	out, err := exec.Command("ss", "-ltnH", fmt.Sprintf("sport = :%d", port)).CombinedOutput()
	if err != nil {
		t.Skipf("ss cannot ask the kernel here (%v: %s); give it netlink sock_diag to run the test", err, out)
	}
	var lengths []int
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line) // State Recv-Q Send-Q Local:Port Peer:Port
		if len(fields) < 3 {
			t.Fatalf("ss printed %q", line)
		}
		n, err := strconv.Atoi(fields[2])
		if err != nil {
			t.Fatalf("ss printed %q", line)
		}
		lengths = append(lengths, n)
	}
	return lengths
}

func TestListen_backlogIsTheQueueOfEverySocket(t *testing.T) {
	sockets, warnings := mustListen(t, "127.0.0.1:0 reuseport backlog=37")
	if len(warnings) != 0 {
		t.Errorf("warnings %q, want none", warnings)
	}
	lengths := sendQ(t, sockets[0].AddrPort().Port())
	if len(lengths) != len(sockets) {
		t.Fatalf("ss shows %d sockets, want %d", len(lengths), len(sockets))
	}
	for _, n := range lengths {
		if n != 37 {
			t.Errorf("ss shows queues of %v, want 37 each", lengths)
			break
		}
	}
}

func TestListen_backlogBeyondTheKernelIsAWarning(t *testing.T) {
	limit := backlogCap()
	if limit == 0 {
		t.Skip("net.core.somaxconn cannot be read; mount /proc to run the test")
	}
	sockets, warnings := mustListen(t, fmt.Sprintf("127.0.0.1:0 reuseport backlog=%d", limit+1))
	want := fmt.Sprintf(`flag "backlog=%d": the kernel grants %d (sysctl net.core.somaxconn)`, limit+1, limit)
	if len(warnings) != 1 || warnings[0] != want {
		t.Errorf("warnings %q, want %q once", warnings, want)
	}
	for _, n := range sendQ(t, sockets[0].AddrPort().Port()) {
		if n != limit {
			t.Errorf("ss shows a queue of %d, want %d", n, limit)
		}
	}
}

func TestListen_ipv6onlyOnIPv4IsAWarning(t *testing.T) {
	_, warnings := mustListen(t, "127.0.0.1:0 ipv6only=off")
	if want := `flag "ipv6only=off": means nothing for the IPv4 address 127.0.0.1`; len(warnings) != 1 || warnings[0] != want {
		t.Errorf("warnings %q, want %q", warnings, want)
	}
}

func TestSetAll_refusedOptionIsAWarning(t *testing.T) {
	warnings := setAll(^uintptr(0)>>1, []sockOpt{{"deferred", setDeferAccept}})
	if want := `flag "deferred": this system refused it: bad file descriptor`; len(warnings) != 1 || warnings[0] != want {
		t.Errorf("warnings %q, want %q", warnings, want)
	}
}

func TestDrain_newConnectionsGoToTheSuccessor(t *testing.T) {
	old, _ := mustListen(t, "127.0.0.1:0 reuseport")
	line := old[0].AddrPort().String() + " reuseport backlog="
	second, _ := mustListen(t, line+"100")
	if !Drain(old...) {
		t.Fatal("Drain does not know that the sockets are replaced")
	}
	wantAllAt(t, second)
	third, _ := mustListen(t, line+"101")
	Drain(second...)
	wantAllAt(t, third)
	for _, s := range old {
		s.Close() // the kernel numbers the others anew
	}
	wantAllAt(t, third)
	for _, s := range second {
		s.Close()
	}
	wantAllAt(t, third)
	if Drain(third...) {
		t.Error("Drain takes sockets that are gone for successors")
	}
}

// wantAllAt connects often enough to meet every socket of the group, and wants
// all connections at the given ones.
func wantAllAt(t *testing.T, sockets []*Socket) {
	t.Helper()
	const dials = 64
	clients := make([]net.Conn, dials)
	for i := range clients {
		c, err := net.Dial("tcp", sockets[0].AddrPort().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		clients[i] = c
	}
	came := make(chan struct{}, dials)
	var accepting sync.WaitGroup
	for _, s := range sockets {
		accepting.Go(func() {
			for {
				c, err := s.TCPListener.Accept()
				if err != nil {
					return
				}
				c.Close()
				came <- struct{}{}
			}
		})
	}
	over := time.After(patient.Limit)
	for accepted := range dials {
		select {
		case <-came:
			continue
		case <-over:
			t.Errorf("%d of %d connections came to the sockets that stay", accepted, dials)
		}
		break
	}
	for _, s := range sockets {
		s.SetDeadline(time.Now())
	}
	accepting.Wait()
	for _, s := range sockets {
		s.SetDeadline(time.Time{})
	}
}
