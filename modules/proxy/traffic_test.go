package proxy

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	_ "github.com/portcullis-gateway/portcullis/modules/plugin/requestsizelimiting"

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
