package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/catalog"
)

// built makes a binary as xcaddy does, of a description in testdata.
func built(t *testing.T, description string) string {
	t.Helper()
	path := filepath.Join(scratch, strings.TrimSuffix(description, ".json"))
	from, err := filepath.Abs(filepath.Join("testdata", description))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "run", "-C", filepath.Join("..", "build"), "-buildvcs=false", ".", "-f", from, "-o", path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return path
}

// TestPlugins_rateLimiting counts over everything that should not reset a
// counter: other writes, a change of the plugin's own config, reloads.
func TestPlugins_rateLimiting(t *testing.T) {
	t.Parallel()
	behind := upstream(t, whoAsks)
	p := newHome(t, usual).start()
	p.admin("POST", "/services", `{"name":"s","url":"`+behind.URL+`"}`, 201)
	p.admin("POST", "/services/s/routes", `{"name":"a","paths":["/a"]}`, 201)
	const plugin = "/plugins/4e3ad2e4-0bc4-4638-8e34-c84a417ba39b"
	p.admin("PUT", plugin, `{"name":"rate-limiting","route":{"name":"a"},"config":{"year":6,"limit_by":"ip"}}`, 200)
	left := 6
	counted := func() {
		t.Helper()
		left--
		a := p.get("/a", 200)
		for name, want := range map[string]string{"X-RateLimit-Limit-Year": "6", "X-RateLimit-Remaining-Year": strconv.Itoa(left),
			"RateLimit-Limit": "6", "RateLimit-Remaining": strconv.Itoa(left), "Retry-After": ""} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
	}
	counted()
	p.admin("POST", "/services/s/routes", `{"name":"b","paths":["/b"]}`, 201)
	counted()
	p.reload()
	counted()
	p.admin("PATCH", plugin, `{"config":{"month":6}}`, 200)
	counted()
	p.admin("PATCH", "/services/s", `{"retries":1}`, 200)
	counted()
	counted()
	a := p.get("/a", 429)
	if !strings.Contains(a.body, `"message":"API rate limit exceeded"`) || a.header.Get("Retry-After") != a.header.Get("RateLimit-Reset") {
		t.Errorf("got %v %s", a.header, a.body)
	}
	p.reload()
	p.get("/a", 429)
	p.get("/b", 200)
	p.admin("DELETE", plugin, "", 204)
	p.get("/a", 200)
}

// TestPlugins_rateLimitingInStore counts in the store's file, and goes on behind
// a restart.
func TestPlugins_rateLimitingInStore(t *testing.T) {
	t.Parallel()
	behind := upstream(t, whoAsks)
	h := newHome(t, usual)
	p := h.start()
	p.admin("POST", "/services", `{"name":"s","url":"`+behind.URL+`"}`, 201)
	p.admin("POST", "/services/s/routes", `{"name":"a","paths":["/a"]}`, 201)
	p.admin("POST", "/plugins", `{"name":"rate-limiting","config":{"year":3,"policy":"cluster"}}`, 201)
	p.get("/a", 200)
	p.get("/a", 200)
	p.stop()
	p = h.start()
	if a := p.get("/a", 200); a.header.Get("RateLimit-Remaining") != "0" {
		t.Errorf("got %v", a.header)
	}
	p.get("/a", 429)
	if a := p.admin("GET", "/plugins", "", 200); !strings.Contains(a.body, `"policy":"cluster"`) {
		t.Errorf("got %s", a.body)
	}
}

func TestPlugins_rateLimitingInMemory(t *testing.T) {
	t.Parallel()
	h := newHome(t, strings.Replace(usual, "store bolt {$HOME}/gateway.db", "store memory", 1))
	p := h.start()
	config := func(policy string) string {
		return `{"_format_version":"3.0","plugins":[{"name":"rate-limiting","config":{"year":3,"policy":"` + policy + `"}}]}`
	}
	p.admin("POST", "/config", config("local"), 201)
	if a := p.admin("POST", "/config", config("cluster"), 400); !strings.Contains(a.body, "needs a store with a database") {
		t.Errorf("got %s", a.body)
	}
}

// TestPlugins_rateLimitingDocs looks for every field in the page, and checks its
// examples.
func TestPlugins_rateLimitingDocs(t *testing.T) {
	t.Parallel()
	const page = "docs/plugins/rate-limiting.md"
	text, err := os.ReadFile(filepath.Join("..", page))
	if err != nil {
		t.Fatal(err)
	}
	kind, _ := catalog.Of().Plugin("rate-limiting")
	var names []string
	for _, f := range kind.Config.List {
		if f.Name != "redis" {
			names = append(names, f.Name)
			continue
		}
		for _, g := range f.Fields.List {
			names = append(names, "redis."+g.Name)
		}
	}
	for _, s := range kind.Config.Shorthands {
		names = append(names, s.Field.Name)
	}
	for _, name := range names {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("nothing about the field %s", name)
		}
	}

	behind := upstream(t, whoAsks)
	p := newHome(t, usual).start()
	for _, example := range blocks(t, page, "yaml") {
		if out, code := p.caddy("gateway", "config", "check", p.write("kong.yml", example)); code != 0 {
			t.Errorf("%s", out)
		}
	}
	p.admin("POST", "/services", `{"name":"orders","url":"`+behind.URL+`"}`, 201)
	p.admin("POST", "/services/orders/routes", `{"paths":["/orders"]}`, 201)
	script := strings.ReplaceAll(p.elsewhere(blocks(t, page, "sh")[0]), "curl ", "curl --fail --silent --show-error ")
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if a := p.get("/orders", 200); a.header.Get("X-RateLimit-Limit-Second") != "5" || a.header.Get("X-RateLimit-Limit-Hour") != "10000" {
		t.Errorf("got %v", a.header)
	}
}

// TestPlugins_thirdParty enables a handler from a module of somebody else, in a
// binary that was built with it.
func TestPlugins_thirdParty(t *testing.T) {
	t.Parallel()
	behind := upstream(t, whoAsks)
	h := newHome(t, usual)
	h.binary = built(t, "caddy-ratelimit.json")
	p := h.start()
	p.admin("POST", "/services", `{"name":"s","url":"`+behind.URL+`"}`, 201)
	p.admin("POST", "/services/s/routes", `{"name":"a","paths":["/a"]}`, 201)
	p.admin("POST", "/services/s/routes", `{"name":"b","paths":["/b"]}`, 201)

	zone := func(name, rest string) string {
		return `{"rate_limits":{"` + name + `":{"key":"{http.request.remote.host}","window":"24h",` + rest + `}}}`
	}
	const handler = "http.handlers.rate_limit"
	body := func(config string) string {
		return `{"name":"` + handler + `","route":{"name":"a"},"config":` + config + `}`
	}
	a := p.admin("POST", "/plugins", body(zone("here", `"max_events":-1`)), 400)
	if !strings.Contains(a.body, "max_events must be at least zero") {
		t.Errorf("got %s", a.body)
	}
	a = p.admin("POST", "/plugins", body(`{"rate_limit":{}}`), 400)
	if !strings.Contains(a.body, "rate_limit") {
		t.Errorf("got %s", a.body)
	}

	a = p.admin("POST", "/plugins", body(zone("here", `"max_events":2`)), 201)
	var row struct{ ID string }
	if err := json.Unmarshal([]byte(a.body), &row); err != nil {
		t.Fatal(err)
	}
	p.get("/a", 200)
	p.get("/a", 200)
	if seconds, err := strconv.Atoi(p.get("/a", 429).header.Get("Retry-After")); err != nil || seconds < 80_000 {
		t.Errorf("Retry-After: %d, %v", seconds, err)
	}
	p.get("/b", 200)
	p.reload()
	p.get("/a", 429)
	p.admin("PATCH", "/plugins/"+row.ID, `{"config":`+zone("there", `"max_events":1`)+`}`, 200)
	p.get("/a", 200)
	p.get("/a", 429)
	p.admin("PATCH", "/plugins/"+row.ID, `{"config":`+zone("there", `"max_events":1,"match":[{"method":["POST"]}]`)+`}`, 200)
	p.get("/a", 200)
	p.admin("DELETE", "/plugins/"+row.ID, "", 204)
	p.get("/a", 200)

	if a := p.admin("GET", "/schemas/plugins/"+handler, "", 200); !strings.Contains(a.body, `"config"`) {
		t.Errorf("got %s", a.body)
	}
}
