package stream

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/ports"
	"github.com/portcullis-gateway/portcullis/modules/relay"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func TestTCP_isPassedToTheRoutesService(t *testing.T) {
	g := start(t, nil)
	one, two := serveTCP(t, echo("one")), serveTCP(t, echo("two"))
	g.route(service("tcp", one), schema.Object{"name": "one", "protocols": []any{"tcp"}, "destinations": g.at(plain)})
	if got := ask(t, g.dialTo(plain), "hello"); got != "one:hello" {
		t.Errorf("got %q", got)
	}
	line := g.awaitLog("handled connection").ContextMap()
	g.route(service("tcp", two), schema.Object{"name": "two", "protocols": []any{"tcp"}, "destinations": g.at(plain), "sources": []any{schema.Object{"ip": "127.0.0.0/8"}}})
	if got := ask(t, g.dialTo(plain), "hello"); got != "two:hello" {
		t.Errorf("a route with a source as well: got %q", got)
	}
	if line["route"] != "one" || line["status"] != int64(200) || line["bytes_received"] != int64(5) || line["bytes_sent"] != int64(9) ||
		line["target"] != one.String() || line["protocol"] != "tcp" {
		t.Errorf("logged %v", line)
	}
}

func TestTCP_serverSpeaksFirst(t *testing.T) {
	g := start(t, nil)
	smtp := serveTCP(t, func(c net.Conn) {
		io.WriteString(c, "220 mail.example.com ESMTP\r\n")
		line, _ := bufio.NewReader(c).ReadString('\n')
		io.WriteString(c, "250 "+line)
	})
	g.route(service("tcp", smtp), schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
	c := g.dialTo(plain)
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); line != "220 mail.example.com ESMTP\r\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	io.WriteString(c, "EHLO x\r\n")
	if line, err := r.ReadString('\n'); line != "250 EHLO x\r\n" {
		t.Errorf("got %q, %v", line, err)
	}
}

func TestTCP_aResetIsPassedOn(t *testing.T) {
	g := start(t, nil)
	server := serveTCP(t, func(c net.Conn) {
		io.ReadFull(c, make([]byte, 1))
		c.(*net.TCPConn).SetLinger(0)
	})
	g.route(service("tcp", server), schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
	c := g.dialTo(plain)
	io.WriteString(c, "x")
	if _, err := c.Read(make([]byte, 1)); !relay.IsReset(err) {
		t.Errorf("got %v, want a reset", err)
	}
}

func TestTCP_manyBytesGoThroughTheKernel(t *testing.T) {
	g := start(t, nil)
	server := serveTCP(t, func(c net.Conn) { io.CopyN(c, zeros{}, 64<<20) })
	g.route(service("tcp", server), schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
	before := relay.Spliced()
	if n, err := io.Copy(io.Discard, g.dialTo(plain)); n != 64<<20 {
		t.Fatalf("got %d bytes, %v", n, err)
	}
	if through := relay.Spliced() - before; through < 60<<20 {
		t.Errorf("%d bytes of 64 MiB were spliced", through)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

func TestTCP_idleConnectionsEnd(t *testing.T) {
	g := start(t, nil)
	server := serveTCP(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	g.route(service("tcp", server, schema.Object{"read_timeout": int64(200)}), schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
	begin := time.Now()
	if _, err := g.dialTo(plain).Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("got %v, want the end", err)
	}
	if took := time.Since(begin); took < 150*time.Millisecond || took > patience {
		t.Errorf("it took %v", took)
	}
	if line := g.awaitLog("handled connection").ContextMap(); line["reason"] != "idle" {
		t.Errorf("logged %v", line)
	}
}

func TestTCP_triesOtherTargetsBeforeTheFirstByte(t *testing.T) {
	g := start(t, nil)
	alive := serveTCP(t, echo("alive"))
	g.insert("upstreams", schema.Object{"name": "pool.internal"})
	up, _ := g.node.View().Image.ByKey("upstreams", "name", "pool.internal")
	for _, target := range []string{deadPort(t).String(), deadPort(t).String(), alive.String()} {
		g.insert("targets", schema.Object{"upstream": schema.Object{"id": up.ID.String()}, "target": target})
	}
	g.route(schema.Object{"protocol": "tcp", "host": "pool.internal", "retries": int64(2)},
		schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
	for range 6 {
		if got := ask(t, g.dialTo(plain), "x"); got != "alive:x" {
			t.Fatalf("got %q", got)
		}
	}
	if line := g.awaitLog("try failed, trying again").ContextMap(); line["upstream"] != "pool.internal" {
		t.Errorf("logged %v", line)
	}
}

// deadPort is an address where nobody listens.
func deadPort(t testing.TB) netip.AddrPort {
	t.Helper()
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(ports.Dead(t)))
}

func TestTCP_failures(t *testing.T) {
	g := start(t, nil)
	addr := serveTCP(t, echo(""))
	for _, tt := range []struct {
		name    string
		prepare func() string // returns the id of the route
		message string
		status  int64
		reason  string
		error   string
	}{
		{"no route", func() string { return "" }, "no route found with those values", 500, "no_route", ""},
		{"no service", func() string {
			return g.route(nil, schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
		}, "no service found with those values", 503, "no_service", ""},
		{"no peer", func() string {
			g.insert("upstreams", schema.Object{"name": "empty.internal"})
			return g.route(schema.Object{"protocol": "tcp", "host": "empty.internal"}, schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
		}, "failure to get a peer from the ring-balancer", 502, "no_peer", ""},
		{"nobody there", func() string {
			return g.route(service("tcp", deadPort(t), schema.Object{"retries": int64(0)}), schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
		}, "service could not be reached", 502, "connect", "connection refused"},
		{"a tls route on a plain listener", func() string {
			return g.route(service("tcp", addr), schema.Object{"name": "secret", "protocols": []any{"tls"}, "destinations": g.at(plain)})
		}, "no route found with those values", 500, "no_route", `route secret fits but for its protocols tls: add the flag ssl to the listener "127.0.0.1:0"`},
		{"a udp route", func() string {
			return g.route(service("udp", addr), schema.Object{"name": "dns", "protocols": []any{"udp"}, "destinations": g.at(plain)})
		}, "no route found with those values", 500, "no_route", "route dns fits but for its protocols udp: add a listener with the flag udp, or tcp to the route's protocols"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g.logs.TakeAll()
			id := tt.prepare()
			if id != "" {
				defer g.delete("routes", id)
			}
			if b, err := io.ReadAll(g.dialTo(plain)); len(b) > 0 || err != nil && !relay.IsReset(err) {
				t.Errorf("got %q, %v; want the end", b, err)
			}
			line := g.awaitLog("handled connection").ContextMap()
			if line["status"] != tt.status || line["reason"] != tt.reason {
				t.Errorf("access log: %v", line)
			}
			said := g.logs.FilterMessage(tt.message).All()
			if len(said) != 1 {
				t.Fatalf("%q was logged %d times, want once; all is %v", tt.message, len(said), g.logs.All())
			}
			if m := said[0].ContextMap(); m["remote"] == nil || m["local"] != g.addr(plain).String() || !strings.Contains(toString(m["error"]), tt.error) {
				t.Errorf("logged %v, want %q in it", m, tt.error)
			}
		})
	}
}

func toString(v any) string {
	s, _ := v.(string)
	return s
}

func TestTCP_tooManyOpenFilesIsNotTheEnd(t *testing.T) {
	if !closed(net.ErrClosed) || closed(errors.New("accept: too many open files")) {
		t.Error("only a closed socket ends the accepting")
	}
}
