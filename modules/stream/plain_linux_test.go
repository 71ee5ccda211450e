package stream

import (
	"bytes"

	"io"
	"net"
	"runtime/pprof"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portcullis-gateway/portcullis/modules/listen"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// relays is how many flows are copied by goroutines at this moment.
func relays(t testing.TB) int {
	t.Helper()
	var stacks bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&stacks, 2); err != nil {
		t.Fatal(err)
	}
	return bytes.Count(stacks.Bytes(), []byte("relay.(*Relay).Run("))
}

// first writes a byte and waits for the echo of it.
func first(t testing.TB, c net.Conn) {
	t.Helper()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

func TestPlain_needsNoGoroutine(t *testing.T) {
	g := start(t, nil)
	server := serveTCP(t, echo(""))
	dead := deadPort(t)
	g.insert("upstreams", schema.Object{"name": "pool.internal"})
	up, _ := g.node.View().Image.ByKey("upstreams", "name", "pool.internal")
	g.insert("targets", schema.Object{"upstream": schema.Object{"id": up.ID.String()}, "target": server.String()})
	route := g.route(service("tcp", server), schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
	for range 50 {
		first(t, g.dialTo(plain))
	}
	if n := relays(t); n > 0 {
		t.Errorf("%d of 50 flows to an address have goroutines", n)
	}
	g.delete("routes", route)
	route = g.route(schema.Object{"protocol": "tcp", "host": "pool.internal"}, schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
	for range 50 {
		first(t, g.dialTo(plain))
	}
	if n := relays(t); n > 0 {
		t.Errorf("%d of 50 flows to an upstream have goroutines", n)
	}

	// Whoever tries again does so in goroutines.
	g.delete("routes", route)
	g.insert("targets", schema.Object{"upstream": schema.Object{"id": up.ID.String()}, "target": dead.String(), "weight": int64(1000)})
	g.route(schema.Object{"protocol": "tcp", "host": "pool.internal"}, schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
	for range 10 {
		first(t, g.dialTo(plain))
	}
	if n := relays(t); n == 0 {
		t.Error("no flow of 10 was tried again, or they stayed where they were")
	}
}

// TestPlain_onAWildcard is about a socket that does not know where its
// connections go to.
func TestPlain_onAWildcard(t *testing.T) {
	g := start(t, func(a *App) { a.Listen = []listen.Bind{{Address: "0.0.0.0"}} })
	server := serveTCP(t, echo(""))
	g.route(service("tcp", server), schema.Object{"protocols": []any{"tcp"}, "destinations": []any{schema.Object{"ip": "127.0.0.7", "port": int64(g.addr(plain).Port())}}})
	c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.7", strconv.Itoa(int(g.addr(plain).Port()))))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	first(t, c)
	c.Close()
	line := g.awaitLog("handled connection").ContextMap()
	if line["local"] != net.JoinHostPort("127.0.0.7", strconv.Itoa(int(g.addr(plain).Port()))) || line["remote"] != c.LocalAddr().String() {
		t.Errorf("logged %v", line)
	}
}

// TestPlain_drains cuts what is in each station when the grace period is over.
func TestPlain_drains(t *testing.T) {
	g := start(t, func(a *App) { a.GracePeriod = caddyDuration(300 * time.Millisecond) })
	server := serveTCP(t, echo(""))
	g.route(service("tcp", server), schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
	linked, silent := g.dialTo(plain), g.dialTo(secure) // silent says no hello
	first(t, linked)
	began := time.Now()
	g.stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	for name, c := range map[string]net.Conn{"linked": linked, "silent": silent} {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s is open", name)
		}
	}
}

// TestPlain_tooManyOpenFiles has clients come while there are no descriptors: that
// is said a few times, not once more for each of them, and they are served when
// there are some again.
func TestPlain_tooManyOpenFiles(t *testing.T) {
	g := start(t, nil)
	server := serveTCP(t, echo(""))
	g.route(service("tcp", server), schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
	first(t, g.dialTo(plain)) // all that the process opens once is open

	const n = 40
	to := &unix.SockaddrInet4{Port: int(g.addr(plain).Port()), Addr: [4]byte{127, 0, 0, 1}}
	var clients [n]int
	for i := range clients {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		clients[i] = fd
		defer unix.Close(fd)
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20}); err != nil {
			t.Fatal(err)
		}
	}
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	none := was
	none.Cur = 3 // below what is open
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	restore := sync.OnceFunc(func() { unix.Setrlimit(unix.RLIMIT_NOFILE, &was) })
	defer restore()
	for _, fd := range clients {
		if err := unix.Connect(fd, to); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	g.awaitLog("accepting connections")
	began := time.Now()
	time.Sleep(200 * time.Millisecond)
	said := g.logs.FilterMessage("accepting connections").Len()
	if most := 10 + int(time.Since(began)/(50*time.Millisecond)); said > most {
		t.Errorf("it was said %d times in %v", said, time.Since(began))
	}
	restore()
	for _, fd := range clients {
		b := []byte("x")
		if _, err := unix.Write(fd, b); err != nil {
			t.Fatal(err)
		}
		if n, err := unix.Read(fd, b); n != 1 {
			t.Fatalf("got %d bytes, %v", n, err)
		}
	}
}
