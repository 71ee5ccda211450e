package proxy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// Memory of requests is used again: nothing of one may show in another, whatever
// they are and in whatever order they come.
func TestRecycle_nothingMixes(t *testing.T) {
	g := start(t, gateway.Settings{})
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h := w.Header()
		for name, values := range r.Header {
			if strings.HasPrefix(name, "X-Mark") {
				h["X-Echo"+strings.TrimPrefix(name, "X-Mark")] = values
			}
		}
		h.Set("X-Path", r.Header.Get("X-Forwarded-Path"))
		switch r.Header.Get("X-Kind") {
		case "empty":
			w.WriteHeader(http.StatusNoContent)
		case "early":
			w.WriteHeader(http.StatusEarlyHints)
			fallthrough
		case "chunked":
			_, _ = io.WriteString(w, r.URL.RawQuery)
			_ = http.NewResponseController(w).Flush()
		default:
			_, _ = io.WriteString(w, r.URL.RawQuery+string(body))
		}
	})
	g.route(to(up), schema.Object{"paths": []any{"/"}})
	url := g.direct()
	kinds := []string{"plain", "plain", "empty", "chunked", "early", "body", "head", "many"}
	var clients sync.WaitGroup
	for c := range 8 {
		clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
			defer client.CloseIdleConnections()
			for n := range 200 {
				kind := kinds[(n*7+c)%len(kinds)]
				mark := fmt.Sprintf("%d-%d", c, n)
				method, body, want := http.MethodGet, io.Reader(nil), mark
				switch kind {
				case "body":
					method, body, want = http.MethodPut, strings.NewReader(mark), mark+mark
				case "head":
					method, want = http.MethodHead, ""
				case "empty":
					want = ""
				}
				r, err := http.NewRequest(method, url+"/"+mark+"?"+mark, body)
				if err != nil {
					t.Error(err)
					return
				}
				marks := 1
				if kind == "many" {
					marks = 80
				}
				for i := range marks {
					r.Header.Set(fmt.Sprintf("X-Mark-%d", i), mark)
				}
				r.Header.Set("X-Kind", kind)
				resp, err := client.Do(r)
				if err != nil {
					t.Errorf("%s %s: %v", kind, mark, err)
					return
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(got) != want || resp.Header.Get("X-Path") != "/"+mark {
					t.Errorf("%s: got %q for %q, want %q; %v", kind, got, resp.Header.Get("X-Path"), want, err)
				}
				echoes := 0
				for name, values := range resp.Header {
					if strings.HasPrefix(name, "X-Echo") {
						if echoes++; len(values) != 1 || values[0] != mark {
							t.Errorf("%s %s: got %s: %q", kind, mark, name, values)
						}
					}
				}
				if echoes != marks {
					t.Errorf("%s %s: got %d headers back, want %d", kind, mark, echoes, marks)
				}
			}
		})
	}
	clients.Wait()
}

// Who wraps the engine may read the answer's header when it has returned: access
// logs of sites do, and handlers that hold answers back. Nobody else's may be in it
// then.
func TestRecycle_headersStayWithTheirAnswer(t *testing.T) {
	g := start(t, gateway.Settings{})
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "2")
		w.Header().Set("X-Echo", r.URL.RawQuery)
		_, _ = io.WriteString(w, "ok")
	})
	g.route(to(up), schema.Object{"paths": []any{"/"}})
	ask := func(query string) http.Header {
		h := make(http.Header)
		r := httptest.NewRequest("GET", "/?"+query, nil)
		g.engine.ServeHTTP(struct{ http.ResponseWriter }{&sink{h}}, r)
		return h
	}
	for n := range 20 {
		mine := fmt.Sprintf("mine-%d", n)
		h := ask(mine)
		id := h.Get("X-Kong-Request-Id")
		ask("other")
		if got := h.Get("X-Echo"); got != mine {
			t.Fatalf("the answer to %s has become that to %s", mine, got)
		}
		if got := h.Get("X-Kong-Request-Id"); got != id {
			t.Fatalf("the identifier of %s has become that of another", mine)
		}
	}
}

// A recycler notes whether the engine keeps nothing of a request.
type recycler struct {
	http.ResponseWriter
	recycled, texts bool
}

func (r *recycler) Recycle(texts bool) { r.recycled, r.texts = true, texts }

func (r *recycler) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// What plugins do in their phases leaves nothing behind, the phase log included, but
// texts unless they say that they keep none; a handler of Caddy's around the request
// may have given it to anybody.
func TestRecycle_behindPlugins(t *testing.T) {
	up := upstream(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	for _, tt := range []struct {
		plugin      schema.Object
		want, texts bool
	}{
		{nil, true, true},
		{schema.Object{"name": "correlation-id"}, true, true},
		{schema.Object{"name": "reporter"}, true, false},
		{schema.Object{"name": "http.handlers.headers", "config": schema.Object{}}, false, false},
	} {
		g := start(t, gateway.Settings{})
		g.route(to(up), schema.Object{})
		if tt.plugin != nil {
			g.insert("plugins", tt.plugin)
		}
		recycled := make(chan *recycler, 1)
		url := g.behind(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			to := &recycler{ResponseWriter: w}
			g.engine.ServeHTTP(to, r)
			recycled <- to
		}))
		// The first connects the service, which somebody watches; so is any
		// other that is slow.
		got := new(recycler)
		for n := 0; n < 2 || tt.want && !got.recycled && n < 100; n++ {
			resp, err := http.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			got = <-recycled
		}
		if got.recycled != tt.want || got.texts != tt.texts {
			t.Errorf("behind %v the memory is used again: %v, and that of texts: %v; want %v and %v",
				tt.plugin["name"], got.recycled, got.texts, tt.want, tt.texts)
		}
	}
}

// A reporter is a plugin that takes part in the phase log, and in no other.
type reporter struct{}

func init() { caddy.RegisterModule(reporter{}) }

func (reporter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway.plugins.reporter", New: func() caddy.Module { return new(reporter) }}
}

func (reporter) Describe() entity.PluginKind { return entity.PluginKind{Config: &schema.Fields{}} }

// reported is how many bytes of the last response's body were sent.
var reported atomic.Int64

func (reporter) Log(x *plugin.Exchange) { reported.Store(x.Outcome.BodySent) }
