package proxy

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// provision loads a configuration's apps without starting them.
func provision(t *testing.T, gatewayJSON, proxyJSON string) caddy.Context {
	t.Helper()
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	storage := fmt.Sprintf(`{"module":"file_system","root":%q}`, t.TempDir())
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Admin:      &caddy.AdminConfig{Disabled: true},
		StorageRaw: json.RawMessage(storage),
		AppsRaw: caddy.ModuleMap{
			"gateway": json.RawMessage(gatewayJSON), "gateway_proxy": json.RawMessage(proxyJSON),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return ctx
}

// cleanUp undoes what a provisioned configuration's apps hold.
func cleanUp(t *testing.T, ctx caddy.Context, app *App) {
	t.Cleanup(func() {
		ended := make(chan struct{})
		app.Close(func() { close(ended) })
		if err := app.Stop(); err != nil {
			t.Error(err)
		}
		<-ended
		g, _ := gateway.From(ctx)
		if err := g.Cleanup(); err != nil {
			t.Error(err)
		}
	})
}

func TestApp_listensAndFollowsTheStore(t *testing.T) {
	ctx := provision(t,
		`{"store":{"driver":"memory"},"trusted_ips":["127.0.0.0/8"],"real_ip_header":"proxy_protocol"}`,
		`{"listen":[{"address":"127.0.0.1","port":0},{"address":"127.0.0.1","port":0,"ssl":true,"http2":true},
			{"address":"127.0.0.1","port":0,"proxy_protocol":true}],"timeouts":{"idle":"5s"}}`)
	value, err := ctx.App("gateway_proxy")
	if err != nil {
		t.Fatal(err)
	}
	app := value.(*App)
	cleanUp(t, ctx, app)
	if err := app.Start(); err != nil {
		t.Fatal(err)
	}
	addresses := app.Addresses()
	if len(addresses) != 3 {
		t.Fatalf("got addresses %v, want three", addresses)
	}
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Real-Ip")+" "+r.Header.Get("X-Forwarded-Proto")+" "+r.Header.Get("X-Forwarded-Port"))
	})
	g, _ := gateway.From(ctx)
	n, err := g.Node()
	if err != nil {
		t.Fatal(err)
	}
	err = n.Load(t.Context(), strings.Repeat("1", 32), func(tx *store.Tx) error {
		service, err := tx.Insert("services", to(up))
		if err != nil {
			return err
		}
		_, err = tx.Insert("routes", map[string]any{"paths": []any{"/"}, "service": map[string]any{"id": service["id"]}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	port := func(i int) string { return addresses[i][strings.LastIndexByte(addresses[i], ':')+1:] }

	req, _ := http.NewRequest("GET", "http://"+addresses[0]+"/", nil)
	if _, body := send(t, plainClient(t), req); body != "127.0.0.1 http "+port(0) {
		t.Errorf("plain: got %q", body)
	}

	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	req, _ = http.NewRequest("GET", "https://"+addresses[1]+"/", nil)
	resp, body := send(t, &http.Client{Transport: tr}, req)
	if body != "127.0.0.1 https "+port(1) || resp.ProtoMajor != 2 {
		t.Errorf("TLS: got %q over %s", body, resp.Proto)
	}

	c, err := net.Dial("tcp", addresses[2])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "PROXY TCP4 192.0.2.7 192.0.2.8 1000 80\r\nGET / HTTP/1.1\r\nHost: x\r\nX-Real-IP: 9.9.9.9\r\nConnection: close\r\n\r\n")
	resp, err = http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != "192.0.2.7 http "+port(2) {
		t.Errorf("PROXY protocol: got %q", b)
	}
}

func TestApp_defaults(t *testing.T) {
	app := &App{}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	if err := app.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	if err := app.Validate(); err != nil {
		t.Fatal(err)
	}
	if len(app.Listen) != 2 || app.Listen[0].Port != 8000 || app.Listen[1].Port != 8443 || !app.Listen[1].SSL || !app.Listen[0].HTTP2 {
		t.Errorf("got %v", app.Listen)
	}
	off := &App{}
	if err := json.Unmarshal([]byte(`{"listen":[]}`), off); err != nil {
		t.Fatal(err)
	}
	if err := off.Provision(ctx); err != nil || len(off.Listen) != 0 {
		t.Errorf("off: got %v, %v", off.Listen, err)
	}
	if b, _ := json.Marshal(off); !strings.Contains(string(b), `"listen":[]`) {
		t.Errorf("off was lost in JSON: %s", b)
	}
}

func TestApp_validate(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{`{"listen":[{"address":"127.0.0.1","port":80},{"address":"127.0.0.1","port":80}]}`, "ask for the same address"},
		{`{"listen":[{"address":"127.0.0.1","port":80,"udp":true}]}`, "udp"},
		{`{"listen":[{"address":"127.0.0.1","port":80,"transparent":"tunnel"}]}`, "want transparent, transparent=tproxy or transparent=redirect"},
		{`{"listen":[],"grace_period":"-1s"}`, "grace_period"},
		{`{"listen":[],"max_header_size":-1}`, "max_header_size"},
	} {
		app := &App{}
		if err := json.Unmarshal([]byte(tt.in), app); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
		err := app.Provision(ctx)
		if err == nil {
			err = app.Validate()
		}
		cancel()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.in, err, tt.want)
		}
	}
}

func TestHandler_passLeavesUnmatchedRequestsAlone(t *testing.T) {
	g := start(t, gateway.Settings{})
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "from the service") })
	g.route(to(up), map[string]any{"paths": []any{"/api"}})
	next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		_, err := io.WriteString(w, "from the site")
		return err
	})
	for _, tt := range []struct {
		pass   bool
		path   string
		status int
		body   string
	}{
		{true, "/api", 200, "from the service"},
		{true, "/", 200, "from the site"},
		{false, "/", 404, ""},
	} {
		h := &Handler{Pass: tt.pass, engine: g.engine}
		w := httptest.NewRecorder()
		if err := h.ServeHTTP(w, httptest.NewRequest("GET", tt.path, nil), next); err != nil {
			t.Error(err)
		}
		if w.Code != tt.status || tt.body != "" && w.Body.String() != tt.body {
			t.Errorf("pass %t, %s: got %d %q", tt.pass, tt.path, w.Code, w.Body)
		}
	}
}

func TestHandler_reloadWithoutRequestsKeepsTheWire(t *testing.T) {
	ctx := provision(t, `{"store":{"driver":"memory"}}`, `{"listen":[]}`)
	cleanUp(t, ctx, new(App))
	handler := func() *Handler {
		h := new(Handler)
		if err := h.Provision(ctx); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = h.Cleanup() })
		return h
	}
	open := func(h *Handler) *wire {
		e, err := h.open()
		if err != nil {
			t.Fatal(err)
		}
		return e.wire
	}
	first := handler()
	before := open(first)
	quiet := handler()
	_ = first.Cleanup()
	last := handler()
	_ = quiet.Cleanup()
	if open(last) != before {
		t.Error("connections to upstreams were dropped")
	}
	if _, err := quiet.open(); err == nil {
		t.Error("a handler made an engine after its end")
	}
	_ = last.Cleanup()
	_ = last.Cleanup() // does nothing
	if n, held := wires.References("wire"); held {
		t.Errorf("the wire is still held %d times", n)
	}
}

func TestHandler_caddyfile(t *testing.T) {
	for _, tt := range []struct {
		in   string
		pass bool
		err  string
	}{
		{"gateway", false, ""},
		{"gateway {\n\tpass\n}", true, ""},
		{"gateway x", false, "argument"},
		{"gateway {\n\tjump\n}", false, `unrecognized option "jump"`},
	} {
		var h Handler
		err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser(tt.in))
		if tt.err == "" && (err != nil || h.Pass != tt.pass) || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%q: got %+v, %v", tt.in, h.Pass, err)
		}
	}
}
