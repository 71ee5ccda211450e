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
	const gone = "c5b6b8b9-1d43-4a3f-9e5c-0f3f4c3e6a11"
	for _, tt := range []struct {
		path, body   string
		status, code int
		name, fields string
	}{
		{"/plugins", `{"name":"nope"}`, 400, 2, "schema violation",
			`{"name":"plugin 'nope' not enabled; add it to the 'plugins' configuration property"}`},
		{"/plugins", `{}`, 400, 2, "schema violation", `{"name":"required field missing"}`},
		{"/plugins", `{"name":"key-auth","config":{"key_names":3}}`, 400, 2, "schema violation",
			`{"config":{"key_names":"expected an array"}}`},
		{"/plugins", `{"name":"key-auth","config":{"hide_credentials":"maybe"}}`, 400, 2, "schema violation",
			`{"config":{"hide_credentials":"expected a boolean"}}`},
		{"/plugins", `{"name":"key-auth","config":{"nope":1}}`, 400, 2, "schema violation", `{"config":{"nope":"unknown field"}}`},
		{"/plugins", `{"name":"key-auth","protocols":["tcp"]}`, 400, 2, "schema violation",
			`{"protocols":["expected one of: grpc, grpcs, http, https"]}`},
		{"/plugins", `{"name":"acl","config":{"allow":["a"],"deny":["b"]}}`, 400, 2, "schema violation",
			`{"@entity":["exactly one of these fields must be non-empty: 'config.allow', 'config.deny'"]}`},
		{"/plugins", `{"name":"request-termination","config":{"message":"a","body":"b"}}`, 400, 2, "schema violation",
			`{"config":"message cannot be used with content_type or body"}`},
		{"/plugins", `{"name":"rate-limiting","config":{"second":10,"minute":5}}`, 400, 2, "schema violation",
			`{"config":"The limit for minute(5.0) cannot be lower than the limit for second(10.0)"}`},
		{"/plugins", `{"name":"rate-limiting","config":{"minute":5,"limit_by":"header"}}`, 400, 2, "schema violation",
			`{"@entity":["failed conditional validation given value of field 'config.limit_by'"],"config":{"header_name":"required field missing"}}`},
		{"/plugins", `{"name":"jwt","config":{"maximum_expiration":5,"claims_to_verify":["nbf"]}}`, 400, 2, "schema violation",
			`{"@entity":["failed conditional validation given value of field 'config.maximum_expiration'"],"config":{"claims_to_verify":"expected to contain: exp"}}`},
		{"/plugins", `{"name":"key-auth","consumer":{"username":"anna"}}`, 400, 2, "schema violation", `{"consumer":"value must be null"}`},
		{"/consumers/anna/plugins", `{"name":"acl","config":{"allow":["a"]}}`, 400, 2, "schema violation", `{"consumer":"value must be null"}`},
		{"/plugins", `{"name":"correlation-id","consumer":{"id":"` + gone + `"}}`, 400, 4, "foreign key violation",
			`{"consumer":{"id":"` + gone + `"}}`},
		{"/plugins", `{"name":"correlation-id","consumer":{"username":"ghost"}}`, 400, 13, "foreign keys unresolved",
			`{"consumer":{"username":"the foreign key cannot be resolved with '{username=\"ghost\"}' for an existing 'consumers' entity"}}`},
		{"/routes/a/plugins", `{"name":"key-auth"}`, 409, 5, "unique constraint violation", ""},
		{"/consumers/anna/key-auth", `{"key":"k"}`, 409, 5, "unique constraint violation", `{"key":"k"}`},
		{"/key-auths", `{"key":"new"}`, 400, 2, "schema violation", `{"consumer":"required field missing"}`},
		{"/key-auths", `{"key":"new","consumer":{"id":"` + gone + `"}}`, 400, 4, "foreign key violation", `{"consumer":{"id":"` + gone + `"}}`},
		{"/consumers/anna/jwt", `{"algorithm":"RS256","rsa_public_key":"x"}`, 400, 2, "schema violation",
			`{"@entity":["failed conditional validation given value of field 'algorithm'"],"rsa_public_key":"invalid key"}`},
	} {
		a := p.admin("POST", tt.path, tt.body, tt.status)
		var got struct {
			Code   int             `json:"code"`
			Name   string          `json:"name"`
			Fields json.RawMessage `json:"fields"`
		}
		if err := json.Unmarshal([]byte(a.body), &got); err != nil {
			t.Fatal(err)
		}
		if got.Code != tt.code || got.Name != tt.name || tt.fields != "" && string(got.Fields) != tt.fields {
			t.Errorf("%s %s: got %s, want %d %s and the fields %s", tt.path, tt.body, a.body, tt.code, tt.name, tt.fields)
		}
	}
	if a := p.admin("GET", "/plugins", "", 200); strings.Count(a.body, `"name":`) != 1 {
		t.Errorf("something was left behind: %s", a.body)
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
