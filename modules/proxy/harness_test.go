package proxy

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/dns"
	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/http1"
	"github.com/portcullis-gateway/portcullis/modules/node"
	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/serve"
	"github.com/portcullis-gateway/portcullis/modules/snapshot"
	"github.com/portcullis-gateway/portcullis/modules/store"
	_ "github.com/portcullis-gateway/portcullis/modules/store/memory"
)

func TestMain(m *testing.M) {
	patient.NoLeaks(m,
		// Caddy's cache of certificates lives as long as the process.
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*Cache).maintainAssets"),
		// Ends when it next looks at its lock, seconds after that was released.
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
		// Ends when it has had nothing to do for a while.
		goleak.IgnoreAnyFunction("github.com/portcullis-gateway/portcullis/modules/proxy.(*round).walk"))
}

// A gatewayTest is an engine behind a real server, with a world that tests
// write to.
type gatewayTest struct {
	t      testing.TB
	engine *Engine
	server *httptest.Server
	logs   *observer.ObservedLogs
	image  *store.Image
	pools  *balancer.Pools
	loader *plugin.Loader
	view   atomic.Pointer[node.View]
}

func (g *gatewayTest) View() *node.View { return g.view.Load() }

// start runs a gateway without entities.
func start(t testing.TB, settings gateway.Settings) *gatewayTest {
	t.Helper()
	g := &gatewayTest{t: t, image: store.NewImage(gateway.Catalog()), pools: balancer.NewPools()}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	g.loader = &plugin.Loader{Context: ctx, World: t.Name()}
	t.Cleanup(g.pools.Close)
	g.publish()
	core, logs := observer.New(zap.DebugLevel)
	g.logs = logs
	g.engine = NewEngine(g, systemResolver(t), options(t, settings), serve.Timeouts{}, zap.New(core))
	t.Cleanup(g.engine.Close)
	g.server = serveHTTP(t, g.engine, false)
	return g
}

// systemResolver asks as this machine's files say.
func systemResolver(t testing.TB) *dns.Resolver {
	t.Helper()
	r, err := dns.New(dns.NewConfig())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// options are the settings as an app reads them.
func options(t testing.TB, s gateway.Settings) *gateway.Options {
	t.Helper()
	app := &gateway.App{Settings: s, StoreRaw: json.RawMessage(`{"driver":"memory"}`)}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	if err := app.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	return app.Options()
}

// serveHTTP runs a server of HTTP/1.1 and h2c on loopback, or of HTTP/1.1 and
// HTTP/2 over TLS.
func serveHTTP(t testing.TB, h http.Handler, secure bool) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.ErrorLog = quiet
	if secure {
		s.Config.Protocols.SetHTTP2(true)
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func (g *gatewayTest) publish() {
	s := snapshot.NewWithPlugins(g.image, g.pools, g.loader)
	s.Publish()
	g.view.Store(&node.View{Image: g.image, Snapshot: s})
}

// insert adds an entity and returns its id.
func (g *gatewayTest) insert(table string, o schema.Object) string {
	g.t.Helper()
	tx := store.Begin(g.image, store.Options{})
	row, err := tx.Insert(table, o)
	if err != nil {
		g.t.Fatalf("inserting into %s: %v", table, err)
	}
	g.image = tx.Image()
	g.publish()
	return row["id"].(string)
}

// route adds a service and a route to it. The objects say what is special.
func (g *gatewayTest) route(service, route schema.Object) {
	g.t.Helper()
	if service != nil {
		if route["service"] == nil {
			route["service"] = schema.Object{"id": g.insert("services", service)}
		}
	}
	if len(route) == 0 || route["paths"] == nil && route["hosts"] == nil {
		route["paths"] = []any{"/"}
	}
	g.insert("routes", route)
}

// to is a service at a server.
func to(s *httptest.Server, more ...schema.Object) schema.Object {
	u, _ := url.Parse(s.URL)
	port, _ := strconv.Atoi(u.Port())
	o := schema.Object{"protocol": u.Scheme, "host": u.Hostname(), "port": int64(port)}
	for _, m := range more {
		for k, v := range m {
			o[k] = v
		}
	}
	return o
}

// upstream runs a server for services.
func upstream(t testing.TB, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	return serveHTTP(t, h, false)
}

// do sends a request that changes may adapt, and reads the whole answer.
func (g *gatewayTest) do(method, target string, body io.Reader, adapt ...func(*http.Request)) (*http.Response, string) {
	g.t.Helper()
	req, err := http.NewRequest(method, g.server.URL+target, body)
	if err != nil {
		g.t.Fatal(err)
	}
	for _, f := range adapt {
		f(req)
	}
	return send(g.t, plainClient(g.t), req)
}

func (g *gatewayTest) get(target string, adapt ...func(*http.Request)) (*http.Response, string) {
	g.t.Helper()
	return g.do("GET", target, nil, adapt...)
}

func send(t testing.TB, c *http.Client, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("reading the body: %v", err)
	}
	return resp, string(b)
}

// plainClient is one that adds nothing and follows nothing.
func plainClient(t testing.TB) *http.Client {
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// h2cClient speaks HTTP/2 without TLS.
func h2cClient(t testing.TB) *http.Client {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: p, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func header(name string, values ...string) func(*http.Request) {
	return func(r *http.Request) { r.Header[name] = values }
}

// raw opens a connection to the gateway, for requests that no client sends.
func (g *gatewayTest) raw() (net.Conn, *bufio.Reader) {
	g.t.Helper()
	c, err := net.Dial("tcp", g.server.Listener.Addr().String())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patient.Limit))
	return c, bufio.NewReader(c)
}

// direct serves the engine by the gateway's own server of HTTP/1, as its listeners
// do; it answers the URL.
func (g *gatewayTest) direct() string { return g.behind(g.engine) }

// behind serves a handler as the engine is served.
func (g *gatewayTest) behind(h http.Handler) string {
	g.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		g.t.Fatal(err)
	}
	s := &http1.Server{Handler: h, Lists: h == http.Handler(g.engine)}
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = s.Serve(ln)
	}()
	g.t.Cleanup(func() {
		s.Close()
		<-over
	})
	return "http://" + ln.Addr().String()
}

// logged finds the lines with a message.
func (g *gatewayTest) logged(message string) []observer.LoggedEntry {
	return g.logs.FilterMessage(message).All()
}

func wantStatus(t testing.TB, resp *http.Response, want int) {
	t.Helper()
	if resp.StatusCode != want {
		t.Errorf("got status %d, want %d", resp.StatusCode, want)
	}
}

// match is a match of a service with a protocol.
func match(protocol string) snapshot.Match {
	return snapshot.Match{
		Route:   &snapshot.Route{Route: &entity.Route{}},
		Service: &snapshot.Service{Service: &entity.Service{Protocol: protocol}},
	}
}

func itoa[N uint16 | int](n N) string { return strconv.Itoa(int(n)) }

// quiet is for servers that are treated badly on purpose.
var quiet = zap.NewStdLog(zap.NewNop())
