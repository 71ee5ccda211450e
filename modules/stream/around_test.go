package stream

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/mholt/caddy-l4/layer4"
	_ "github.com/mholt/caddy-l4/modules/l4close"
	_ "github.com/mholt/caddy-l4/modules/l4echo"
	_ "github.com/mholt/caddy-l4/modules/l4proxyprotocol"
	_ "github.com/mholt/caddy-l4/modules/l4tee"
	_ "github.com/mholt/caddy-l4/modules/l4throttle"

	"github.com/portcullis-gateway/portcullis/modules/relay"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/selfsigned"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

func init() { caddy.RegisterModule(new(listener4)) }

// A listener4 is a handler of caddy-l4's that hands on what it reads.
type listener4 struct {
	heard chan string
}

func (*listener4) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "layer4.handlers.test_listener", New: func() caddy.Module { return &listener4{heard: heard} }}
}

func (l *listener4) Handle(cx *layer4.Connection, _ layer4.Handler) error {
	b, _ := io.ReadAll(cx)
	l.heard <- string(b)
	return nil
}

func (l *listener4) Cleanup() error {
	select {
	case cleaned <- struct{}{}:
	default:
	}
	return nil
}

var (
	heard   = make(chan string, 10)
	cleaned = make(chan struct{}, 1)
)

// hear waits for what a listener4 says.
func hear(t testing.TB) string {
	t.Helper()
	select {
	case s := <-heard:
		return s
	case <-time.After(patience):
		t.Fatal("nothing was heard")
		return ""
	}
}

// handler adds a handler of caddy-l4's to a route.
func (g *gatewayTest) handler(route, name string, config schema.Object) string {
	g.t.Helper()
	return g.insert("plugins", schema.Object{"name": "layer4.handlers." + name, "config": config, "route": schema.Object{"id": route}})
}

func TestHandlers_throttle(t *testing.T) {
	g := start(t, nil)
	id := g.route(service("tcp", serveTCP(t, echo(""))), schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
	before := relay.Spliced()
	text := strings.Repeat("x", 60_000)
	row := g.handler(id, "throttle", schema.Object{"read_bytes_per_second": int64(100_000), "read_burst_size": int64(20_000)})
	begin := time.Now()
	if got := ask(t, g.dialTo(plain), text); got != text {
		t.Errorf("got %d bytes", len(got))
	}
	if took := time.Since(begin); took < 350*time.Millisecond {
		t.Errorf("60 kB at 100 kB/s, of which 20 kB at once, took %v", took)
	}
	if relay.Spliced() != before {
		t.Error("bytes went past the handler")
	}
	g.delete("plugins", row)
	text = strings.Repeat("x", 1<<20)
	c := g.dialTo(plain)
	go func() {
		io.WriteString(c, text)
		c.CloseWrite()
	}()
	if got, err := io.ReadAll(c); len(got) != len(text) || err != nil {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if relay.Spliced() == before {
		t.Error("without a handler nothing is spliced")
	}
}

func TestHandlers_proxyProtocol(t *testing.T) {
	g := start(t, nil)
	id := g.route(service("tcp", serveTCP(t, echo("")), schema.Object{"proxy_protocol": "v1"}), schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
	g.handler(id, "proxy_protocol", schema.Object{"timeout": "5s", "allow": []any{"127.0.0.0/8"}})
	const header = "PROXY TCP4 192.0.2.7 198.51.100.1 1234 443\r\n"
	if got := ask(t, g.dialTo(plain), header+"abc"); got != header+"abc" {
		t.Errorf("got %q", got)
	}
	if line := g.awaitLog("handled connection").ContextMap(); line["remote"] != "192.0.2.7:1234" || line["bytes_received"] != int64(3) {
		t.Errorf("logged %v", line)
	}
}

func TestHandlers_tee(t *testing.T) {
	g := start(t, nil)
	id := g.route(service("tcp", serveTCP(t, echo("hello"))), schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
	row := g.handler(id, "tee", schema.Object{"branch": []any{schema.Object{"handler": "test_listener"}}})
	if got := ask(t, g.dialTo(plain), "abc"); got != "hello:abc" {
		t.Errorf("got %q", got)
	}
	if got := hear(t); got != "abc" {
		t.Errorf("the branch got %q", got)
	}
	c := g.dialTo(plain) // one that ends out of order
	talk := make([]byte, 7)
	io.WriteString(c, "d")
	io.ReadFull(c, talk)
	g.delete("plugins", row)
	c.SetLinger(0)
	c.Close()
	if got := hear(t); got != "d" {
		t.Errorf("the branch got %q", got)
	}
	select {
	case <-cleaned:
	case <-time.After(patience):
		t.Error("the handler is not cleaned up")
	}
}

func TestHandlers_standInsideOfTLS(t *testing.T) {
	g := start(t, nil)
	id := g.route(service("tcp", serveTCP(t, echo("hello"))), schema.Object{"protocols": []any{"tls"}, "snis": []any{"a.example.com"}})
	g.handler(id, "tee", schema.Object{"branch": []any{schema.Object{"handler": "test_listener"}}})
	g.handler(id, "throttle", schema.Object{"latency": "10ms"})
	c := tls.Client(g.dialTo(secure), &tls.Config{ServerName: "a.example.com", InsecureSkipVerify: true})
	if got := ask(t, c, "secret"); got != "hello:secret" {
		t.Errorf("got %q", got)
	}
	if got := hear(t); got != "secret" {
		t.Errorf("the branch got %q", got)
	}
}

func TestHandlers_passedThroughTLSBeginsWithTheClientHello(t *testing.T) {
	g := start(t, nil)
	server := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{selfsigned.New("b.example.com", "b.example.com").Certificate}}, echo("behind"))
	id := g.route(service("tcp", server), schema.Object{"protocols": []any{"tls_passthrough"}, "snis": []any{"b.example.com"}})
	g.handler(id, "throttle", schema.Object{"latency": "10ms"})
	c := tls.Client(g.dialTo(secure), &tls.Config{ServerName: "b.example.com", InsecureSkipVerify: true})
	if _, err := io.WriteString(c, "x"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 8)
	if _, err := io.ReadFull(c, b); string(b) != "behind:x" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestHandlers_mayKeepTheConnection(t *testing.T) {
	g := start(t, nil)
	dead := deadPort(t)
	id := g.route(service("tcp", dead), schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
	row := g.handler(id, "echo", schema.Object{})
	if got := ask(t, g.dialTo(plain), "abc"); got != "abc" {
		t.Errorf("got %q", got)
	}
	g.delete("plugins", row)
	g.handler(id, "close", schema.Object{})
	if got := ask(t, g.dialTo(plain), ""); got != "" {
		t.Errorf("got %q", got)
	}
	if n := g.logs.FilterMessage("service could not be reached").Len(); n != 0 {
		t.Errorf("the service was asked for %d times", n)
	}
}

// TestHandlers_passOnHowConnectionsEnd has the service end first, and reset.
func TestHandlers_passOnHowConnectionsEnd(t *testing.T) {
	g := start(t, nil)
	server := serveTCP(t, func(c net.Conn) {
		b := make([]byte, 1)
		c.Read(b)
		if b[0] == 'r' {
			c.(*net.TCPConn).SetLinger(0)
			return
		}
		c.(*net.TCPConn).CloseWrite()
		rest, _ := io.ReadAll(c)
		heard <- string(rest)
	})
	id := g.route(service("tcp", server), schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
	g.handler(id, "throttle", schema.Object{"latency": "1ms"})
	c := g.dialTo(plain)
	io.WriteString(c, "e")
	if b, err := io.ReadAll(c); len(b) > 0 || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	io.WriteString(c, "goes on")
	c.CloseWrite()
	if got := hear(t); got != "goes on" {
		t.Errorf("after its end the service got %q", got)
	}
	c = g.dialTo(plain)
	io.WriteString(c, "r")
	if _, err := io.ReadAll(c); !relay.IsReset(err) {
		t.Errorf("got %v, want a reset", err)
	}
}

// A client that waits for the answer to its ClientHello is told by an alert that the
// service cannot be reached, whoever stands in between.
func TestHandlers_leaveRoomForTheAlert(t *testing.T) {
	g := start(t, nil)
	id := g.route(service("tcp", deadPort(t), schema.Object{"retries": int64(0)}), schema.Object{"protocols": []any{"tls_passthrough"}, "snis": []any{"gone.example.com"}})
	g.handler(id, "throttle", schema.Object{"latency": "1ms"})
	err := tls.Client(g.dialTo(secure), &tls.Config{ServerName: "gone.example.com", InsecureSkipVerify: true}).Handshake()
	if err == nil || !strings.Contains(err.Error(), "internal error") {
		t.Errorf("got %v, want the alert", err)
	}
}

func TestHandlers_refusals(t *testing.T) {
	g := start(t, nil, `{"store":{"driver":"memory"},"plugins":["layer4.handlers.throttle","layer4.handlers.echo"]}`)
	tcp := g.route(service("tcp", netip.MustParseAddrPort("127.0.0.1:1")), schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
	udp := g.route(service("udp", netip.MustParseAddrPort("127.0.0.1:1")), schema.Object{"protocols": []any{"udp"}, "destinations": g.at(packets)})
	for _, tt := range []struct {
		name, route string
		config      schema.Object
		want        string
	}{
		{"throttle", tcp, schema.Object{"speed": "slow"}, "config.speed: unknown field"},
		{"throttle", tcp, schema.Object{"read_bytes_per_second": int64(-1)}, "bytes per second must be at least 0"},
		{"throttle", udp, schema.Object{}, "must match the associated route's protocols"},
		{"tee", tcp, schema.Object{}, "plugin 'layer4.handlers.tee' not enabled; add it to the 'plugins' configuration property"},
		{"gateway", tcp, schema.Object{}, "plugin 'layer4.handlers.gateway' not enabled"},
		{"nothing", tcp, schema.Object{}, "plugin 'layer4.handlers.nothing' not enabled"},
	} {
		err := g.node.Write(context.Background(), func(tx *store.Tx) error {
			_, err := tx.Insert("plugins", schema.Object{"name": "layer4.handlers." + tt.name, "config": tt.config, "route": schema.Object{"id": tt.route}})
			return err
		})
		if err == nil || !strings.Contains(fmt.Sprint(err), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}
