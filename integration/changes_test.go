package integration

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// TestChanges_underLoad writes to the Admin API and reloads the configuration
// while requests, WebSockets, gRPC calls and event streams are under way. No
// request fails and no flow is cut.
//
// PORTCULLIS_FULL=1 makes it 1,000 writes and 50 reloads.
func TestChanges_underLoad(t *testing.T) {
	writes, reloads, quiet := 100, 5, time.Second
	if os.Getenv("PORTCULLIS_FULL") != "" {
		writes, reloads, quiet = 1000, 50, 10*time.Second
	}
	h := newHome(t, usual)
	p := h.start()
	web := upstream(t, flowHandler)
	grpc := httptest.NewUnstartedServer(http.HandlerFunc(echoFrames))
	grpc.Config.Protocols = new(http.Protocols)
	grpc.Config.Protocols.SetUnencryptedHTTP2(true)
	grpc.Start()
	t.Cleanup(grpc.Close)
	p.admin("POST", "/services", `{"name":"web","url":"`+web.URL+`"}`, 201)
	p.admin("POST", "/services/web/routes", `{"name":"web","paths":["/flow"],"strip_path":false}`, 201)
	p.admin("POST", "/services", `{"name":"grpc","url":"`+strings.Replace(grpc.URL, "http", "grpc", 1)+`"}`, 201)
	p.admin("POST", "/services/grpc/routes", `{"name":"grpc","paths":["/echo.Echo"],"protocols":["grpcs"]}`, 201)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	f := &flows{t: t, ctx: ctx, plain: p.addr("PROXY"), ssl: p.addr("PROXY_SSL")}
	for range 2 {
		f.start("requests on a kept connection", f.keptRequests)
		f.start("a WebSocket", f.webSocket)
		f.start("an event stream", f.events)
		f.start("a gRPC stream", f.grpcStream)
	}
	f.start("requests on new connections", f.newRequests)
	f.start("gRPC calls", f.grpcCalls)

	f.wait(20) // all of them are under way
	f.latencies()
	select {
	case <-time.After(quiet):
	case <-ctx.Done():
	}
	before := f.latencies()

	began := time.Now()
	for i := range writes {
		p.change(i)
		if every := writes / reloads; i%every == every-1 {
			// every second configuration differs from the one before
			h.write("gateway.caddyfile", strings.Replace(usual, "gateway {", fmt.Sprintf("gateway {\n\t\ttrusted_ips 10.0.0.%d", i/every/2), 1))
			p.reload()
			f.wait(1)
		}
		if t.Failed() {
			break
		}
	}
	took := time.Since(began)
	during := f.latencies()
	f.wait(20) // none of them is stuck
	stop()
	f.running.Wait()
	t.Logf("%d writes and %d reloads in %s: %s", writes, reloads, took.Round(time.Millisecond), f.counts())
	t.Logf("99th percentile of plain requests: %s before (%d requests), %s during the changes (%d requests)",
		percentile(before, 99), len(before), percentile(during, 99), len(during))
}

// change makes one of a cycle of writes, none of which concerns a flow.
func (p *process) change(i int) {
	p.t.Helper()
	n := i / 10
	switch i % 10 {
	case 0:
		p.admin("POST", "/services", fmt.Sprintf(`{"name":"s%d","url":"http://127.0.0.1:1"}`, n), 201)
	case 1:
		p.admin("POST", fmt.Sprintf("/services/s%d/routes", n), fmt.Sprintf(`{"name":"r%d","paths":["/flow%d","~/f[l]ow%d/x"],"hosts":["*.example.com"]}`, n, n, n), 201)
	case 2:
		p.admin("PATCH", fmt.Sprintf("/routes/r%d", n), `{"hosts":null,"methods":["PUT"]}`, 200)
	case 3:
		p.admin("PUT", fmt.Sprintf("/upstreams/u%d", n), `{"slots":100}`, 200)
	case 4:
		p.admin("POST", fmt.Sprintf("/upstreams/u%d/targets", n), `{"target":"127.0.0.1:1"}`, 201)
	case 5:
		p.admin("PATCH", fmt.Sprintf("/services/s%d", n), fmt.Sprintf(`{"host":"u%d","read_timeout":1000}`, n), 200)
	case 6:
		p.admin("POST", "/consumers", fmt.Sprintf(`{"username":"c%d"}`, n), 201)
	case 7: // the routes of the flows, in what makes no difference to them
		p.admin("PATCH", []string{"/routes/web", "/routes/grpc", "/services/web"}[n%3], fmt.Sprintf(`{"tags":["t%d"]}`, n), 200)
	case 8:
		p.admin("DELETE", fmt.Sprintf("/routes/r%d", n), "", 204)
	case 9:
		p.admin("DELETE", fmt.Sprintf("/upstreams/u%d", n), "", 204)
	}
}
