package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// dbless is a whole gateway without a database.
var dbless = strings.Replace(usual, "store bolt {$HOME}/gateway.db", "store memory", 1)

// kong writes a declarative configuration with one service and n routes, one
// path each.
func kong(service string, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "_format_version: '3.0'\nservices:\n- name: all\n  url: %s\n  routes:\n", service)
	for i := range n {
		fmt.Fprintf(&b, "  - name: r%d\n    paths: [/r%d]\n", i, i)
	}
	return b.String()
}

// TestMemory_config loads 10,000 routes into a gateway without a database, and
// asks for each of a sample.
func TestMemory_config(t *testing.T) {
	t.Parallel()
	h := newHome(t, dbless)
	behind := upstream(t, echo)
	p := h.start()

	const routes = 10_000
	text := kong(behind.URL, routes)
	began := time.Now()
	a := do(t, "POST", "http://"+p.addr("ADMIN")+"/config", text, "Content-Type", "text/yaml")
	if a.status != 201 {
		t.Fatalf("POST /config: %d %.1000s", a.status, a.body)
	}
	t.Logf("%d routes in %s", routes, time.Since(began))
	for i := 0; i < routes; i += 487 {
		p.get(fmt.Sprintf("/r%d", i), 200)
	}
	p.get("/nothing", 404)

	// single entities cannot be written
	if a := p.admin("POST", "/services", `{"name":"b","url":"http://b"}`, 405); !strings.Contains(a.body, "cannot create 'services' entities when not using a database") {
		t.Errorf("got %s", a.body)
	}

	// the same text again is known by its hash
	if a := do(t, "POST", "http://"+p.addr("ADMIN")+"/config?check_hash=1", text, "Content-Type", "text/yaml"); a.status != 304 {
		t.Errorf("the same text with check_hash=1: %d", a.status)
	}

	// what was posted survives a reload
	p.reload()
	p.get("/r1", 200)
}

// TestMemory_file starts with a declarative file, changes it and reloads.
func TestMemory_file(t *testing.T) {
	t.Parallel()
	h := newHome(t, strings.Replace(usual, "store bolt {$HOME}/gateway.db", "store memory {$HOME}/kong.yml", 1))
	behind := upstream(t, echo)
	h.write("kong.yml", kong(behind.URL, 2))
	p := h.start()
	p.get("/r1", 200)
	p.get("/r2", 404)

	// Without --force: the Caddyfile is the same, but what it names is not.
	h.write("kong.yml", kong(behind.URL, 3))
	if out, code := p.caddy("reload", "--config", "gateway.caddyfile"); code != 0 {
		t.Fatalf("caddy reload: exit code %d\n%s", code, out)
	}
	p.get("/r2", 200)
}

// TestMemory_inline keeps the entities in the Caddyfile.
func TestMemory_inline(t *testing.T) {
	t.Parallel()
	behind := upstream(t, echo)
	h := newHome(t, strings.Replace(usual, "store bolt {$HOME}/gateway.db", `store memory {
			service orders `+behind.URL+` {
				route orders {
					paths /orders /carts
					methods GET POST
					strip_path off
				}
			}
		}`, 1))
	p := h.start()
	p.get("/orders/1", 200)
	p.get("/carts", 200)
	p.get("/other", 404)
}

// TestMemory_configErrors makes sure that all errors of a configuration come
// back at once, and that the old one stays.
func TestMemory_configErrors(t *testing.T) {
	t.Parallel()
	h := newHome(t, dbless)
	behind := upstream(t, echo)
	p := h.start()
	post := func(text string) answer {
		return do(t, "POST", "http://"+p.addr("ADMIN")+"/config?flatten_errors=1", text, "Content-Type", "text/yaml")
	}
	if a := post(kong(behind.URL, 1)); a.status != 201 {
		t.Fatalf("POST /config: %d %s", a.status, a.body)
	}
	a := post("_format_version: '3.0'\nservices:\n- name: a\n  url: http://a\n  retries: many\n- name: b\n  nonsense: 1\n  host: b\n")
	var body struct {
		Code      int
		Flattened []struct {
			EntityName string `json:"entity_name"`
			Errors     []struct{ Field, Message string }
		} `json:"flattened_errors"`
	}
	if err := json.Unmarshal([]byte(a.body), &body); err != nil {
		t.Fatal(err)
	}
	if a.status != 400 || body.Code != 14 || len(body.Flattened) != 2 {
		t.Errorf("got %d %s, want both errors", a.status, a.body)
	}
	p.get("/r0", 200)
}
