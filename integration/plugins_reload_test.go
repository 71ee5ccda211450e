package integration

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/patient"
)

// TestPlugins_changesUnderLoad sends requests through a chain of plugins and of
// Caddy's handlers while the configuration is loaded again and again, and while
// plugins, consumers and routes change: no request fails.
func TestPlugins_changesUnderLoad(t *testing.T) {
	h := newHome(t, usual)
	behind := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"secret":1,"who":"`+r.Header.Get("X-Consumer-Username")+`","n":"`+r.Header.Get("X-N")+`"}`)
	})
	p := h.start()
	p.admin("POST", "/services", `{"name":"a","url":"`+behind.URL+`"}`, 201)
	p.admin("POST", "/services/a/routes", `{"name":"a","paths":["/a"]}`, 201)
	p.admin("POST", "/consumers", `{"username":"anna"}`, 201)
	p.admin("POST", "/consumers/anna/key-auth", `{"key":"k"}`, 201)
	for _, plugin := range []string{
		`{"name":"key-auth","instance_name":"key"}`,
		`{"name":"cors","config":{"origins":["https://a.example","https://b.example"]}}`,
		`{"name":"ip-restriction","config":{"allow":["127.0.0.0/8"]}}`,
		`{"name":"request-size-limiting","config":{"allowed_payload_size":1}}`,
		`{"name":"request-transformer","instance_name":"request","config":{"add":{"headers":["x-n:1"]}}}`,
		`{"name":"response-transformer","config":{"remove":{"json":["secret"]}}}`,
		`{"name":"correlation-id","config":{"echo_downstream":true}}`,
		`{"name":"http.handlers.headers","instance_name":"headers","config":{"response":{"set":{"X-H":["1"]},"deferred":true}}}`,
	} {
		p.admin("POST", "/services/a/plugins", plugin, 201)
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var load sync.WaitGroup
	var requests atomic.Int64
	for _, kind := range []struct{ name, url string }{
		{"HTTP/1.1", "http://" + p.addr("PROXY")}, {"HTTP/1.1", "http://" + p.addr("PROXY")}, {"HTTP/2", "https://" + p.addr("PROXY_SSL")},
	} {
		load.Go(func() {
			client := &http.Client{Timeout: patience, Transport: &http.Transport{
				ForceAttemptHTTP2: kind.name == "HTTP/2", TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
			defer client.CloseIdleConnections()
			for i := 0; ctx.Err() == nil; i++ {
				req, _ := http.NewRequest("POST", fmt.Sprintf("%s/a/%d", kind.url, i), strings.NewReader("x"))
				req.Header.Set("Apikey", "k")
				req.Header.Set("Origin", "https://b.example")
				resp, err := client.Do(req)
				if err != nil {
					t.Errorf("%s, request %d: %v", kind.name, i, err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != 200 || !strings.HasPrefix(string(body), `{"who":"anna","n":"`) || resp.Header.Get("X-H") == "" ||
					resp.Header.Get("Access-Control-Allow-Origin") != "https://b.example" || resp.Header.Get("Kong-Request-Id") == "" {
					t.Errorf("%s, request %d: %d %s %v, %v", kind.name, i, resp.StatusCode, body, resp.Header, err)
					return
				}
				requests.Add(1)
			}
		})
	}
	for n := range 12 {
		p.admin("PATCH", "/plugins/request", fmt.Sprintf(`{"config":{"add":{"headers":["x-n:%d"]}}}`, n), 200)
		p.admin("PATCH", "/plugins/headers", fmt.Sprintf(`{"config":{"response":{"set":{"X-H":["%d"]},"deferred":true}}}`, n), 200)
		p.admin("POST", "/consumers", fmt.Sprintf(`{"username":"c%d"}`, n), 201)
		p.admin("PATCH", "/routes/a", fmt.Sprintf(`{"tags":["t%d"]}`, n), 200)
		p.admin("PATCH", "/plugins/key", fmt.Sprintf(`{"config":{"hide_credentials":%v}}`, n%2 == 0), 200)
		if n%3 == 0 {
			p.reload()
		}
		before := requests.Load()
		patient.Until(t, "another request is answered", func() bool { return requests.Load() > before || t.Failed() })
	}
	stop()
	load.Wait()
	t.Logf("%d requests", requests.Load())
}

// TestPlugins_configOfAHandler names the field that a handler of Caddy's does not
// know.
func TestPlugins_configOfAHandler(t *testing.T) {
	t.Parallel()
	p := newHome(t, usual).start()
	for body, want := range map[string]string{
		`{"name":"http.handlers.headers","config":{"reqest":{}}}`:         `"config":{"reqest":"unknown field"}`,
		`{"name":"http.handlers.headers","config":{"request":{"set":1}}}`: `"config":"decoding module config: http.handlers.headers: json: cannot unmarshal number`,
	} {
		if a := p.admin("POST", "/plugins", body, 400); !strings.Contains(a.body, want) {
			t.Errorf("%s: got %s, want %s", body, a.body, want)
		}
	}
}
