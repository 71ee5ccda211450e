package integration

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// whoAsks answers what a service is told of the client, and the key if it gets one.
func whoAsks(w http.ResponseWriter, r *http.Request) {
	h := r.Header
	w.Write([]byte(strings.Join([]string{h.Get("X-Consumer-Username"), h.Get("X-Consumer-Custom-Id"),
		h.Get("X-Anonymous-Consumer"), h.Get("Apikey")}, "|")))
}

// secured starts a gateway whose route /a wants a key, and whose route /b does
// not; anna has the key k.
func secured(t *testing.T) *process {
	t.Helper()
	behind := upstream(t, whoAsks)
	p := newHome(t, usual).start()
	p.admin("POST", "/services", `{"name":"s","url":"`+behind.URL+`"}`, 201)
	p.admin("POST", "/services/s/routes", `{"name":"a","paths":["/a"]}`, 201)
	p.admin("POST", "/services/s/routes", `{"name":"b","paths":["/b"]}`, 201)
	p.admin("POST", "/consumers", `{"username":"anna","custom_id":"7"}`, 201)
	p.admin("POST", "/consumers/anna/key-auth", `{"key":"k"}`, 201)
	p.get("/a", 200)
	p.admin("PUT", "/plugins/4e3ad2e4-0bc4-4638-8e34-c84a417ba39b", `{"name":"key-auth","route":{"name":"a"}}`, 200)
	return p
}

func TestPlugins_keyAuth(t *testing.T) {
	t.Parallel()
	p := secured(t)
	const plugin = "/plugins/4e3ad2e4-0bc4-4638-8e34-c84a417ba39b"
	refused := func(message string, header ...string) {
		t.Helper()
		a := p.get("/a", 401, header...)
		want := regexp.MustCompile(`^{\n  "message":"` + message + `",\n  "request_id":"[0-9a-f]{32}"\n}$`)
		if !want.MatchString(a.body) || a.header.Get("WWW-Authenticate") != "Key" {
			t.Errorf("%v: got %v %q", header, a.header, a.body)
		}
	}
	told := func(want string, header ...string) {
		t.Helper()
		if a := p.get("/a", 200, header...); a.body != want {
			t.Errorf("%v: the service was told %q, want %q", header, a.body, want)
		}
	}
	refused("No API key found in request")
	refused("Unauthorized", "apikey", "wrong")
	told("anna|7||k", "apikey", "k")
	p.get("/b", 200)

	p.reload()
	refused("No API key found in request")
	told("anna|7||k", "apikey", "k")

	p.admin("PATCH", plugin, `{"config":{"hide_credentials":true}}`, 200)
	told("anna|7||", "apikey", "k")
	p.admin("POST", "/consumers", `{"username":"guest"}`, 201)
	p.admin("PATCH", plugin, `{"config":{"anonymous":"guest"}}`, 200)
	told("guest||true|")
	told("anna|7||", "apikey", "k")
	p.admin("PUT", plugin, `{"name":"key-auth","route":{"name":"a"}}`, 200)
	refused("No API key found in request")

	p.admin("DELETE", "/consumers/anna", "", 204)
	if a := p.admin("GET", "/key-auths", "", 200); !strings.Contains(a.body, `"data":[]`) {
		t.Errorf("keys of a consumer who is gone: %s", a.body)
	}
	refused("Unauthorized", "apikey", "k")
	p.admin("PATCH", plugin, `{"enabled":false}`, 200)
	p.get("/a", 200)
	p.admin("PATCH", plugin, `{"enabled":true}`, 200)
	p.get("/a", 401)
	p.admin("DELETE", plugin, "", 204)
	p.get("/a", 200)
}

func TestPlugins_ordering(t *testing.T) {
	t.Parallel()
	p := secured(t)
	p.admin("PUT", "/plugins/first", `{"name":"request-termination","config":{"status_code":503}}`, 200)
	p.get("/a", 401)
	p.get("/a", 503, "apikey", "k")
	p.admin("PATCH", "/plugins/first", `{"ordering":{"before":{"access":["key-auth"]}}}`, 200)
	p.get("/a", 503)
}

func TestPlugins_refusedConfigurations(t *testing.T) {
	t.Parallel()
	p := secured(t)
	for body, fields := range map[string]string{
		`{"name":"nope"}`: `{"name":"plugin 'nope' not enabled; add it to the 'plugins' configuration property"}`,
		`{"name":"key-auth","config":{"key_names":3}}`:              `{"config":{"key_names":"expected an array"}}`,
		`{"name":"key-auth","config":{"hide_credentials":"maybe"}}`: `{"config":{"hide_credentials":"expected a boolean"}}`,
		`{"name":"key-auth","consumer":{"username":"anna"}}`:        `{"consumer":"value must be null"}`,
	} {
		a := p.admin("POST", "/plugins", body, 400)
		var got struct {
			Code   int             `json:"code"`
			Name   string          `json:"name"`
			Fields json.RawMessage `json:"fields"`
		}
		if err := json.Unmarshal([]byte(a.body), &got); err != nil {
			t.Fatal(err)
		}
		if got.Code != 2 || got.Name != "schema violation" || string(got.Fields) != fields {
			t.Errorf("%s: got %s, want the fields %s", body, a.body, fields)
		}
	}
}

// TestPlugins_option takes a plugin away that a row wants: the node runs, its
// route refuses, the others serve, and all is well when the plugin is back.
func TestPlugins_option(t *testing.T) {
	t.Parallel()
	p := secured(t)
	p.write("gateway.caddyfile", strings.Replace(usual, "gateway {", "gateway {\n\t\tplugins correlation-id", 1))
	p.reload()
	p.get("/a", 500, "apikey", "k")
	p.get("/b", 200)
	status := do(t, "GET", "http://"+p.addr("STATUS")+"/status", "")
	if !strings.Contains(status.body, "4e3ad2e4-0bc4-4638-8e34-c84a417ba39b") ||
		!strings.Contains(status.body, "plugin 'key-auth' not enabled") {
		t.Errorf("/status: %s", status.body)
	}
	a := p.admin("POST", "/plugins", `{"name":"request-termination"}`, 400)
	if !strings.Contains(a.body, "plugin 'request-termination' not enabled; add it to the 'plugins' configuration property") {
		t.Errorf("got %s", a.body)
	}
	p.admin("POST", "/plugins", `{"name":"correlation-id"}`, 201)

	p.write("gateway.caddyfile", usual)
	p.reload()
	p.get("/a", 401)
	p.get("/a", 200, "apikey", "k")
}
