package stream

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func init() { caddy.RegisterModule(new(witness)) }

// A witness is a plugin that notes what it sees, and does what its config says.
type witness struct {
	Do string `json:"do"` // "", refuse, answer, fail or panic

	book *book
}

// A book is what the witnesses of a test wrote.
type book struct {
	mu     sync.Mutex
	seen   []plugin.Session // in the phase log
	closed int
}

func (w *witness) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway.plugins.witness", New: func() caddy.Module { return new(witness) }}
}

func (w *witness) Describe() entity.PluginKind {
	return entity.PluginKind{
		Priority: 100, Protocols: []string{"http", "tcp", "tls", "tls_passthrough", "udp"},
		Config: &schema.Fields{List: []schema.Field{{Name: "do", Kind: schema.String}}},
	}
}

func (w *witness) Provision(ctx caddy.Context) error {
	w.book = current.book
	return nil
}

func (w *witness) Cleanup() error {
	w.book.mu.Lock()
	defer w.book.mu.Unlock()
	w.book.closed++
	return nil
}

func (w *witness) Preread(s *plugin.Session) error {
	s.Set(w.Do)
	switch w.Do {
	case "refuse":
		return plugin.Refuse(403, "not you")
	case "answer":
		return plugin.Exit(200, "later, perhaps")
	case "fail":
		return errors.New("the disk is full")
	case "panic":
		panic("at the disk")
	}
	return nil
}

func (w *witness) LogSession(s *plugin.Session) {
	w.book.mu.Lock()
	defer w.book.mu.Unlock()
	seen := *s
	if s.Route != nil && w.Do != "" && s.Value() != w.Do {
		seen.SNI = "the value of another"
	}
	w.book.seen = append(w.book.seen, seen)
}

// current is the book of the test that is running.
var current struct{ book *book }

func newBook() *book {
	current.book = new(book)
	return current.book
}

// await waits for so many sessions in the phase log.
func (b *book) await(t testing.TB, n int) []plugin.Session {
	t.Helper()
	var seen []plugin.Session
	patient.Until(t, fmt.Sprintf("the phase log comes for %d sessions", n), func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		seen = b.seen
		return len(seen) >= n
	})
	return seen
}

// plugin adds a witness to a route, or to all.
func (g *gatewayTest) plugin(route, do string) string {
	g.t.Helper()
	o := schema.Object{"name": "witness", "config": schema.Object{}}
	if do != "" {
		o["config"] = schema.Object{"do": do}
	}
	if route != "" {
		o["route"] = schema.Object{"id": route}
	}
	return g.insert("plugins", o)
}

func TestPlugins_seeASessionFromItsBeginToItsEnd(t *testing.T) {
	b, g := newBook(), start(t, nil)
	server := serveTCP(t, echo("hello"))
	id := g.route(service("tcp", server), schema.Object{"name": "r", "protocols": []any{"tcp"}, "destinations": g.at(plain)})
	g.plugin("", "")
	if got := ask(t, g.dialTo(plain), "abc"); got != "hello:abc" {
		t.Errorf("got %q", got)
	}
	s := b.await(t, 1)[0]
	if s.Protocol != "tcp" || s.Route.ID.String() != id || s.Service == nil || !s.Client.Addr().IsLoopback() || s.Destination != g.addr(plain) || len(s.ID) != 32 || s.Directory == nil {
		t.Errorf("seen: %+v", s)
	}
	if o := s.Outcome; o.Status != 200 || o.Received != 3 || o.Sent != 9 || o.Duration <= 0 || len(o.Tries) != 1 || o.Tries[0].Address != server.String() || o.Tries[0].State != "" {
		t.Errorf("outcome: %+v", o)
	}
}

func TestPlugins_ofSeveralTheMostSpecificActs(t *testing.T) {
	b, g := newBook(), start(t, nil)
	route := g.route(service("tcp", serveTCP(t, echo(""))), schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
	g.plugin("", "refuse")
	row := g.plugin(route, "")
	if got := ask(t, g.dialTo(plain), "abc"); got != "abc" {
		t.Errorf("got %q", got)
	}
	b.await(t, 1)
	g.delete("plugins", row)
	if got := ask(t, g.dialTo(plain), ""); got != "" {
		t.Errorf("got %q", got)
	}
	if s := b.await(t, 2)[1]; s.Outcome.Status != 403 || len(s.Outcome.Tries) != 0 {
		t.Errorf("outcome: %+v", s.Outcome)
	}
}

func TestPlugins_endConnections(t *testing.T) {
	b, g := newBook(), start(t, nil)
	route := schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)}
	id := g.route(service("tcp", serveTCP(t, echo("service"))), route)
	for i, tt := range []struct {
		do, answer, reason string
		status             int
	}{
		{"refuse", "", "plugin", 403},
		{"answer", "later, perhaps", "plugin", 200},
		{"fail", "", "plugin_error", 500},
		{"panic", "", "plugin_error", 500},
	} {
		row := g.plugin(id, tt.do)
		if got := ask(t, g.dialTo(plain), ""); got != tt.answer {
			t.Errorf("%s: the client got %q", tt.do, got)
		}
		if s := b.await(t, i+1)[i]; s.Outcome.Status != tt.status || s.SNI != "" {
			t.Errorf("%s: %+v", tt.do, s)
		}
		g.delete("plugins", row)
	}
	g.awaitQuiet()
	lines := g.logs.FilterMessage("handled connection").All()
	for i, reason := range []string{"plugin", "plugin", "plugin_error", "plugin_error"} {
		if got := lines[i].ContextMap()["reason"]; got != reason {
			t.Errorf("line %d has the reason %v", i, got)
		}
	}
	if n := g.logs.FilterMessage("plugin failed").Len(); n != 2 {
		t.Errorf("%d failures were logged", n)
	}
}

func TestPlugins_tellTLSClients(t *testing.T) {
	b, g := newBook(), start(t, nil)
	id := g.route(service("tcp", serveTCP(t, echo("service"))), schema.Object{"protocols": []any{"tls"}, "snis": []any{"a.example.com"}})
	config := &tls.Config{ServerName: "a.example.com", InsecureSkipVerify: true}
	c := tls.Client(g.dialTo(secure), config)
	row := g.plugin("", "refuse")
	if err := c.Handshake(); err == nil || !strings.Contains(err.Error(), "access denied") {
		t.Errorf("the client learns %v", err)
	}
	b.await(t, 1)
	g.delete("plugins", row)
	g.plugin(id, "")
	c = tls.Client(g.dialTo(secure), config)
	if got := ask(t, c, "x"); got != "service:x" {
		t.Errorf("got %q", got)
	}
	if s := b.await(t, 2)[1]; s.TLS == nil || s.TLS.Version != tls.VersionTLS13 || s.SNI != "a.example.com" || s.Protocol != "tls" {
		t.Errorf("seen: %+v", s)
	}
}

func TestPlugins_logWhatNoRouteTook(t *testing.T) {
	b, g := newBook(), start(t, nil)
	g.plugin("", "refuse")
	if got, _ := io.ReadAll(g.dialTo(plain)); len(got) > 0 {
		t.Errorf("got %q", got)
	}
	if s := b.await(t, 1)[0]; s.Route != nil || s.Service != nil || s.Outcome.Status != 500 {
		t.Errorf("seen: %+v", s)
	}
}

func TestPlugins_onceForASessionOfDatagrams(t *testing.T) {
	b, g := newBook(), start(t, nil)
	server := serveUDP(t, func(b []byte, from net.Addr) []byte { return b })
	g.route(service("udp", server, schema.Object{"read_timeout": int64(2000)}), schema.Object{"protocols": []any{"udp"}, "destinations": g.at(packets)})
	row := g.plugin("", "")
	c := g.dialUDP()
	for range 3 {
		exchange(t, c, "x")
	}
	if s := b.await(t, 1)[0]; s.Protocol != "udp" || s.Outcome.Received != 3 || s.Outcome.Sent != 3 || s.Outcome.Status != 200 {
		t.Errorf("seen: %+v", s)
	}
	g.delete("plugins", row)
	g.plugin("", "answer")
	d := g.dialUDP()
	if _, err := d.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, err := d.Read(buf); err != nil || string(buf[:n]) != "later, perhaps" {
		t.Errorf("got %q, %v", buf[:n], err)
	}
	b.await(t, 2)
}

// TestPlugins_areCleanedUpBehindTheLastFlow changes a plugin under a connection
// that it acts on.
func TestPlugins_areCleanedUpBehindTheLastFlow(t *testing.T) {
	b, g := newBook(), start(t, nil)
	g.route(service("tcp", serveTCP(t, echo(""))), schema.Object{"protocols": []any{"tcp"}, "destinations": g.at(plain)})
	row := g.plugin("", "")
	c := g.dialTo(plain)
	talk(t, c)
	g.delete("plugins", row)
	talk(t, c)
	closed := func() int {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.closed
	}
	if closed() != 0 {
		t.Error("cleaned up under a connection")
	}
	c.Close()
	b.await(t, 1)
	patient.Until(t, "the plugin is cleaned up", func() bool { return closed() == 1 })
}
