package stream

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-gateway/portcullis/modules/listen"
	"github.com/portcullis-gateway/portcullis/modules/ports"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func TestStop_openConnectionsGetTheGracePeriod(t *testing.T) {
	g := start(t, func(a *App) { a.GracePeriod = caddyDuration(2 * time.Second) })
	g.route(service("tcp", serveTCP(t, echo(""))), schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
	address := g.addr(plain).String()
	c := g.dialTo(plain)
	talk(t, c)
	before := testutil.ToFloat64(drained)
	begin := time.Now()
	go g.stop()
	talk(t, c) // it goes on
	if b, err := io.ReadAll(c); len(b) > 0 || err != nil {
		t.Errorf("got %q, %v; want the end", b, err)
	}
	if took := time.Since(begin); took < 1900*time.Millisecond || took > patience {
		t.Errorf("the end came after %v", took)
	}
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("there is still somebody listening")
	}
	g.awaitLog("grace period is over; closing what is left")
	if n := testutil.ToFloat64(drained) - before; n != 1 {
		t.Errorf("counted %v", n)
	}
	if line := g.awaitLog("handled connection").ContextMap(); line["reason"] != "drained" {
		t.Errorf("logged %v", line)
	}
}

// talk sends a byte there and back.
func talk(t testing.TB, c net.Conn) {
	t.Helper()
	b := []byte{'x'}
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
}

// TestReload_keepsConnections puts generations on top of each other, as Caddy
// does, and cuts nobody.
func TestReload_keepsConnections(t *testing.T) {
	g := start(t, nil)
	g.route(service("tcp", serveTCP(t, echo(""))), schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
	addr := g.addr(plain)
	c := g.dialTo(plain)
	talk(t, c)
	l := g.app.open[plain].listener
	old := g.app.engine
	for range 50 {
		next := &Engine{node: old.node, options: old.options, resolver: old.resolver, logger: old.logger, hello: old.hello, maxSessions: 10}
		released := make(chan struct{})
		next.open(func() { close(released) })
		l.push(next)
		talk(t, c)
		d, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		talk(t, d)
		l.pop(next)
		next.drop()
		select {
		case <-released:
			t.Fatal("the engine was closed under its connection")
		default:
		}
		talk(t, d)
		d.Close()
		select {
		case <-released:
		case <-time.After(patience):
			t.Fatal("the engine is not closed after its last connection")
		}
	}
}

// TestWrites_underLiveFlows changes entities while connections and sessions are
// open: routes of others, and then their own.
func TestWrites_underLiveFlows(t *testing.T) {
	g := start(t, nil)
	server := serveTCP(t, echo(""))
	id := g.route(service("tcp", server), schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
	datagrams := serveUDP(t, func(b []byte, from net.Addr) []byte { return b })
	udp := g.route(service("udp", datagrams), schema.Object{"protocols": []any{"udp"}, "destinations": g.at(packets)})
	const flows = 50
	stop := make(chan struct{})
	var wg sync.WaitGroup
	ready := make(chan struct{}, 2*flows)
	for range flows {
		c, d := g.dialTo(plain), g.dialUDP()
		for _, f := range []func(){func() { talk(t, c) }, func() { exchange(t, d, "x") }} {
			wg.Go(func() {
				f()
				ready <- struct{}{}
				for {
					select {
					case <-stop:
						f()
						return
					case <-time.After(10 * time.Millisecond):
						f()
					}
				}
			})
		}
	}
	for range 2 * flows {
		<-ready
	}
	for range 100 {
		other := g.route(service("tcp", server), schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(proxiedPlain)})
		g.delete("routes", other)
	}
	g.delete("routes", id)
	g.delete("routes", udp)
	close(stop)
	wg.Wait()
	if b, _ := io.ReadAll(g.dialTo(plain)); len(b) > 0 {
		t.Errorf("a new connection takes a route that is gone: %q", b)
	}
}

// TestOpenListener_sharesTheSockets is what a reload does with one bind.
func TestOpenListener_sharesTheSockets(t *testing.T) {
	g := start(t, nil)
	b := listen.Bind{Address: "127.0.0.1", Port: uint16(ports.Free(t))}
	key, first, err := openListener(context.Background(), b, g.app.engine)
	if err != nil {
		t.Fatal(err)
	}
	g.route(service("tcp", serveTCP(t, echo(""))), schema.Object{"protocols": []any{"tcp"}, "destinations": []any{schema.Object{"port": int64(b.Port)}}})
	old := g.app.engine
	next := &Engine{node: old.node, options: old.options, resolver: old.resolver, logger: old.logger, hello: old.hello}
	next.open(func() {})
	_, second, err := openListener(context.Background(), b, next)
	if err != nil || second != first {
		t.Fatalf("got another listener, %v", err)
	}
	c, err := net.Dial("tcp", first.addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	talk(t, c)
	first.pop(old)
	listeners.Delete(key)
	talk(t, c)
	first.pop(next)
	listeners.Delete(key)
	next.drop()
	talk(t, c)
	c.Close()
	select {
	case <-first.done:
	case <-time.After(patience):
		t.Error("the listener does not end")
	}
}
