package proxy

import (
	"compress/gzip"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/standard"
	"github.com/google/uuid"
	"github.com/quic-go/quic-go/http3"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/node"
	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/modules/plugin/stock"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// stockGateway has a service that tells what it got, and Caddy's handlers.
func stockGateway(t *testing.T) (*gatewayTest, *atomic.Int64) {
	t.Helper()
	g := start(t, gateway.Settings{})
	handlers := new(stock.Handlers)
	g.loader.Adapt, g.loader.Example = handlers.Load, handlers.Example
	asked := new(atomic.Int64)
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("X-Got", r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("X-Add")+" "+r.Header.Get("X-Secret"))
		w.Header().Set("X-Host", r.Host)
		if len(b) > 0 {
			_, _ = w.Write(b)
			return
		}
		_, _ = io.WriteString(w, "{{ 40 | add 2 }} "+strings.Repeat("text ", 500))
	})
	g.route(to(up), schema.Object{"paths": []any{"/"}})
	return g, asked
}

// handler puts the handler in front of all requests, and answers what gives it
// another config while requests go on.
func (g *gatewayTest) handler(name, config string) func(config string) {
	g.t.Helper()
	object := func(config string) map[string]any {
		var o map[string]any
		if err := json.Unmarshal([]byte(config), &o); err != nil {
			g.t.Fatal(err)
		}
		return o
	}
	id := g.insert("plugins", schema.Object{"name": "http.handlers." + name, "config": object(config)})
	return func(config string) { g.update("plugins", id, schema.Object{"config": object(config)}) }
}

// update changes a row while requests go on.
func (g *gatewayTest) update(table, id string, o schema.Object) {
	g.t.Helper()
	tx := store.Begin(g.image, store.Options{})
	if _, err := tx.Update(table, store.Key{ID: uuid.MustParse(id)}, o); err != nil {
		g.t.Error(err)
		return
	}
	g.image = tx.Image()
	next, refused := g.View().Snapshot.Apply(g.image, tx.Changes())
	if len(refused) > 0 {
		g.t.Errorf("refused: %v", refused)
	}
	next.Publish()
	g.view.Store(&node.View{Image: g.image, Snapshot: next})
	next.Live()
}

func TestStock_handlersAct(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte("of the disk"), 0o600); err != nil {
		t.Fatal(err)
	}
	const hash = "$2a$04$V1lPmq/NyVj10VcXKhHMT.h3NKJkgGN9PQGiHu.rxoASsIV/9YooK" // bcrypt of "right"
	password := func(p string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth("anna", p) }
	}
	auth := `{"providers":{"http_basic":{"accounts":[{"username":"anna","password":` + quote(hash) + `}]}}}`
	for _, c := range []struct {
		name, handler, config string
		method, target, body  string
		adapt                 []func(*http.Request)
		status                int
		header, value         string // of the response
		want                  string // in its body
		asked                 int64  // requests that reached the service
	}{
		{name: "request headers", handler: "headers", config: `{"request":{"set":{"X-Add":["1"]},"delete":["X-Secret"]}}`,
			target: "/p?q=1", adapt: []func(*http.Request){header("X-Secret", "s")}, status: 200, header: "X-Got", value: "GET /p?q=1 1", asked: 1},
		{name: "response headers", handler: "headers", config: `{"response":{"set":{"X-Got":["{http.request.method} of {http.vars.client_ip}"]},"deferred":true}}`,
			target: "/", status: 200, header: "X-Got", value: "GET of 127.0.0.1", asked: 1},
		{name: "host", handler: "headers", config: `{"request":{"set":{"Host":["a.example"]}}}`,
			target: "/", status: 200, header: "X-Host", value: "a.example", asked: 1},
		{name: "rewrite", handler: "rewrite", config: `{"uri":"/other{http.request.uri.path}?n=2","method":"PUT"}`,
			target: "/p?q=1", status: 200, header: "X-Got", value: "PUT /other/p?n=2", asked: 1},
		{name: "static response", handler: "static_response", config: `{"status_code":"418","body":"tea for {http.request.host}","headers":{"X-Got":["none"]}}`,
			target: "/", status: 418, header: "X-Got", value: "none", want: "tea for 127.0.0.1"},
		{name: "request body that fits", handler: "request_body", config: `{"max_size":10}`,
			method: "POST", target: "/", body: "0123456789", status: 200, want: "0123456789", asked: 1},
		{name: "request body that is too large", handler: "request_body", config: `{"max_size":10}`,
			method: "POST", target: "/", body: "0123456789a", status: 413, want: "Payload too large"},
		{name: "encode", handler: "encode", config: `{"encodings":{"gzip":{}},"minimum_length":10}`,
			target: "/", adapt: []func(*http.Request){header("Accept-Encoding", "gzip")}, status: 200, header: "Content-Encoding", value: "gzip", want: "text text", asked: 1},
		{name: "encode for those who do not want it", handler: "encode", config: `{"encodings":{"gzip":{}},"minimum_length":10}`,
			target: "/", status: 200, header: "Content-Encoding", want: "text text", asked: 1},
		{name: "templates", handler: "templates", config: `{}`, target: "/", status: 200, want: "42 text", asked: 1},
		{name: "file", handler: "file_server", config: `{"root":` + quote(dir) + `}`,
			target: "/a.txt", status: 200, header: "Content-Length", value: "11", want: "of the disk"},
		{name: "no file", handler: "file_server", config: `{"root":` + quote(dir) + `}`, target: "/b.txt", status: 404, want: "Not found"},
		{name: "right password", handler: "authentication", config: auth, target: "/", adapt: []func(*http.Request){password("right")}, status: 200, asked: 1},
		{name: "wrong password", handler: "authentication", config: auth, target: "/", adapt: []func(*http.Request){password("wrong")},
			status: 401, header: "Www-Authenticate", value: `Basic realm="restricted"`, want: "Unauthorized"},
		{name: "no password", handler: "authentication", config: auth, target: "/", status: 401, want: "Unauthorized"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, asked := stockGateway(t)
			g.handler(c.handler, c.config)
			for n := int64(1); n <= 3; n++ { // what the gateway uses again must not remember
				method := c.method
				if method == "" {
					method = "GET"
				}
				var sent io.Reader
				if c.body != "" {
					sent = strings.NewReader(c.body)
				}
				resp, body := g.do(method, c.target, sent, c.adapt...)
				if resp.Header.Get("Content-Encoding") == "gzip" {
					z, err := gzip.NewReader(strings.NewReader(body))
					if err != nil {
						t.Fatal(err)
					}
					b, err := io.ReadAll(z)
					if err != nil {
						t.Fatal(err)
					}
					body = string(b)
				}
				if resp.StatusCode != c.status || !strings.Contains(body, c.want) {
					t.Errorf("got %d %.200q, want %d %q", resp.StatusCode, body, c.status, c.want)
				}
				if got := resp.Header.Get(c.header); c.header != "" && got != c.value {
					t.Errorf("%s: got %q, want %q", c.header, got, c.value)
				}
				if got := asked.Load(); got != n*c.asked {
					t.Errorf("the service got %d requests, want %d", got, n*c.asked)
				}
			}
		})
	}
}

// What Caddy's handlers answer has the headers of all answers that are not an
// upstream's, and what they let through those of an upstream's.
func TestStock_headersOfAnswers(t *testing.T) {
	g, _ := stockGateway(t)
	change := g.handler("static_response", `{"status_code":418,"body":"tea","headers":{"Server":["teapot"]}}`)
	for _, tt := range []struct{ config, server string }{
		{`{"status_code":418,"body":"tea","headers":{"Server":["teapot"]}}`, "teapot"},
		{`{"status_code":418,"body":"tea"}`, kongVersion},
		{`{"status_code":403,"abort":false}`, kongVersion},
	} {
		change(tt.config)
		resp, _ := g.get("/")
		h := resp.Header
		if h.Get("Server") != tt.server || h.Get("X-Kong-Response-Latency") == "" || len(h.Get("X-Kong-Request-Id")) != 32 {
			t.Errorf("%s: got %v", tt.config, h)
		}
		if h.Get("Via") != "" || h.Get("X-Kong-Upstream-Latency") != "" {
			t.Errorf("%s: it seems to be an upstream's: %v", tt.config, h)
		}
	}
	g, _ = stockGateway(t)
	g.handler("encode", `{"encodings":{"gzip":{}},"minimum_length":10}`)
	for _, coding := range []string{"gzip", "identity"} {
		resp, _ := g.get("/", header("Accept-Encoding", coding))
		if h := resp.Header; h.Get("Via") == "" || h.Get("X-Kong-Upstream-Latency") == "" || h.Get("X-Kong-Response-Latency") != "" || len(h.Values("X-Kong-Request-Id")) != 1 {
			t.Errorf("%s: got %v", coding, h)
		}
	}
}

// several puts handlers in front of all requests, one around the other, and a
// plugin that filters what they make of the response.
func (g *gatewayTest) several() {
	for _, p := range []schema.Object{
		{"name": "http.handlers.headers", "config": map[string]any{"request": map[string]any{"set": map[string]any{"X-Add": []any{"1"}}},
			"response": map[string]any{"set": map[string]any{"X-Added": []any{"{http.request.proto}"}}, "deferred": true}}},
		{"name": "http.handlers.rewrite", "config": map[string]any{"uri": "/w{http.request.uri.path}"}},
		{"name": "http.handlers.templates", "config": map[string]any{}, // within encode, although its name comes first
			"ordering": schema.Object{"after": schema.Object{"access": []any{"http.handlers.encode"}}}},
		{"name": "http.handlers.encode", "config": map[string]any{"encodings": map[string]any{"gzip": map[string]any{}}, "minimum_length": 10}},
		{"name": "http.handlers.request_body", "config": map[string]any{"max_size": 10}},
		{"name": "response-transformer", "config": schema.Object{"add": schema.Object{"headers": []any{"x-last:{http.request.method}"}}}},
	} {
		g.insert("plugins", p)
	}
}

// checkSeveral asks through them with a client.
func (g *gatewayTest) checkSeveral(client *http.Client, url, proto string) {
	g.t.Helper()
	for n := range 5 {
		resp, err := client.Get(url + "/p")
		if err != nil {
			g.t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		h := resp.Header
		if err != nil || resp.StatusCode != 200 || !strings.HasPrefix(string(body), "42 text") || resp.Proto != proto ||
			h.Get("X-Got") != "GET /w/p 1" || h.Get("X-Added") != proto || h.Get("X-Last") != "{http.request.method}" || !resp.Uncompressed {
			g.t.Fatalf("%s, request %d: got %d %s %.60q %v, %v", proto, n, resp.StatusCode, resp.Proto, body, h, err)
		}
		resp, err = client.Post(url+"/p", "text/plain", strings.NewReader("0123456789a"))
		if err != nil {
			g.t.Fatal(err)
		}
		body, _ = io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 413 || !strings.Contains(string(body), "Payload too large") || resp.Header.Get("Server") != kongVersion {
			g.t.Fatalf("%s, large body %d: got %d %q %v", proto, n, resp.StatusCode, body, resp.Header)
		}
	}
}

func TestStock_severalInOneChain(t *testing.T) {
	g, _ := stockGateway(t)
	g.several()
	plain := &http.Client{Transport: &http.Transport{}}
	defer plain.CloseIdleConnections()
	g.checkSeveral(plain, g.server.URL, "HTTP/1.1")
	secure := serveHTTP(t, g.engine, true)
	g.checkSeveral(secure.Client(), secure.URL, "HTTP/2.0")
}

func TestStock_overHTTP3(t *testing.T) {
	g, _ := stockGateway(t)
	g.several()
	secure := serveHTTP(t, g.engine, true) // for its certificate
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http3.Server{Handler: g.engine, TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: secure.TLS.Certificates})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(packets)
	}()
	transport := &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	g.checkSeveral(&http.Client{Transport: transport, Timeout: patient.Limit}, "https://"+packets.LocalAddr().String(), "HTTP/3.0")
	_ = transport.Close()
	_ = s.Close()
	_ = packets.Close()
	<-served
}

// A WebSocket goes through handlers that wrap the response.
func TestStock_upgrade(t *testing.T) {
	g := start(t, gateway.Settings{})
	handlers := new(stock.Handlers)
	g.loader.Adapt, g.loader.Example = handlers.Load, handlers.Example
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Got: "+r.URL.Path+r.Header.Get("X-Add")+"\r\n\r\n")
		_, _ = io.Copy(conn, buffered)
	})
	g.route(to(up), schema.Object{"paths": []any{"/"}})
	g.several()
	conn, reader := g.raw()
	_, _ = io.WriteString(conn, "GET /p HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	resp, err := http.ReadResponse(reader, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("X-Got") != "/w/p1" || resp.Header.Get("X-Last") == "" {
		t.Fatalf("got %v, %v", resp, err)
	}
	for _, word := range []string{"one\n", "two\n"} {
		_, _ = io.WriteString(conn, word)
		if got, err := reader.ReadString('\n'); err != nil || got != word {
			t.Fatalf("said %q, heard %q, %v", word, got, err)
		}
	}
}

func TestStock_refusals(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	for _, c := range []struct{ name, config, want string }{
		{"http.handlers.headers", `{"reqest":{}}`, `unknown field "reqest"`},
		{"http.handlers.nonsense", `{}`, "unknown module: http.handlers.nonsense"},
		{"http.handlers.invoke", `{"name":"x"}`, "http.handlers.invoke needs named routes"},
		{"http.handlers.gateway", `{}`, "cannot stand within itself"},
	} {
		_, err := new(stock.Handlers).Load(ctx, c.name, json.RawMessage(c.config))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// What a handler wrote itself is in the log like any other answer.
func TestStock_answerOfAHandlerIsCounted(t *testing.T) {
	g, _ := stockGateway(t)
	g.handler("static_response", `{"status_code":418,"body":"tea"}`)
	x := new(exchange)
	w := httptest.NewRecorder()
	x.begin(g.engine, w, httptest.NewRequest("GET", "/", nil))
	x.serve(false)
	if x.status != 418 || x.sent != 3 || !x.started || !x.plugins.Answered() {
		t.Errorf("got status %d, %d bytes, started %v, answered %v", x.status, x.sent, x.started, x.plugins.Answered())
	}
	x.leave()
}

func TestStock_aConfigThatDoesNotLoadIsRefused(t *testing.T) {
	g, _ := stockGateway(t)
	tx := store.Begin(g.image, store.Options{})
	row := schema.Object{"name": "http.handlers.headers", "config": map[string]any{"reqest": map[string]any{}}}
	if _, err := tx.Insert("plugins", row); err != nil {
		t.Fatal(err)
	}
	next, refused := g.View().Snapshot.Apply(tx.Image(), tx.Changes())
	if len(refused) != 1 || refused[0].Table != "plugins" || !strings.Contains(refused[0].Reason, `unknown field "reqest"`) {
		t.Errorf("got %v", refused)
	}
	next.Discard()
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func init() { caddy.RegisterModule(new(slowHandler)) }

// A slowHandler waits until it is let go on, and notes if it is cleaned up while
// it is in use.
type slowHandler struct {
	Name string `json:"name,omitempty"`
	gone atomic.Bool
}

var slow struct {
	entered, proceed chan struct{}
	misused          atomic.Int64
	cleaned          atomic.Int64
}

func (*slowHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.slow_for_tests", New: func() caddy.Module { return new(slowHandler) }}
}

func (h *slowHandler) Cleanup() error {
	h.gone.Store(true)
	slow.cleaned.Add(1)
	return nil
}

func (h *slowHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if r.Header.Get("X-Wait") != "" {
		slow.entered <- struct{}{}
		<-slow.proceed
	}
	err := next.ServeHTTP(w, r)
	if h.gone.Load() {
		slow.misused.Add(1)
	}
	return err
}

func TestStock_cleanedUpWhenTheLastRequestIsOut(t *testing.T) {
	slow.entered, slow.proceed = make(chan struct{}), make(chan struct{})
	slow.cleaned.Store(0)
	g, _ := stockGateway(t)
	change := g.handler("slow_for_tests", `{"name":"first"}`)
	var wg sync.WaitGroup
	wg.Go(func() {
		if resp, _ := g.get("/", header("X-Wait", "1")); resp.StatusCode != 200 {
			t.Errorf("the request that was under way: %d", resp.StatusCode)
		}
	})
	<-slow.entered
	change(`{"name":"second"}`)
	if resp, _ := g.get("/"); resp.StatusCode != 200 {
		t.Errorf("a request after the change: %d", resp.StatusCode)
	}
	if n := slow.cleaned.Load(); n != 0 {
		t.Errorf("%d cleaned up under a request", n)
	}
	close(slow.proceed)
	wg.Wait()
	patient.Until(t, "one is cleaned up after the last request", func() bool { return slow.cleaned.Load() == 1 })
	if n := slow.misused.Load(); n != 0 {
		t.Errorf("%d requests were in a handler that was cleaned up", n)
	}
}

func TestStock_changeUnderLoad(t *testing.T) {
	g, asked := stockGateway(t)
	change := g.handler("slow_for_tests", `{"name":"0"}`)
	before := slow.misused.Load()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				resp, err := http.Get(g.server.URL + "/p")
				if err != nil {
					t.Error(err)
					return
				}
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != 200 || resp.Header.Get("X-Got") != "GET /p" {
					t.Errorf("got %d %q, %v", resp.StatusCode, resp.Header.Get("X-Got"), err)
				}
			}
		})
	}
	for n := range 100 {
		change(`{"name":"` + itoa(n+1) + `"}`)
	}
	wg.Wait()
	if n := asked.Load(); n != 400 {
		t.Errorf("the service got %d requests of 400", n)
	}
	if n := slow.misused.Load() - before; n != 0 {
		t.Errorf("%d requests were in a handler that was cleaned up", n)
	}
	http.DefaultClient.CloseIdleConnections()
}
