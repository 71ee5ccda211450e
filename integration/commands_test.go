package integration

import (
	"encoding/json"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCommand_validate makes sure that validating opens nothing: the ports are
// taken by another process, the file lies where none can be made, and the
// folder is afterwards what it was before.
func TestCommand_validate(t *testing.T) {
	t.Parallel()
	h := newHome(t, strings.ReplaceAll(usual, "{$HOME}", "/proc/nowhere"))
	for name := range h.ports {
		taken, err := net.Listen("tcp", h.addr(name))
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
	}
	before := tree(t, h.dir)
	if out, code := h.caddy("validate", "--config", "gateway.caddyfile"); code != 0 || !strings.Contains(out, "Valid configuration") {
		t.Errorf("caddy validate: exit code %d\n%s", code, out)
	}
	if after := tree(t, h.dir); after != before {
		t.Errorf("caddy validate left\n%s", after)
	}

	for name, tt := range map[string]struct{ from, to, want string }{
		"unknown flag":      {"ssl http2", "ssl http9", "http9"},
		"same address":      {"{$PROXY_SSL}", "{$PROXY}", "same address"},
		"unsafe admin":      {"admin_listen 127.0.0.1", "admin_listen 0.0.0.0", "insecure"},
		"address of others": {"{$STATUS}", "{$ADMIN}", "same address as&admin_listen&status_listen"},
	} {
		h.write("gateway.caddyfile", strings.Replace(usual, tt.from, tt.to, 1))
		out, code := h.caddy("validate", "--config", "gateway.caddyfile")
		for want := range strings.SplitSeq(tt.want, "&") {
			if code == 0 || !strings.Contains(out, want) {
				t.Errorf("%s: exit code %d, want an error with %s\n%s", name, code, want, out)
			}
		}
	}
}

// TestCommand_validateEntities finds what is wrong with entities that are part
// of the configuration.
func TestCommand_validateEntities(t *testing.T) {
	t.Parallel()
	h := newHome(t, "{\n\tgateway {\n\t\tstore memory {$HOME}/kong.yml\n\t}\n}\n")
	h.write("kong.yml", "_format_version: '3.0'\nservices:\n- name: a\n- name: b\n  host: h\n  port: many\n")
	out, code := h.caddy("validate", "--config", "gateway.caddyfile")
	if code == 0 {
		t.Errorf("caddy validate accepts it\n%s", out)
	}
	for _, want := range []string{"line 3", "host: required field missing", "line 6", "port: expected an integer"} {
		if !strings.Contains(out, want) {
			t.Errorf("caddy validate does not say %q\n%s", want, out)
		}
	}
}

// tree lists all files below dir.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		b.WriteString(path + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestCommand_adaptAndFormat runs Caddy's own commands on the options.
func TestCommand_adaptAndFormat(t *testing.T) {
	t.Parallel()
	h := newHome(t, usual)
	out, code := h.caddy("adapt", "--config", "gateway.caddyfile")
	if code != 0 {
		t.Fatalf("caddy adapt: exit code %d\n%s", code, out)
	}
	var config struct {
		Apps map[string]json.RawMessage
	}
	if err := json.Unmarshal([]byte(out[strings.Index(out, "{\""):]), &config); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, app := range []string{"gateway", "gateway_proxy", "gateway_admin", "gateway_status"} {
		if config.Apps[app] == nil {
			t.Errorf("no app %s in %s", app, out)
		}
	}

	h.write("messy.caddyfile", "{\ngateway {\n trusted_ips 10.0.0.0/8\n}\n}\n")
	if out, code := h.caddy("fmt", "--overwrite", "messy.caddyfile"); code != 0 {
		t.Errorf("caddy fmt: exit code %d\n%s", code, out)
	}
	tidy, err := os.ReadFile(filepath.Join(h.dir, "messy.caddyfile"))
	if want := "{\n\tgateway {\n\t\ttrusted_ips 10.0.0.0/8\n\t}\n}\n"; err != nil || string(tidy) != want {
		t.Errorf("caddy fmt wrote %q, want %q (%v)", tidy, want, err)
	}
}

// TestCommand_modules lists what the build brings: that of the tests, and
// bin/caddy, which xcaddy makes.
func TestCommand_modules(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, list *exec.Cmd) {
		t.Helper()
		out, err := list.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", list, err, out)
		}
		for _, module := range []string{"gateway", "gateway.stores.bolt", "gateway.stores.memory", "gateway_admin", "gateway_proxy", "gateway_status", "http.handlers.gateway"} {
			if !strings.Contains(string(out), module+"\n") {
				t.Errorf("no module %s in\n%s", module, out)
			}
		}
	}
	t.Run("tests", func(t *testing.T) {
		check(t, newHome(t, usual).command("list-modules", "--skip-standard"))
	})
	t.Run("xcaddy", func(t *testing.T) {
		path, err := filepath.Abs("../bin/caddy")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Skip("needs bin/caddy: make build")
		}
		check(t, exec.CommandContext(t.Context(), path, "list-modules", "--skip-standard"))
	})
}

// TestCommand_explain asks a running gateway which route wins.
func TestCommand_explain(t *testing.T) {
	t.Parallel()
	p := newHome(t, usual).start()
	p.admin("POST", "/services", `{"name":"a","url":"http://10.0.0.1"}`, 201)
	p.admin("POST", "/services/a/routes", `{"name":"winner","paths":["/orders"]}`, 201)
	p.admin("POST", "/services/a/routes", `{"name":"writes","paths":["/orders"],"methods":["POST"]}`, 201)
	p.admin("POST", "/services/a/routes", `{"name":"db","protocols":["tcp"],"destinations":[{"port":5432}]}`, 201)

	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"by path", []string{"http://example.com/orders/1"}, []string{"winner", "writes", "method"}},
		{"by method", []string{"--method", "POST", "http://example.com/orders/1"}, []string{"writes"}},
		{"connection", []string{"--source", "10.0.0.9", "tcp://10.0.0.1:5432"}, []string{"tcp://10.0.0.1:5432\n", `takes the route "db"`, "destination by port"}},
		{"server name", []string{"tls://db.example.com"}, []string{"no route fits", `route "db"`, "protocol         tls, but the route wants tcp"}},
		{"no route", []string{"--header", "X-Test: 1", "http://example.com/other"}, []string{"no route"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, _ := p.caddy(append([]string{"gateway", "explain", "--address", "http://" + p.addr("ADMIN")}, tt.args...)...)
			for _, want := range tt.want {
				if !strings.Contains(strings.ToLower(out), want) {
					t.Errorf("%v: no %q in\n%s", tt.args, want, out)
				}
			}
		})
	}
}

// TestCommand_config takes a configuration from one gateway to another.
func TestCommand_config(t *testing.T) {
	t.Parallel()
	p := newHome(t, usual).start()
	behind := upstream(t, echo)
	address := "http://" + p.addr("ADMIN")
	p.write("kong.yml", kong(behind.URL, 3))

	if out, code := p.caddy("gateway", "config", "check", "kong.yml"); code != 0 {
		t.Errorf("check: exit code %d\n%s", code, out)
	}
	p.write("broken.yml", "_format_version: '3.0'\nservices:\n- name: a\n  url: http://a\n  retries: many\nroutes:\n- name: b\n  paths: [b]\n")
	if out, code := p.caddy("gateway", "config", "check", "broken.yml"); code == 0 || !strings.Contains(out, "5") || !strings.Contains(out, "8") || !strings.Contains(out, "should start with: /") {
		t.Errorf("check of a broken file: exit code %d, want errors in lines 5 and 8\n%s", code, out)
	}

	if out, code := p.caddy("gateway", "config", "import", "--address", address, "--dry-run", "kong.yml"); code != 0 {
		t.Errorf("import --dry-run: exit code %d\n%s", code, out)
	}
	p.get("/r1", 404)
	if out, code := p.caddy("gateway", "config", "import", "--address", address, "kong.yml"); code != 0 {
		t.Fatalf("import: exit code %d\n%s", code, out)
	}
	p.get("/r1", 200)
	if out, code := p.caddy("gateway", "config", "import", "--address", address, "broken.yml"); code == 0 {
		t.Errorf("import of a broken file: exit code %d\n%s", code, out)
	}

	out, code := p.caddy("gateway", "config", "export", "--address", address, "exported.yml")
	if code != 0 {
		t.Fatalf("export: exit code %d\n%s", code, out)
	}
	exported, err := os.ReadFile(filepath.Join(p.dir, "exported.yml"))
	if err != nil {
		t.Fatal(err)
	}
	other := newHome(t, usual).start()
	other.write("exported.yml", string(exported))
	if out, code := other.caddy("gateway", "config", "import", "--address", "http://"+other.addr("ADMIN"), "exported.yml"); code != 0 {
		t.Fatalf("import of an export: exit code %d\n%s", code, out)
	}
	other.get("/r2", 200)
	if a, b := p.admin("GET", "/routes/r1", "", 200).body, other.admin("GET", "/routes/r1", "", 200).body; id(t, a) != id(t, b) {
		t.Errorf("the copy has another identifier: %s, %s", a, b)
	}
}

// id answers the identifier of an entity.
func id(t *testing.T, entity string) string {
	t.Helper()
	var row struct{ ID string }
	if err := json.Unmarshal([]byte(entity), &row); err != nil || row.ID == "" {
		t.Fatalf("%v: no identifier in %s", err, entity)
	}
	return row.ID
}
