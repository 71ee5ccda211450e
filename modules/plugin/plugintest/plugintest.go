// Package plugintest runs a plugin on requests in a test, with a service behind it
// and rows to look up, and without a gateway.
package plugintest

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/uuid"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/portcullis-gateway/portcullis/modules/catalog"
	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// A Gateway is a world with plugins on one route.
type Gateway struct {
	T testing.TB

	// Service answers what the plugins let through. Default: 200 with the
	// body "ok".
	Service http.HandlerFunc

	// Logs are the lines that the plugins wrote.
	Logs *observer.ObservedLogs

	// Last is what the service got at last; nil: nothing. Of requests at a time
	// it is that of any.
	Last *http.Request

	// LastBody is the body that it got.
	LastBody string

	// Now is the time that requests begin at. Default: the present.
	Now time.Time

	// Counters are those of the store; nil: it has none. Set them before Add.
	Counters store.Counters

	mu      sync.Mutex // protects Last and LastBody while requests run
	image   *store.Image
	logger  *zap.Logger
	loader  *plugin.Loader
	globals *plugin.Globals
	route   *entity.Route
	service *entity.Service
	all     []*plugin.Instance
}

// New makes a gateway without plugins.
func New(t testing.TB) *Gateway {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	g := &Gateway{
		T: t, Logs: logs, logger: zap.New(core),
		image:   store.NewImage(catalog.Of()),
		globals: plugin.NewGlobals(),
		route:   &entity.Route{ID: uuid.New(), Name: "route", Protocols: []string{"http", "https"}},
		service: &entity.Service{ID: uuid.New(), Name: "service", Protocol: "http", Host: "service.test", Port: 80},
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	g.loader = &plugin.Loader{Context: ctx, World: uuid.NewString(), Node: uuid.New()}
	t.Cleanup(func() {
		for _, in := range g.all {
			plugin.Release(in)
		}
		cancel()
	})
	return g
}

// Add puts a plugin on the route: its config is JSON, as the Admin API takes it.
func (g *Gateway) Add(name, config string) *plugin.Instance {
	g.T.Helper()
	in, err := g.TryAdd(name, config)
	if err != nil {
		g.T.Fatalf("plugin %s: %v", name, err)
	}
	return in
}

// TryAdd does what Add does, and answers why the config was refused: a
// *schema.Error if the table did that.
func (g *Gateway) TryAdd(name, config string) (*plugin.Instance, error) {
	g.T.Helper()
	o := schema.Object{}
	if config != "" {
		if err := json.Unmarshal([]byte(config), &o); err != nil {
			g.T.Fatal(err)
		}
	}
	tx := store.Begin(g.image, store.Options{})
	row, err := tx.Insert("plugins", schema.Object{"name": name, "config": o})
	if err != nil {
		return nil, err
	}
	g.image = tx.Image()
	stored, _ := g.image.Get("plugins", uuid.MustParse(row["id"].(string)))
	p, err := entity.Decode[entity.Plugin](stored.Data)
	if err != nil {
		return nil, err
	}
	g.loader.Counters = g.Counters
	in, _ := g.loader.Load(p, nil)
	g.all = append(g.all, in)
	if err := in.Err(); err != nil {
		return nil, err
	}
	g.globals = g.globals.With(nil, []*plugin.Instance{in})
	return in, nil
}

// Insert adds a row, such as a credential, and answers it.
func (g *Gateway) Insert(table string, o schema.Object) schema.Object {
	g.T.Helper()
	tx := store.Begin(g.image, store.Options{})
	row, err := tx.Insert(table, o)
	if err != nil {
		g.T.Fatalf("inserting into %s: %v", table, err)
	}
	g.image = tx.Image()
	return row
}

// TryInsert does what Insert does, and answers why the row was refused.
func (g *Gateway) TryInsert(table string, o schema.Object) error {
	tx := store.Begin(g.image, store.Options{})
	if _, err := tx.Insert(table, o); err != nil {
		return err
	}
	g.image = tx.Image()
	return nil
}

// Fill adds n rows at once.
func (g *Gateway) Fill(table string, n int, row func(i int) schema.Object) {
	g.T.Helper()
	tx := store.Begin(g.image, store.Options{})
	for i := range n {
		if _, err := tx.Insert(table, row(i)); err != nil {
			g.T.Fatalf("inserting into %s: %v", table, err)
		}
	}
	g.image = tx.Image()
}

// Stored answers a row that was inserted, as it is stored.
func (g *Gateway) Stored(table string, row schema.Object) schema.Object {
	g.T.Helper()
	r, ok := g.image.Get(table, uuid.MustParse(row["id"].(string)))
	if !ok {
		g.T.Fatalf("there is no such row in %s", table)
	}
	return g.image.Object(table, r)
}

// Consumer adds a consumer and answers a reference to it, for Insert.
func (g *Gateway) Consumer(username string) schema.Object {
	g.T.Helper()
	return schema.Object{"id": g.Insert("consumers", schema.Object{"username": username})["id"]}
}

// Do sends a request through the plugins to the service. Changes may adapt the
// request and what is known of the client.
func (g *Gateway) Do(method, target, body string, changes ...func(*http.Request)) *http.Response {
	g.T.Helper()
	var from io.Reader
	if body != "" {
		from = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, from)
	for _, change := range changes {
		change(r)
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w.Result()
}

// Get sends a GET.
func (g *Gateway) Get(target string, changes ...func(*http.Request)) *http.Response {
	g.T.Helper()
	return g.Do("GET", target, "", changes...)
}

// Header sets a header of a request.
func Header(name string, values ...string) func(*http.Request) {
	return func(r *http.Request) { r.Header[http.CanonicalHeaderKey(name)] = values }
}

// From says where a request comes from, as "address:port".
func From(address string) func(*http.Request) {
	return func(r *http.Request) { r.RemoteAddr = address }
}

// Body reads the whole body of a response.
func Body(r *http.Response) string {
	b, _ := io.ReadAll(r.Body)
	return string(b)
}

// ServeHTTP is the gateway as a handler, for tests with real sockets and for
// benchmarks.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.note(nil, "")
	var cell plugin.Cell
	chain := cell.Chain(g.globals, nil, nil, g.service.ID, false)
	e := &engine{Gateway: g, w: w, r: r}
	x := plugin.Begin(e, g.globals)
	e.x = x
	x.Accept(r, nil)
	x.ID, x.Logger, x.Directory = "0123456789abcdef0123456789abcdef", g.logger, g.image
	x.Client, _ = netip.ParseAddrPort(r.RemoteAddr)
	if x.Start = g.Now; x.Start.IsZero() {
		x.Start = time.Now()
	}
	x.Scheme, x.Port = "http", "80"
	if r.TLS != nil {
		x.Scheme, x.Port = "https", "443"
	}
	x.Hostname, _, _ = strings.Cut(r.Host, ":")
	x.Route, x.Service = g.route, g.service
	defer x.End()
	if chain == nil {
		e.Forward()
		return
	}
	if err := chain.Rewrite(x); err != nil {
		e.w = chain.Wrap(x, e.w)
		chain.Skip(x)
		e.fail(err)
	} else {
		e.w = chain.Wrap(x, e.w)
		e.fail(chain.Access(x))
	}
	if err := x.Finish(); err != nil {
		g.T.Errorf("finishing the response: %v", err)
	}
	o := &x.Outcome
	o.Status, o.Request = e.status, time.Since(x.Start)
	if s := x.Status(); s != 0 {
		o.Status = s
	}
	o.BodySent, o.ResponseSize = e.sent, e.sent+100
	o.RequestSize = 100 + max(0, r.ContentLength)
	o.Proxy = -1
	if e.sentOn != nil {
		o.UpstreamStatus, o.FromUpstream = e.status, !x.Answered()
		o.Proxy = time.Millisecond
	}
	chain.Log(x)
}

// An engine stands for the gateway's own.
type engine struct {
	*Gateway
	x      *plugin.Exchange
	w      http.ResponseWriter
	r      *http.Request
	status int
	sent   int64
	sentOn *http.Request // what the service got; nil: nothing
}

func (g *Gateway) note(r *http.Request, body string) {
	g.mu.Lock()
	g.Last, g.LastBody = r, body
	g.mu.Unlock()
}

// Forward calls the service with what the plugins made of the request.
func (e *engine) Forward() {
	r := e.r.Clone(e.r.Context())
	e.x.Apply(r)
	r.RequestURI = r.URL.RequestURI()
	body := ""
	if r.Body != nil {
		b, _ := io.ReadAll(r.Body)
		body = string(b)
		r.Body = io.NopCloser(strings.NewReader(body))
	}
	e.sentOn = r
	e.note(r, body)
	out := &counted{e}
	if e.Service != nil {
		e.Service(out, r)
		if e.status == 0 { // as net/http does
			out.WriteHeader(http.StatusOK)
		}
		return
	}
	_, _ = io.WriteString(out, "ok")
}

// Current answers the writer and the request as they are.
func (e *engine) Current() (http.ResponseWriter, *http.Request) { return e.w, e.r }

// Replace puts others in their place.
func (e *engine) Replace(w http.ResponseWriter, r *http.Request) { e.w, e.r = w, r }

// Heading does nothing.
func (e *engine) Heading(int) {}

// UpstreamURI is what the service got.
func (e *engine) UpstreamURI() string {
	if e.sentOn == nil {
		return ""
	}
	return e.sentOn.RequestURI
}

// Answer writes the answer of a plugin, as JSON if it is an error.
func (e *engine) Answer(a *plugin.Answer) {
	e.x.Answering()
	h := e.w.Header()
	for name, values := range a.Header {
		h[name] = values
	}
	body := a.Body
	if !a.Raw {
		message := a.Message
		if message == "" {
			message = http.StatusText(a.Status)
		}
		h.Set("Content-Type", "application/json; charset=utf-8")
		body = []byte("{\n  \"message\":\"" + message + "\",\n  \"request_id\":\"" + e.x.ID + "\"\n}")
	}
	out := &counted{e}
	out.WriteHeader(a.Status)
	_, _ = out.Write(body)
}

func (e *engine) fail(err error) {
	switch a, is := err.(*plugin.Answer); {
	case err == nil:
	case is:
		e.Answer(a)
	default:
		e.logger.Error("plugin failed", zap.Error(err))
		e.Answer(&plugin.Answer{Status: http.StatusInternalServerError, Message: "An unexpected error occurred"})
	}
}

// counted notes what becomes of the response.
type counted struct{ e *engine }

func (c *counted) Header() http.Header { return c.e.w.Header() }

func (c *counted) WriteHeader(status int) {
	c.e.status = status
	c.e.w.WriteHeader(status)
}

func (c *counted) Write(p []byte) (int, error) {
	if c.e.status == 0 {
		c.WriteHeader(http.StatusOK)
	}
	n, err := c.e.w.Write(p)
	c.e.sent += int64(n)
	return n, err
}

// Interface guard
var _ plugin.Host = (*engine)(nil)

// Bench measures requests through the plugins.
func Bench(b *testing.B, g *Gateway, changes ...func(*http.Request)) {
	r := httptest.NewRequest("GET", "/", nil)
	for _, change := range changes {
		change(r)
	}
	g.Service = func(http.ResponseWriter, *http.Request) {}
	w := &nowhere{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.h)
		g.ServeHTTP(w, r)
	}
}

type nowhere struct{ h http.Header }

func (n *nowhere) Header() http.Header         { return n.h }
func (n *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n *nowhere) WriteHeader(int)             {}
