package stream

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/transparent"
)

func (g *gatewayTest) dialUDP() *net.UDPConn {
	g.t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(g.addr(packets)))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// exchange sends a datagram and reads one.
func exchange(t testing.TB, c *net.UDPConn, text string) string {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, maxDatagram)
	n, err := c.Read(b)
	if err != nil {
		t.Fatalf("no answer to %.20q: %v", text, err)
	}
	return string(b[:n])
}

func TestUDP_sessions(t *testing.T) {
	g := start(t, nil)
	// The server tells its clients apart by where they come from.
	server := serveUDP(t, func(b []byte, from net.Addr) []byte { return fmt.Appendf(nil, "%s %s", from, b) })
	g.route(service("udp", server), schema.Object{"name": "dns", "protocols": []any{"udp"}, "destinations": g.at(packets)})
	one, two := g.dialUDP(), g.dialUDP()
	first := exchange(t, one, "a")
	if again := exchange(t, one, "a"); again != first {
		t.Errorf("a session is %q and then %q", first, again)
	}
	if other := exchange(t, two, "a"); other == first {
		t.Errorf("two clients share the session %q", first)
	}
	if got := exchange(t, one, string(bytes.Repeat([]byte("x"), 60000))); len(got) < 60000 {
		t.Errorf("of a large datagram came %d bytes", len(got))
	}
	one.Write(nil) // an empty datagram is one
	b := make([]byte, 100)
	if n, err := one.Read(b); err != nil || n == 0 {
		t.Errorf("an empty datagram got no answer: %v", err)
	}
}

func TestUDP_idleSessionsEnd(t *testing.T) {
	g := start(t, nil)
	server := serveUDP(t, func(b []byte, from net.Addr) []byte { return []byte(from.String()) })
	g.route(service("udp", server, schema.Object{"read_timeout": int64(2000)}), schema.Object{"name": "dns", "protocols": []any{"udp"}, "destinations": g.at(packets)})
	c := g.dialUDP()
	first := exchange(t, c, "a")
	line := g.awaitLog("handled connection").ContextMap()
	if line["protocol"] != "udp" || line["route"] != "dns" || line["status"] != int64(200) || line["bytes_received"] != int64(1) || line["bytes_sent"] != int64(len(first)) {
		t.Errorf("logged %v", line)
	}
	g.awaitQuiet()
	if exchange(t, c, "b") == first {
		t.Error("the session did not begin anew")
	}
}

// TestUDP_aSlowSessionHoldsNobodyUp is a name that does not resolve: the name
// server says nothing.
func TestUDP_aSlowSessionHoldsNobodyUp(t *testing.T) {
	mute := serveUDP(t, func([]byte, net.Addr) []byte { return nil })
	g := start(t, nil, fmt.Sprintf(`{"store":{"driver":"memory"},"dns_resolver":[%q]}`, mute))
	server := serveUDP(t, func(b []byte, from net.Addr) []byte { return b })
	slow, quick := g.dialUDP(), g.dialUDP()
	from := func(c *net.UDPConn) []any {
		return []any{schema.Object{"port": int64(transparent.AddrPort(c.LocalAddr()).Port())}}
	}
	g.route(schema.Object{"protocol": "udp", "host": "nobody.test", "port": int64(53), "connect_timeout": int64(3000)},
		schema.Object{"protocols": []any{"udp"}, "sources": from(slow)})
	g.route(service("udp", server), schema.Object{"protocols": []any{"udp"}, "sources": from(quick)})
	for range 1000 { // more than its queue takes
		slow.Write(make([]byte, 100))
	}
	// The kernel may have dropped what no longer fitted into the socket, so the
	// question is asked again, as clients of UDP do.
	b := make([]byte, 100)
	patient.Until(t, "another client has its answer", func() bool {
		quick.Write([]byte("hello"))
		_ = quick.SetReadDeadline(time.Now().Add(time.Second))
		n, err := quick.Read(b)
		return err == nil && string(b[:n]) == "hello"
	})
}

func TestUDP_refusals(t *testing.T) {
	g := start(t, func(a *App) { a.MaxUDPSessions = 2 })
	c := g.dialUDP()
	for range 20 {
		c.Write([]byte("x"))
	}
	g.awaitLog("no route found with those values")
	g.awaitLog("handled connection")
	time.Sleep(100 * time.Millisecond) // long enough for a second line, if there were one
	if n := g.logs.FilterMessage("no route found with those values").Len(); n != 1 {
		t.Errorf("20 datagrams of one client were logged %d times", n)
	}
	g.dialUDP().Write([]byte("x"))
	g.dialUDP().Write([]byte("x"))
	g.awaitLog("too many UDP sessions; datagrams of new clients are dropped")
}

// TestUDP_aServiceThatIsGone ends the session, so that the next datagram finds
// another target.
func TestUDP_aServiceThatIsGone(t *testing.T) {
	g := start(t, nil)
	g.route(service("udp", deadUDP(t)), schema.Object{"protocols": []any{"udp"}, "destinations": g.at(packets)})
	g.dialUDP().Write([]byte("x"))
	if line := g.awaitLog("service does not take datagrams").ContextMap(); line["error"] != "read: connection refused" {
		t.Errorf("logged %v", line)
	}
}

// deadUDP is the address of somebody who hears nobody but another.
func deadUDP(t testing.TB) netip.AddrPort {
	t.Helper()
	c, err := net.Dial("udp", "127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return transparent.AddrPort(c.LocalAddr())
}

// TestUDP_closeUnderTraffic stops the listener while clients send.
func TestUDP_closeUnderTraffic(t *testing.T) {
	g := start(t, func(a *App) { a.GracePeriod = caddyDuration(50 * time.Millisecond) })
	server := serveUDP(t, func(b []byte, from net.Addr) []byte { return b })
	g.route(service("udp", server), schema.Object{"protocols": []any{"udp"}, "destinations": g.at(packets)})
	var wg sync.WaitGroup
	end := make(chan struct{})
	for range 20 {
		c := g.dialUDP()
		wg.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
					c.Write([]byte("x"))
				}
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	g.stop()
	close(end)
	wg.Wait()
}
