package stream

import (
	"bytes"

	"io"
	"net"
	"runtime/pprof"
	"strconv"
	"testing"
	"time"

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
