package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
	"github.com/google/uuid"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/node"
	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
	_ "github.com/portcullis-gateway/portcullis/modules/store/memory"
	"github.com/portcullis-gateway/portcullis/transparent"
)

func TestMain(m *testing.M) {
	patient.NoLeaks(m,
		// Caddy's cache of certificates lives as long as the process.
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*Cache).maintainAssets"),
		// Loops are the process's, too.
		goleak.IgnoreAnyFunction("github.com/portcullis-gateway/portcullis/modules/relay.(*Loop).run"),
		// Ends when it next looks at its lock, seconds after that was released.
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
}

// A gatewayTest is the app with real listeners, and a node that tests write to.
type gatewayTest struct {
	t    testing.TB
	app  *App
	node *node.Node
	logs *observer.ObservedLogs
	ctx  caddy.Context
}

// start runs the app. Its listeners are plain, ssl, udp and proxy_protocol on
// loopback, or those of the configuration given.
func start(t testing.TB, change func(*App), settings ...string) *gatewayTest {
	t.Helper()
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	storage := fmt.Sprintf(`{"module":"file_system","root":%q}`, t.TempDir())
	gatewayJSON := `{"store":{"driver":"memory"},"trusted_ips":["127.0.0.1"]}`
	if len(settings) > 0 {
		gatewayJSON = settings[0]
	}
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Admin:      &caddy.AdminConfig{Disabled: true},
		StorageRaw: json.RawMessage(storage),
		AppsRaw: caddy.ModuleMap{
			"gateway": json.RawMessage(gatewayJSON),
			"gateway_stream": json.RawMessage(`{"access_log":true,"listen":[{"address":"127.0.0.1","port":0},{"address":"127.0.0.1","port":0,"ssl":true},
				{"address":"127.0.0.1","port":0,"udp":true},{"address":"127.0.0.1","port":0,"proxy_protocol":true},{"address":"127.0.0.1","port":0,"ssl":true,"proxy_protocol":true}]}`),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	value, err := ctx.App("gateway_stream")
	if err != nil {
		t.Fatal(err)
	}
	g := &gatewayTest{t: t, app: value.(*App), ctx: ctx}
	core, logs := observer.New(zap.DebugLevel)
	g.logs, g.app.logger = logs, zap.New(core)
	if change != nil {
		change(g.app)
	}
	if err := g.app.Start(); err != nil {
		t.Fatal(err)
	}
	lender, _ := gateway.From(ctx)
	if g.node, err = lender.Node(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.stop()
		if err := lender.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// stop ends the app and waits for its listeners.
func (g *gatewayTest) stop() {
	open := g.app.open
	if err := g.app.Stop(); err != nil {
		g.t.Error(err)
	}
	for _, l := range open {
		select {
		case <-l.listener.done:
		case <-time.After(patience):
			g.t.Errorf("the listener %s does not end", l.listener.bind)
		}
	}
}

// The listeners, by their place in the configuration.
const (
	plain = iota
	secure
	packets
	proxiedPlain
	proxiedSecure
)

func (g *gatewayTest) addr(i int) netip.AddrPort { return g.app.open[i].listener.addrs()[0] }

// insert adds an entity and returns its id.
func (g *gatewayTest) insert(table string, o schema.Object) string {
	g.t.Helper()
	var id string
	err := g.node.Write(context.Background(), func(tx *store.Tx) error {
		row, err := tx.Insert(table, o)
		if err == nil {
			id = row["id"].(string)
		}
		return err
	})
	if err != nil {
		g.t.Fatalf("inserting into %s: %v", table, err)
	}
	return id
}

// route adds a service and a route to it.
func (g *gatewayTest) route(service, route schema.Object) (routeID string) {
	g.t.Helper()
	if service != nil {
		route["service"] = schema.Object{"id": g.insert("services", service)}
	}
	return g.insert("routes", route)
}

// at is a route's destinations for one of the listeners.
func (g *gatewayTest) at(i int) []any {
	return []any{schema.Object{"port": int64(g.addr(i).Port())}}
}

// service is one at an address.
func service(protocol string, addr netip.AddrPort, more ...schema.Object) schema.Object {
	o := schema.Object{"protocol": protocol, "host": addr.Addr().String(), "port": int64(addr.Port())}
	for _, m := range more {
		for k, v := range m {
			o[k] = v
		}
	}
	return o
}

// serveTCP runs a server that gives each connection to handle, and closes it.
func serveTCP(t testing.TB, handle func(net.Conn)) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(patience))
				handle(c)
			}()
		}
	}()
	return transparent.AddrPort(ln.Addr())
}

// echo sends back what comes, with a name in front.
func echo(name string) func(net.Conn) {
	return func(c net.Conn) {
		if name != "" {
			io.WriteString(c, name+":")
		}
		io.Copy(c, c)
	}
}

// serveUDP runs a server that answers each datagram.
func serveUDP(t testing.TB, answer func(b []byte, from net.Addr) []byte) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, maxDatagram)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if b := answer(buf[:n], from); b != nil {
				c.WriteTo(b, from)
			}
		}
	}()
	return transparent.AddrPort(c.LocalAddr())
}

// dialTo connects to one of the listeners.
func (g *gatewayTest) dialTo(i int) *net.TCPConn {
	g.t.Helper()
	c, err := net.Dial("tcp", g.addr(i).String())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

// ask sends text, ends, and reads the whole answer.
func ask(t testing.TB, c net.Conn, text string) string {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("got %q and then %v", b, err)
	}
	return string(b)
}

// awaitLog waits for a line with the message.
func (g *gatewayTest) awaitLog(message string) observer.LoggedEntry {
	g.t.Helper()
	var all []observer.LoggedEntry
	patient.Until(g.t, fmt.Sprintf("%q is logged", message), func() bool {
		all = g.logs.FilterMessage(message).All()
		return len(all) > 0
	})
	return all[0]
}

// patience bounds everything that ought to happen at once but may take a while
// on a busy machine.
const patience = patient.Limit

func (g *gatewayTest) delete(table, id string) {
	g.t.Helper()
	err := g.node.Write(context.Background(), func(tx *store.Tx) error {
		_, err := tx.Delete(table, store.Key{ID: uuid.MustParse(id)})
		return err
	})
	if err != nil {
		g.t.Fatal(err)
	}
}

func caddyDuration(d time.Duration) caddy.Duration { return caddy.Duration(d) }

// awaitQuiet waits until no connection or session is left.
func (g *gatewayTest) awaitQuiet() {
	g.t.Helper()
	for _, l := range g.app.open {
		select {
		case <-l.listener.quiet():
		case <-time.After(patience):
			g.t.Errorf("%s still has connections", l.listener.bind)
		}
	}
}
