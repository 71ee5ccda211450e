package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/plugin/stock"
	"github.com/portcullis-gateway/portcullis/modules/ports"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// A witness is a plugin that tells of all its phases. One stands before all
// other plugins, one behind them.
type witness struct {
	Fail  bool   `json:"fail"`
	Label string `json:"label"`

	name     string
	priority int
}

var (
	foremost = &witness{name: "witness-first", priority: 2000000}
	last     = &witness{name: "witness-last", priority: -2000000}
)

func init() {
	caddy.RegisterModule(foremost)
	caddy.RegisterModule(last)
}

func (w *witness) CaddyModule() caddy.ModuleInfo {
	name, priority := w.name, w.priority
	return caddy.ModuleInfo{ID: caddy.ModuleID(plugin.ModuleID(name)),
		New: func() caddy.Module { return &witness{name: name, priority: priority} }}
}

func (w *witness) Describe() entity.PluginKind {
	return entity.PluginKind{Priority: w.priority, Config: &schema.Fields{List: []schema.Field{
		{Name: "fail", Kind: schema.Boolean, Default: false},
		{Name: "label", Kind: schema.String},
	}}}
}

// testimony is what all witnesses saw of the requests.
var testimony struct {
	mu    sync.Mutex
	lines []string // protected by mu
	sent  int64    // protected by mu; bytes of the last body, as the log has it
}

func (w *witness) tell(format string, args ...any) {
	testimony.mu.Lock()
	defer testimony.mu.Unlock()
	testimony.lines = append(testimony.lines, strings.TrimPrefix(w.name, "witness-")+w.Label+" "+fmt.Sprintf(format, args...))
}

// heard answers what witnesses saw, and forgets it.
func heard() []string {
	testimony.mu.Lock()
	defer testimony.mu.Unlock()
	lines := testimony.lines
	testimony.lines = nil
	return lines
}

func (w *witness) Access(x *plugin.Exchange) error {
	w.tell("access")
	x.Set("was here")
	if w.Fail {
		return errors.New("as it should")
	}
	return nil
}

func (w *witness) HeaderFilter(x *plugin.Exchange) error {
	w.tell("header %d %v", x.Status(), x.Value() != nil)
	x.ResponseHeader().Add("X-Witness", w.name)
	x.ResponseHeader().Del("Content-Length")
	return nil
}

// BodyFilter puts its name around the body.
func (w *witness) BodyFilter(x *plugin.Exchange, next io.Writer) io.WriteCloser {
	return &around{w: w, next: next}
}

type around struct {
	w    *witness
	next io.Writer
	seen bytes.Buffer
}

func (a *around) Write(p []byte) (int, error) { return a.seen.Write(p) }

func (a *around) Close() error {
	body, _, _ := strings.Cut(strings.ReplaceAll(a.seen.String(), "\n", ""), "request_id") // is another one each time
	body = strings.TrimSuffix(body, `,  "`)
	a.w.tell("body %s", body)
	_, err := fmt.Fprintf(a.next, "<%s>", body)
	return err
}

func (w *witness) Log(x *plugin.Exchange) {
	w.tell("log %d upstream=%v", x.Outcome.Status, x.Outcome.FromUpstream)
	testimony.mu.Lock()
	defer testimony.mu.Unlock()
	testimony.sent = x.Outcome.BodySent
}

// TestPhases_afterAnAnswer holds the gateway to Kong's rule: whoever answers ends
// the phase access, and no other one (kong/runloop/plugins_iterator.lua). The one
// who is last in access did not have a turn there.
func TestPhases_afterAnAnswer(t *testing.T) {
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") })
	for _, tt := range []struct {
		name   string
		path   string // default: "/a"
		plugin schema.Object
		status int
		want   []string
	}{
		{"nobody answers", "", nil, 200, []string{
			"first access", "last access", "first header 200 true", "last header 200 true",
			"first body ok", "last body <ok>", "first log 200 upstream=true", "last log 200 upstream=true"}},
		{"request-termination", "", schema.Object{"name": "request-termination", "config": schema.Object{"body": "no", "content_type": "text/plain"}}, 503, []string{
			"first access", "first header 503 true", "last header 503 false",
			"first body no", "last body <no>", "first log 503 upstream=false", "last log 503 upstream=false"}},
		{"key-auth", "", schema.Object{"name": "key-auth"}, 401, []string{
			"first access", "first header 401 true", "last header 401 false",
			`first body {  "message":"No API key found in request"`, `last body <{  "message":"No API key found in request">`,
			"first log 401 upstream=false", "last log 401 upstream=false"}},
		{"an empty answer", "", schema.Object{"name": "request-termination", "config": schema.Object{"status_code": 418}}, 418, []string{
			"first access", "first header 418 true", "last header 418 false",
			"first body ", "last body <>", "first log 418 upstream=false", "last log 418 upstream=false"}},
		{"a handler of Caddy's", "", schema.Object{"name": "http.handlers.static_response", "config": schema.Object{"status_code": 410, "body": "gone"}}, 410, []string{
			"first access", "first header 410 true", "last header 410 false",
			"first body gone", "last body <gone>", "first log 410 upstream=false", "last log 410 upstream=false"}},
		{"no route", "/nowhere", nil, 404, []string{
			"first header 404 false", "last header 404 false",
			`first body {  "message":"no Route matched with those values"`, `last body <{  "message":"no Route matched with those values">`,
			"first log 404 upstream=false", "last log 404 upstream=false"}},
		{"the service is away", "/dead", nil, 502, []string{
			"first access", "last access", "first header 502 true", "last header 502 true",
			"first body An invalid response was received from the upstream server", "last body <An invalid response was received from the upstream server>",
			"first log 502 upstream=false", "last log 502 upstream=false"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := start(t, gateway.Settings{})
			handlers := new(stock.Handlers)
			g.loader.Adapt, g.loader.Example = handlers.Load, handlers.Example
			g.route(to(up), schema.Object{"paths": []any{"/a"}})
			g.route(schema.Object{"host": "127.0.0.1", "port": int64(ports.Dead(t)), "retries": int64(0)}, schema.Object{"paths": []any{"/dead"}})
			g.insert("plugins", schema.Object{"name": foremost.name})
			g.insert("plugins", schema.Object{"name": last.name})
			if tt.plugin != nil {
				g.insert("plugins", tt.plugin)
			}
			heard()
			if tt.path == "" {
				tt.path = "/a"
			}
			resp, body := g.get(tt.path)
			g.server.Close() // the phase log comes after the answer
			if got := heard(); !slices.Equal(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			if resp.StatusCode != tt.status || fmt.Sprint(resp.Header["X-Witness"]) != "[witness-first witness-last]" ||
				!strings.HasPrefix(body, "<<") || !strings.HasSuffix(body, ">>") {
				t.Errorf("got %d %v %q", resp.StatusCode, resp.Header["X-Witness"], body)
			}
			if testimony.sent != int64(len(body)) {
				t.Errorf("%d bytes were sent, the log says %d", len(body), testimony.sent)
			}
		})
	}
}

// TestPhases_failureOfAPlugin is a 500, which the others see.
func TestPhases_failureOfAPlugin(t *testing.T) {
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {})
	g := start(t, gateway.Settings{})
	g.route(to(up), schema.Object{"paths": []any{"/a"}})
	g.insert("plugins", schema.Object{"name": foremost.name, "config": schema.Object{"fail": true}})
	g.insert("plugins", schema.Object{"name": last.name})
	heard()
	resp, _ := g.get("/a")
	g.server.Close()
	got := strings.Join(heard(), "\n")
	wantStatus(t, resp, 500)
	const want = `first access
first header 500 true
last header 500 false
first body {  "message":"An unexpected error occurred"
last body <{  "message":"An unexpected error occurred">
first log 500 upstream=false
last log 500 upstream=false`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestPhases_selectionAfterAnAnswer has plugins that did not have their turn
// chosen for the consumer who is known by then.
func TestPhases_selectionAfterAnAnswer(t *testing.T) {
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {})
	g := start(t, gateway.Settings{})
	g.route(to(up), schema.Object{"paths": []any{"/a"}})
	anna := schema.Object{"id": g.insert("consumers", schema.Object{"username": "anna"})}
	g.insert("keyauth_credentials", schema.Object{"consumer": anna, "key": "k"})
	g.insert("plugins", schema.Object{"name": "key-auth"})
	g.insert("plugins", schema.Object{"name": "request-termination"})
	g.insert("plugins", schema.Object{"name": last.name, "config": schema.Object{"label": "-all"}})
	g.insert("plugins", schema.Object{"name": last.name, "consumer": anna, "config": schema.Object{"label": "-anna"}})
	heard()
	resp, _ := g.get("/a")
	wantStatus(t, resp, 401)
	resp, _ = g.get("/a", header("Apikey", "k"))
	wantStatus(t, resp, 503)
	g.server.Close()
	var headers []string
	for _, line := range heard() {
		if strings.Contains(line, " header ") {
			headers = append(headers, line)
		}
	}
	if want := []string{"last-all header 401 false", "last-anna header 503 false"}; !slices.Equal(headers, want) {
		t.Errorf("got %q, want %q", headers, want)
	}
}

// TestPhases_wrongProtocol is answered before there is a route: the plugins of
// the route do not act, the global ones see the answer.
func TestPhases_wrongProtocol(t *testing.T) {
	g := start(t, gateway.Settings{})
	route := g.insert("routes", schema.Object{"paths": []any{"/a"}, "protocols": []any{"https"}})
	g.insert("plugins", schema.Object{"name": last.name, "config": schema.Object{"label": "-all"}})
	g.insert("plugins", schema.Object{"name": last.name, "route": schema.Object{"id": route}, "config": schema.Object{"label": "-route"}})
	heard()
	resp, _ := g.get("/a")
	g.server.Close()
	wantStatus(t, resp, 426)
	if got := heard(); len(got) != 3 || got[0] != "last-all header 426 false" || resp.Header.Get("X-Witness") == "" {
		t.Errorf("got %q", got)
	}
}
