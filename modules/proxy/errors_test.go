package proxy

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/ports"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func TestErrors_typeIsChosenByAccept(t *testing.T) {
	g := start(t, gateway.Settings{})
	g.route(schema.Object{"host": "127.0.0.1", "port": int64(ports.Dead(t)), "retries": int64(0)}, schema.Object{"paths": []any{"/dead"}})

	const json, text = "application/json; charset=utf-8", "text/plain; charset=utf-8"
	const html, xml = "text/html; charset=utf-8", "application/xml; charset=utf-8"
	for _, tt := range []struct {
		name, path, accept, contentType string
		want                            string
	}{
		{"kong-raised, no Accept", "/", "", "", json},
		{"kong-raised, content type does not count", "/", "", "text/html", json},
		{"nginx-raised, no Accept", "/dead", "", "", text},
		{"nginx-raised, by the content type", "/dead", "", "application/json", json},
		{"any", "/dead", "*/*", "", json},
		{"any application", "/dead", "application/*", "", json},
		{"any text", "/", "text/*", "", text},
		{"html", "/", "text/html", "", html},
		{"xml", "/", "application/xml", "", xml},
		{"browser", "/", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "", html},
		{"highest quality", "/", "text/html;q=0.5, application/xml;q=0.9", "", xml},
		{"first of equals", "/", "text/plain;q=0.9, text/html;q=0.9", "", text},
		{"unknown type", "/", "image/png", "", json},
		{"unknown text", "/", "text/xml", "", json},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp, _ := g.get(tt.path, func(r *http.Request) {
				if tt.accept != "" {
					r.Header.Set("Accept", tt.accept)
				}
				if tt.contentType != "" {
					r.Header.Set("Content-Type", tt.contentType)
				}
			})
			if got := resp.Header.Get("Content-Type"); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestErrors_bodies(t *testing.T) {
	g := start(t, gateway.Settings{})
	for accept, want := range map[string]string{
		"application/json": "{\n  \"message\":\"no Route matched with those values\",\n  \"request_id\":\"ID\"\n}",
		"text/plain":       "no Route matched with those values\nrequest_id: ID\n",
		"application/xml": "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>\n" +
			"  <message>no Route matched with those values</message>\n  <requestid>ID</requestid>\n</error>",
	} {
		resp, body := g.get("/", header("Accept", accept))
		wantStatus(t, resp, 404)
		if got := strings.ReplaceAll(body, resp.Header.Get("X-Kong-Request-Id"), "ID"); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", accept, got, want)
		}
	}
	resp, body := g.get("/", header("Accept", "text/html"))
	for _, want := range []string{
		"<!doctype html>", "<title>Error</title>", "<h1>Error</h1>", "<p>no Route matched with those values.</p>",
		"<p>request_id: " + resp.Header.Get("X-Kong-Request-Id") + "</p>",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %s:\n%s", want, body)
		}
	}
}

// message is the message of a JSON error.
func message(body string) string {
	_, rest, _ := strings.Cut(body, `"message":"`)
	m, _, _ := strings.Cut(rest, `"`)
	return m
}

func TestErrors_messages(t *testing.T) {
	g := start(t, gateway.Settings{})
	dead := int64(ports.Dead(t))
	g.route(nil, schema.Object{"paths": []any{"/no-service"}})
	g.route(schema.Object{"host": "127.0.0.1", "port": dead}, schema.Object{"paths": []any{"/refused"}})
	g.insert("upstreams", schema.Object{"name": "empty"})
	g.route(schema.Object{"host": "empty"}, schema.Object{"paths": []any{"/empty"}})
	g.route(schema.Object{"host": "127.0.0.1", "protocol": "tcp"}, schema.Object{"paths": []any{"/tcp"}})
	g.route(schema.Object{"host": "127.0.0.1"}, schema.Object{"paths": []any{"/secure"}, "protocols": []any{"https"}})
	g.route(schema.Object{"host": "127.0.0.1"}, schema.Object{
		"paths": []any{"/moved"}, "protocols": []any{"https"}, "https_redirect_status_code": int64(308),
	})
	g.route(schema.Object{"host": "127.0.0.1", "protocol": "grpc"}, schema.Object{"paths": []any{"/pkg.Service/"}, "protocols": []any{"grpc"}})
	for _, tt := range []struct {
		name, method, target string
		status               int
		message              string
		headers              map[string]string
		adapt                func(*http.Request)
	}{
		{name: "no route", target: "/nowhere", status: 404, message: "no Route matched with those values"},
		{name: "no service", target: "/no-service", status: 503, message: "no Service found with those values"},
		{name: "nobody listens", target: "/refused", status: 502, message: "An invalid response was received from the upstream server"},
		{name: "no target", target: "/empty", status: 503, message: "failure to get a peer from the ring-balancer"},
		{name: "service of streams", target: "/tcp", status: 500, message: "An unexpected error occurred"},
		{name: "trace", method: "TRACE", target: "/", status: 405, message: "Method not allowed"},
		{
			name: "https only", target: "/secure", status: 426, message: "Please use HTTPS protocol",
			headers: map[string]string{"Connection": "Upgrade", "Upgrade": "TLS/1.2, HTTP/1.1"},
		},
		{
			name: "https only, redirect", target: "/moved/a%20b?c=d", status: 308,
			headers: map[string]string{"Location": "https://example.test/moved/a%20b?c=d", "Content-Length": "0"},
			adapt:   func(r *http.Request) { r.Host = "Example.Test:8000" },
		},
		{name: "not grpc", target: "/pkg.Service/Do", status: 415, message: "Non-gRPC request matched gRPC route"},
		{
			name: "grpc over HTTP/1", target: "/pkg.Service/Do", status: 426,
			headers: map[string]string{
				"Connection": "Upgrade", "Upgrade": "HTTP/2", "Content-Type": "application/grpc",
				"Grpc-Status": "3", "Grpc-Message": "Please use HTTP2 protocol",
			},
			adapt: header("Content-Type", "application/grpc+proto"),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp, body := g.do(tt.method, tt.target, nil, func(r *http.Request) {
				r.Header.Set("Accept", "application/json")
				if tt.adapt != nil {
					tt.adapt(r)
				}
			})
			wantStatus(t, resp, tt.status)
			if got := message(body); got != tt.message {
				t.Errorf("got message %q, want %q", got, tt.message)
			}
			for name, want := range tt.headers {
				if got := resp.Header.Get(name); got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestErrors_forwardedProtoOfATrustedPeerCountsAsHTTPS(t *testing.T) {
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {})
	for _, tt := range []struct {
		trusted []string
		want    int
	}{{nil, 426}, {[]string{"127.0.0.1"}, 200}} {
		g := start(t, gateway.Settings{TrustedIPs: tt.trusted})
		g.route(to(up), schema.Object{"protocols": []any{"https"}})
		resp, _ := g.get("/", header("X-Forwarded-Proto", "https"))
		wantStatus(t, resp, tt.want)
	}
}

func TestErrors_redirectGoesToNoBrokenHost(t *testing.T) {
	g := start(t, gateway.Settings{TrustedIPs: []string{"127.0.0.1"}})
	g.route(schema.Object{"host": "127.0.0.1"}, schema.Object{"protocols": []any{"https"}, "https_redirect_status_code": int64(301)})
	resp, _ := g.get("/", header("X-Forwarded-Host", "a.test /b"))
	wantStatus(t, resp, 400)
	if l := resp.Header.Get("Location"); l != "" {
		t.Errorf("got Location %q", l)
	}
}

func TestErrors_httpsRouteAnswersOverTLS(t *testing.T) {
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-Proto"))
	})
	g := start(t, gateway.Settings{})
	g.route(to(up), schema.Object{"protocols": []any{"https"}})
	secure := serveHTTP(t, g.engine, true)
	req, _ := http.NewRequest("GET", secure.URL+"/", nil)
	resp, body := send(t, secure.Client(), req)
	wantStatus(t, resp, 200)
	if body != "https" || resp.ProtoMajor != 2 {
		t.Errorf("got %q over %s", body, resp.Proto)
	}
}

func TestErrors_headRequestGetsTheHeadOnly(t *testing.T) {
	g := start(t, gateway.Settings{})
	resp, body := g.do("HEAD", "/", nil)
	wantStatus(t, resp, 404)
	if body != "" || resp.ContentLength < 20 {
		t.Errorf("got %d bytes and Content-Length %d", len(body), resp.ContentLength)
	}
}

func TestErrors_grpcStatusInHeaders(t *testing.T) {
	g := start(t, gateway.Settings{})
	g.route(schema.Object{"host": "127.0.0.1", "protocol": "grpcs"}, schema.Object{"paths": []any{"/secure.Service/"}, "protocols": []any{"grpcs"}})
	for _, tt := range []struct {
		path          string
		status        int
		code, message string
	}{
		{"/nowhere", 404, "5", "no Route matched with those values"},
		{"/secure.Service/Do", 200, "1", "gRPC request matched gRPCs route"},
	} {
		req, _ := http.NewRequest("POST", g.server.URL+tt.path, strings.NewReader("x"))
		req.Header.Set("Content-Type", "application/grpc")
		resp, body := send(t, h2cClient(t), req)
		wantStatus(t, resp, tt.status)
		h := resp.Header
		if body != "" || h.Get("Content-Type") != "application/grpc" || h.Get("Grpc-Status") != tt.code || h.Get("Grpc-Message") != tt.message {
			t.Errorf("%s: got body %q, headers %v", tt.path, body, h)
		}
	}
}
