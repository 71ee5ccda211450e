package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPluginModule does what docs/writing-a-plugin.md says, with the code of the
// page: a plugin in a Go module of its own passes its test, is compiled in by
// xcaddy, and answers a request when the Admin API has enabled it.
func TestPluginModule(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds a binary with xcaddy: run without -short")
	}
	checkout, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	page := blocks(t, "docs/writing-a-plugin.md", "go")
	if len(page) != 2 {
		t.Fatalf("the page has %d blocks of Go, want the plugin and its test", len(page))
	}
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("plugin.go", page[0])
	write("plugin_test.go", page[1])
	mod, err := os.ReadFile(filepath.Join(checkout, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	_, requirements, _ := strings.Cut(string(mod), "\n") // behind the name of the module
	write("go.mod", "module example.com/helloheader\n"+requirements+
		"\nrequire github.com/portcullis-gateway/portcullis v0.0.0\n\nreplace github.com/portcullis-gateway/portcullis => "+checkout+"\n")
	sum, err := os.ReadFile(filepath.Join(checkout, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	write("go.sum", string(sum))

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	run := func(in string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = in
		cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false -mod=mod")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	run(dir, "test", "./...")

	type object = map[string]any
	description, err := json.Marshal(object{
		"caddy_version": "v2.11.9",
		"plugins": []any{
			object{"module_path": "github.com/portcullis-gateway/portcullis", "version": "v0.0.0"},
			object{"module_path": "example.com/helloheader", "version": "v0.0.0"},
		},
		"replacements": []any{
			object{"old": "github.com/portcullis-gateway/portcullis", "new": checkout},
			object{"old": "example.com/helloheader", "new": dir},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	write("xcaddy.json", string(description))
	caddy := filepath.Join(t.TempDir(), "caddy")
	run(filepath.Join(checkout, "build"), "run", ".", "-f", filepath.Join(dir, "xcaddy.json"), "-o", caddy)

	h := newHome(t, usual)
	h.binary = caddy
	p := h.start()
	behind := upstream(t, echo)
	p.route("/", behind.URL)
	p.admin("POST", "/plugins", `{"name":"hello-header","config":{"text":7}}`, 400)
	p.admin("POST", "/plugins", `{"name":"hello-header","config":{"text":"hi"}}`, 201)
	if got := p.get("/", 200).header.Get("X-Hello"); got != "hi" {
		t.Errorf("got the greeting %q", got)
	}
	if a := p.admin("GET", "/plugins/enabled", "", 200); !strings.Contains(a.body, `"hello-header"`) ||
		!strings.Contains(a.body, `"http.handlers.headers"`) || strings.Contains(a.body, "invoke") || strings.Contains(a.body, "copy_response") {
		t.Errorf("/plugins/enabled: %s", a.body)
	}
	if a := p.admin("GET", "/schemas/plugins/hello-header", "", 200); !strings.Contains(a.body, fmt.Sprintf("%q", "The greeting.")) {
		t.Errorf("its schema: %s", a.body)
	}
}
