package admin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
	"github.com/portcullis-gateway/portcullis/modules/store/memory"
)

// A brokenWorld fails in one way or another.
type brokenWorld struct {
	World
	write func() error
}

func (w brokenWorld) Write(context.Context, func(*store.Tx) error) error        { return w.write() }
func (w brokenWorld) Load(context.Context, string, func(*store.Tx) error) error { return w.write() }

// serveWorld serves an Admin API that logs nothing.
func serveWorld(t *testing.T, w World) string {
	api := newTestAPI(t, w)
	api.logger = zap.NewNop()
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	return server.URL
}

func TestAPI_failuresTellNothing(t *testing.T) {
	secret := "disk /secret/path is full"
	for _, tt := range []struct {
		name  string
		write func() error
	}{
		{"an error", func() error { return errors.New(secret) }},
		{"a database's error", func() error { return &schema.Error{Code: schema.CodeDatabase, Message: secret} }},
		{"a panic", func() error { panic(secret) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base := serveWorld(t, brokenWorld{openDatabase(t), tt.write})
			status, body, header := do(t, client, "POST", base+"/services", `{"host":"a.test"}`, "Content-Type", "application/json")
			if status != 500 || body != `{"message":"An unexpected error occurred"}` {
				t.Errorf("%d %s", status, body)
			}
			if header.Get("Content-Type") != "application/json; charset=utf-8" {
				t.Errorf("%v", header)
			}
		})
	}
}

func TestImport_failuresTellNothing(t *testing.T) {
	base := serveWorld(t, brokenWorld{openDatabase(t), func() error { return errors.New("disk /secret/path is full") }})
	status, body, _ := do(t, client, "POST", base+"/config/import", `{"_format_version":"3.0"}`)
	if status != 200 || body != `{"error":{"code":0,"name":"","message":"An unexpected error occurred"}}`+"\n" {
		t.Errorf("%d %s", status, body)
	}
}

// TestImport_panics makes sure that a client does not take an answer that
// breaks off for a whole one.
func TestImport_panics(t *testing.T) {
	base := serveWorld(t, brokenWorld{openDatabase(t), func() error { panic("broken") }})
	resp, err := client.Post(base+"/config/import", "application/json", strings.NewReader(`{"_format_version":"3.0"}`))
	if err == nil {
		defer resp.Body.Close()
		if _, err = io.ReadAll(resp.Body); err == nil && resp.StatusCode == 200 {
			t.Errorf("got %s", resp.Status)
		}
	}
}

func TestAPI_tooLarge(t *testing.T) {
	base := serveWorld(t, openDatabase(t))
	large := `{"host":"` + strings.Repeat("x", maxBody) + `"}`
	status, body, _ := do(t, client, "POST", base+"/services", large, "Content-Type", "application/json")
	if status != 413 || body != `{"message":"Payload too large"}` {
		t.Errorf("%d %s", status, body)
	}
	status, body, _ = do(t, client, "GET", base+"/services?"+strings.Repeat("a=1&", maxArguments)+"a=1", "")
	if status != 400 || body != `{"message":"Too many arguments"}` {
		t.Errorf("%d %s", status, body)
	}
	status, _, _ = do(t, client, "POST", base+"/consumers", strings.Repeat("a=1&", maxArguments)+"a=1", "Content-Type", "application/x-www-form-urlencoded")
	if status != 400 {
		t.Errorf("form: %d", status)
	}
}

func TestAPI_contentTypeTwice(t *testing.T) {
	base := serveWorld(t, openDatabase(t))
	req, _ := http.NewRequest("POST", base+"/services", strings.NewReader("{}"))
	req.Header["Content-Type"] = []string{"application/json", "application/json"}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 400 {
		t.Errorf("%s", resp.Status)
	}
}

// TestConfig_busy makes sure that one configuration is loaded at a time.
func TestConfig_busy(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	var calls atomic.Int64
	base := serveWorld(t, brokenWorld{openMemory(t), func() error {
		if calls.Add(1) == 1 {
			close(entered)
			<-leave
		}
		return nil
	}})
	done := make(chan int)
	go func() {
		status, _, _ := do(t, client, "POST", base+"/config", `{"_format_version":"3.0"}`, "Content-Type", "application/json")
		done <- status
	}()
	<-entered
	status, body, header := do(t, client, "POST", base+"/config", `{"_format_version":"3.0"}`, "Content-Type", "application/json")
	if status != 429 || body != `{"message":"Currently loading previous configuration"}` || header.Get("Retry-After") == "" {
		t.Errorf("%d %s %v", status, body, header)
	}
	if status, _, _ := do(t, client, "POST", base+"/config/import", `{"_format_version":"3.0"}`); status != 429 {
		t.Errorf("import: %d", status)
	}
	for _, contentType := range []string{"application/json", "application/yaml"} { // nothing is parsed meanwhile
		if status, _, _ := do(t, client, "POST", base+"/config", `{`, "Content-Type", contentType); status != 429 {
			t.Errorf("what cannot be parsed, %s: %d", contentType, status)
		}
	}
	close(leave)
	if status := <-done; status != 201 {
		t.Errorf("the first one: %d", status)
	}
	if status, _, _ := do(t, client, "POST", base+"/config", `{"_format_version":"3.0"}`, "Content-Type", "application/json"); status != 201 {
		t.Errorf("afterwards: %d", status)
	}
}

// TestAPI_nilUUID makes sure that the nil UUID is no row's identifier.
func TestAPI_nilUUID(t *testing.T) {
	const none = "00000000-0000-0000-0000-000000000000"
	base := serveWorld(t, openDatabase(t))
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/services", `{"id":"` + none + `","host":"a.test"}`, 400, `"id":"expected a valid UUID"`},
		{"POST", "/routes", `{"paths":["/a"],"service":{"id":"` + none + `"}}`, 400, `"id":"expected a valid UUID"`},
		{"GET", "/services/" + none, "", 404, ""},
		{"PATCH", "/services/" + none, `{"host":"b.test"}`, 404, `"fields":{"name":"` + none + `"}`}, // as with any other name
		{"GET", "/services?offset=" + encodeOffset(store.ID{}), "", 400, "invalid offset"},
	} {
		status, body, _ := do(t, client, tt.method, base+tt.path, tt.body, "Content-Type", "application/json")
		if status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, status, body)
		}
	}
}

func TestHealth_names(t *testing.T) {
	server := httptest.NewServer(newTestAPI(t, openDatabase(t)))
	defer server.Close()
	put := func(method, path, body string, want int) {
		t.Helper()
		if status, got, _ := do(t, client, method, server.URL+path, body, "Content-Type", "application/json"); status != want {
			t.Fatalf("%s %s: %d %s", method, path, status, got)
		}
	}
	put("PUT", "/upstreams/u", `{}`, 200)
	put("POST", "/upstreams/u/targets", `{"target":"a.test:80","weight":10}`, 201)
	put("POST", "/upstreams/u/targets", `{"target":"lost.test:80"}`, 201)
	_, body, _ := get(t, server.URL+"/upstreams/u/health")
	for _, want := range []string{
		`"health":"HEALTHCHECKS_OFF","data":{"host":"a.test","port":80,"dns":"A","nodeWeight":10,"weight":{"total":20,"available":20,"unavailable":0},"addresses":[{"ip":"10.0.0.1","port":80,"weight":10,"health":"HEALTHCHECKS_OFF"},{"ip":"10.0.0.2"`,
		`"health":"DNS_ERROR","data":{"host":"lost.test","port":80,"dns":"dns: lost.test: no such host","nodeWeight":100,"weight":{"total":0,"available":0,"unavailable":0},"addresses":[]}`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%s\nlacks %s", body, want)
		}
	}
}

// TestStatusAPI_withoutDatabase makes sure that targets can be read, and only
// read, where there is no Admin API to ask.
func TestStatusAPI_withoutDatabase(t *testing.T) {
	w := openMemory(t)
	ready := openReadiness(w.ID())
	defer ready.close()
	status := httptest.NewServer(newStatusAPI(w, options{logger: zap.NewNop()}, ready))
	defer status.Close()
	config := `{"_format_version":"3.0","upstreams":[{"name":"u","targets":[{"target":"10.0.0.1:80"}]}]}`
	if code, body, _ := do(t, client, "POST", serveAdmin(t, w)+"/config", config, "Content-Type", "application/json"); code != 201 {
		t.Fatalf("%d %s", code, body)
	}
	for _, tt := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/upstreams/u/health", 200},
		{"GET", "/upstreams/u/targets", 200},
		{"GET", "/upstreams/u/targets/all", 200},
		{"GET", "/upstreams/u/targets/10.0.0.1:80", 200},
		{"DELETE", "/upstreams/u/targets/10.0.0.1:80", 405},
		{"GET", "/upstreams/u", 404},
		{"GET", "/status/ready", 200},
	} {
		if code, body, _ := do(t, client, tt.method, status.URL+tt.path, ""); code != tt.want {
			t.Errorf("%s %s: %d %s, want %d", tt.method, tt.path, code, body, tt.want)
		}
	}
}

// TestGuard_reboundPage makes sure that a page cannot write by taking the name
// that it was loaded by for its own, where the Host header is not checked.
func TestGuard_reboundPage(t *testing.T) {
	access, err := (&Access{}).parse()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(&guard{access: access, api: newTestAPI(t, openDatabase(t))})
	defer server.Close()
	req, _ := http.NewRequest("POST", server.URL+"/consumers", strings.NewReader("username=x"))
	req.Host = "evil.test"
	req.Header.Set("Origin", "http://evil.test")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 403 {
		t.Errorf("%s", resp.Status)
	}
}

// TestStatusAPI_notReady makes sure that a node without a configuration gets no
// traffic.
func TestStatusAPI_notReady(t *testing.T) {
	w := openNode(t, &memory.Store{})
	ready := openReadiness(w.ID())
	defer ready.close()
	server := httptest.NewServer(newStatusAPI(w, options{logger: zap.NewNop()}, ready))
	defer server.Close()
	code, body, header := get(t, server.URL+"/status/ready")
	if code != 503 || body != `{"message":"no configuration available (empty configuration present)"}` {
		t.Errorf("%d %s", code, body)
	}
	if header.Get("Server") != "" || header.Get("X-Kong-Admin-Latency") != "" {
		t.Errorf("headers that were not asked for: %v", header)
	}
}
