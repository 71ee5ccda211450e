package proxy

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	_ "github.com/portcullis-gateway/portcullis/modules/plugin/requestsizelimiting"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/requesttransformer"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/responsetransformer"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// A body that does not say how long it is ends where it becomes too large: before
// the service is asked if it is small enough to be buffered, and in any case with
// the plugin's answer.
func TestRequestSizeLimiting_streamedBody(t *testing.T) {
	for _, tt := range []struct {
		name        string
		limit, size int
		buffering   bool
		status      int
		asked       bool // the service got a request
	}{
		{"fits", 10, 10, true, 200, true},
		{"too large", 10, 11, true, 413, false},
		{"large and fits", 100_000, 100_000, true, 200, true},
		{"too large to be buffered", 100_000, 200_000, true, 413, true},
		{"unbuffered and fits", 10, 10, false, 200, true},
		{"unbuffered and too large", 10, 11, false, 413, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := start(t, gateway.Settings{})
			var asked atomic.Bool
			up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
				asked.Store(true)
				b, err := io.ReadAll(r.Body)
				if err != nil {
					panic(http.ErrAbortHandler)
				}
				_, _ = w.Write(b)
			})
			g.route(to(up), schema.Object{"paths": []any{"/"}, "request_buffering": tt.buffering})
			g.insert("plugins", schema.Object{"name": "request-size-limiting",
				"config": schema.Object{"allowed_payload_size": tt.limit, "size_unit": "bytes"}})
			sent := strings.Repeat("x", tt.size)
			resp, body := g.do("POST", "/", struct{ io.Reader }{strings.NewReader(sent)})
			if resp.StatusCode != tt.status {
				t.Fatalf("got %d %.100q, want %d", resp.StatusCode, body, tt.status)
			}
			if tt.status == 200 && body != sent {
				t.Errorf("the service got %d bytes", len(body))
			}
			if tt.status == 413 && !strings.Contains(body, `"message":"Request size limit exceeded"`) {
				t.Errorf("got %s", body)
			}
			if asked.Load() && !tt.asked {
				t.Error("the service was asked")
			}
		})
	}
}

func TestRequestTransformer_capturesAndMethods(t *testing.T) {
	g := start(t, gateway.Settings{})
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Got", r.Method+" "+r.Host+" "+r.URL.RequestURI())
		w.Header().Set("Content-Length", "5")
		_, _ = io.WriteString(w, "hello")
	})
	g.route(to(up), schema.Object{"paths": []any{`~/users/(?<name>\w+)/(\d+)$`}})
	config := func(method string) schema.Object {
		return schema.Object{"http_method": method, "replace": schema.Object{
			"uri": "/u/$(uri_captures.name)/$(uri_captures[2])/$(uri_captures['none'] or 'x')", "headers": []any{"Host:$(uri_captures[1]).example"}}}
	}
	id := g.insert("plugins", schema.Object{"name": "request-transformer", "config": config("GET")})
	resp, body := g.get("/users/anna/7?q=1")
	if got := resp.Header.Get("X-Got"); got != "GET anna.example /u/anna/7/x?q=1" || body != "hello" {
		t.Errorf("got %d %q %q", resp.StatusCode, got, body)
	}
	g.update("plugins", id, schema.Object{"config": config("HEAD")})
	resp, body = g.get("/users/anna/7")
	if got := resp.Header.Get("X-Got"); resp.StatusCode != 200 || got != "HEAD anna.example /u/anna/7/x" || body != "" {
		t.Errorf("a service that is asked for the head: got %d %q %q", resp.StatusCode, got, body)
	}
}

func TestResponseTransformer_overTheWire(t *testing.T) {
	g := start(t, gateway.Settings{})
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"secret":1,"name":"`+strings.Repeat("x", 100_000)+`"}`)
	})
	g.route(to(up), schema.Object{"paths": []any{"/"}})
	g.insert("plugins", schema.Object{"name": "response-transformer", "config": schema.Object{"remove": schema.Object{"json": []any{"secret"}, "headers": []any{"Via"}}}})
	for _, method := range []string{"GET", "HEAD", "GET"} {
		resp, body := g.do(method, "/", nil)
		want := `{"name":"` + strings.Repeat("x", 100_000) + `"}`
		if method == "HEAD" {
			want = ""
		}
		if resp.StatusCode != 200 || body != want || resp.Header.Get("Via") != "" || method == "HEAD" && resp.ContentLength > 0 {
			t.Errorf("%s: got %d, %d bytes, length %d", method, resp.StatusCode, len(body), resp.ContentLength)
		}
	}
}
