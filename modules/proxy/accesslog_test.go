package proxy

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/ports"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// accessLine is what tests read of a line.
type accessLine struct {
	Request struct {
		ClientIP string              `json:"client_ip"`
		Method   string              `json:"method"`
		URI      string              `json:"uri"`
		Headers  map[string][]string `json:"headers"`
	} `json:"request"`
	BytesRead int64              `json:"bytes_read"`
	Size      int64              `json:"size"`
	Status    int                `json:"status"`
	Headers   http.Header        `json:"resp_headers"`
	RequestID string             `json:"request_id"`
	Route     string             `json:"route"`
	RouteID   string             `json:"route_id"`
	Service   string             `json:"service"`
	Upstream  string             `json:"upstream"`
	Target    string             `json:"target"`
	Tries     int                `json:"tries"`
	Latencies map[string]float64 `json:"latencies"`
}

// observed logs the requests to an engine, and answers how to read the next
// line.
func observed(g *gatewayTest, credentials bool) (next func() (accessLine, zapcore.Level)) {
	g.t.Helper()
	lines := make(chan []byte, 16)
	levels := make(chan zapcore.Level, 16)
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	g.engine.access = &accessLog{credentials: credentials, logger: zap.New(encoded{zap.InfoLevel, encoder, lines, levels})}
	return func() (line accessLine, level zapcore.Level) {
		g.t.Helper()
		if err := json.Unmarshal(<-lines, &line); err != nil {
			g.t.Fatal(err)
		}
		return line, <-levels
	}
}

// encoded is a core whose lines are JSON, as Caddy's are.
type encoded struct {
	zapcore.LevelEnabler
	encoder zapcore.Encoder
	lines   chan []byte
	levels  chan zapcore.Level
}

func (e encoded) With([]zapcore.Field) zapcore.Core { return e }

func (e encoded) Check(entry zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return ce.AddCore(entry, e)
}

func (e encoded) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	buf, err := e.encoder.EncodeEntry(entry, fields)
	if err != nil {
		return err
	}
	e.lines <- buf.Bytes()
	e.levels <- entry.Level
	return nil
}

func (encoded) Sync() error { return nil }

func TestAccessLog_tellsWhatBecameOfTheRequest(t *testing.T) {
	g := start(t, gateway.Settings{TrustedIPs: []string{"127.0.0.1/32"}})
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Set-Cookie", "a=secret")
		_, _ = io.WriteString(w, "hello")
	})
	g.insert("upstreams", schema.Object{"name": "pool"})
	id := g.insert("services", schema.Object{"name": "orders", "protocol": "http", "host": "pool", "port": int64(80)})
	g.insert("targets", schema.Object{"upstream": schema.Object{"name": "pool"}, "target": strings.TrimPrefix(up.URL, "http://")})
	g.route(nil, schema.Object{"name": "r1", "paths": []any{"/o"}, "service": schema.Object{"id": id}})
	next := observed(g, false)

	_, _ = g.do("POST", "/o?q=1", strings.NewReader("0123456789"),
		header("X-Real-Ip", "192.0.2.7"), header("Authorization", "Basic c2VjcmV0"))
	line, level := next()
	if level != zap.InfoLevel {
		t.Errorf("got level %v, want info", level)
	}
	if line.Request.ClientIP != "192.0.2.7" || line.Request.Method != "POST" || line.Request.URI != "/o?q=1" {
		t.Errorf("got request %+v", line.Request)
	}
	if line.Status != 200 || line.Size != 5 || line.BytesRead != 10 {
		t.Errorf("got status %d, size %d, bytes_read %d; want 200, 5, 10", line.Status, line.Size, line.BytesRead)
	}
	if line.Route != "r1" || line.RouteID == "" || line.Service != "orders" || line.Upstream != "pool" || line.Tries != 1 ||
		line.Target != strings.TrimPrefix(up.URL, "http://") {
		t.Errorf("got %+v", line)
	}
	if len(line.RequestID) != 32 || line.Latencies["upstream"] <= 0 || line.Latencies["gateway"] <= 0 {
		t.Errorf("got request_id %q, latencies %v", line.RequestID, line.Latencies)
	}
	for _, values := range [][]string{line.Request.Headers["Authorization"], line.Headers["Set-Cookie"]} {
		if len(values) != 1 || values[0] != "REDACTED" {
			t.Errorf("a secret is in the log: %q", values)
		}
	}

	g.engine.access.credentials = true
	_, _ = g.get("/o", header("Authorization", "Basic c2VjcmV0"))
	if line, _ = next(); line.Request.Headers["Authorization"][0] != "Basic c2VjcmV0" {
		t.Errorf("log_credentials: got %q", line.Request.Headers["Authorization"])
	}
}

func TestAccessLog_errors(t *testing.T) {
	g := start(t, gateway.Settings{})
	g.route(schema.Object{"name": "dead", "host": "127.0.0.1", "port": int64(ports.Dead(t)), "retries": int64(2)},
		schema.Object{"paths": []any{"/dead"}})
	next := observed(g, false)

	_, body := g.get("/nowhere")
	line, level := next()
	if line.Status != 404 || line.Size != int64(len(body)) || line.RouteID != "" || line.Tries != 0 || level != zap.InfoLevel {
		t.Errorf("no route: got %v %+v", level, line)
	}
	_, _ = g.get("/dead")
	line, level = next()
	if line.Status != 502 || line.Tries != 3 || line.Service != "dead" || level != zap.ErrorLevel {
		t.Errorf("no upstream: got %v %+v", level, line)
	}
	if _, ok := line.Latencies["upstream"]; ok {
		t.Errorf("an upstream that did not answer has a latency: %v", line.Latencies)
	}
}

func TestAccessLog_clientThatLeft(t *testing.T) {
	g := start(t, gateway.Settings{})
	arrived, leave := make(chan struct{}), make(chan struct{})
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(leave)
	})
	g.route(to(up), schema.Object{})
	next := observed(g, false)
	c, _ := g.raw()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-arrived
	c.Close()
	<-leave
	if line, _ := next(); line.Status != statusClientGone || line.Tries != 1 {
		t.Errorf("got %+v", line)
	}
}
