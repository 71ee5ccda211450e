package integration

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// blocks answers the code blocks of the page that are in the language.
func blocks(t *testing.T, page, language string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", page))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		found = append(found, m[1])
	}
	if len(found) == 0 {
		t.Fatalf("no block of %s in %s", language, page)
	}
	return found
}

// elsewhere moves what the README does from Kong's ports to those of a home.
func (h *home) elsewhere(text string) string {
	port := func(name string) string { return strconv.Itoa(h.ports[name]) }
	return strings.NewReplacer(
		":8000", ":"+port("PROXY"), ":8443", ":"+port("PROXY_SSL"),
		":8001", ":"+port("ADMIN"), ":9000", ":"+port("SITE"),
	).Replace(text)
}

// TestReadme pastes the Caddyfile and runs the curl commands of the README, as
// they are but for the ports, and once more after a restart.
func TestReadme(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("needs curl: apt-get install curl")
	}
	h := newHome(t, "")
	pasted := h.elsewhere(blocks(t, "README.md", "caddyfile")[0])
	listeners := strings.TrimPrefix(strings.ReplaceAll(usual, "\tgateway {\n\t\tstore bolt {$HOME}/gateway.db\n\t}\n", ""), "{\n")
	h.write("gateway.caddyfile", strings.Replace(pasted, "\tgateway\n}\n", "\tgateway\n"+listeners, 1))

	var commands []string
	for _, block := range blocks(t, "README.md", "sh") {
		for line := range strings.Lines(block) {
			if strings.HasPrefix(line, "curl ") {
				commands = append(commands, h.elsewhere(strings.TrimSpace(line)))
			}
		}
	}
	if len(commands) != 8 {
		t.Fatalf("the README has %d curl commands: %q", len(commands), commands)
	}
	run := func(command string) string {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(command, "curl", "curl --silent --show-error", 1)).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
		return string(out)
	}

	p := h.start()
	for _, command := range commands[:2] {
		if out := run(command); !strings.Contains(out, `"id":`) {
			t.Errorf("%s: %s", command, out)
		}
	}
	const want = "hello from behind the gateway"
	tls := strings.NewReplacer("curl ", "curl --insecure ", "http://", "https://", h.addr("PROXY")[9:], h.addr("PROXY_SSL")[9:]).Replace(commands[2])
	for _, command := range []string{commands[2], tls} {
		if out := run(command); out != want {
			t.Errorf("%s: got %q, want %q", command, out, want)
		}
	}

	p.stop()
	h.start()
	for _, command := range []string{commands[2], tls} {
		if out := run(command); out != want {
			t.Errorf("after a restart: %s: got %q, want %q", command, out, want)
		}
	}

	for _, command := range commands[3:7] {
		if out := run(command); !strings.Contains(out, `"id":`) {
			t.Errorf("%s: %s", command, out)
		}
	}
	if out := run(commands[2]); !strings.Contains(out, "No API key found in request") {
		t.Errorf("without a key: %s: got %q", commands[2], out)
	}
	if out := run(commands[7]); out != want {
		t.Errorf("%s: got %q, want %q", commands[7], out, want)
	}
	limited := false
	for range 10 { // within two minutes of the clock
		limited = limited || strings.Contains(run(commands[7]), "API rate limit exceeded")
	}
	if !limited {
		t.Errorf("%s: never refused", commands[7])
	}
}

// TestDefaults opens Kong's own ports with nothing but the option gateway.
func TestDefaults(t *testing.T) {
	for _, port := range []string{"8000", "8443", "8001", "8444", "8007"} {
		listener, err := net.Listen("tcp", ":"+port)
		if errors.Is(err, syscall.EADDRINUSE) {
			t.Skipf("needs Kong's ports; something listens on %s", port)
		}
		if err != nil {
			t.Fatal(err)
		}
		listener.Close()
	}
	newHome(t, "{\n\tgateway\n}\n").start()
	for url, status := range map[string]int{
		"http://127.0.0.1:8000/":             404,
		"https://127.0.0.1:8443/":            404,
		"http://127.0.0.1:8001/services":     200,
		"https://127.0.0.1:8444/services":    200,
		"http://127.0.0.1:8007/status":       200,
		"http://127.0.0.1:8007/status/ready": 200,
	} {
		if a := do(t, "GET", url, ""); a.status != status {
			t.Errorf("GET %s: got %d %s, want %d", url, a.status, a.body, status)
		}
	}
}

// TestExamples validates the examples, and every Caddyfile that a page shows.
func TestExamples(t *testing.T) {
	t.Parallel()
	h := newHome(t, "")
	examples, err := filepath.Glob("../examples/*.caddyfile")
	if err != nil || len(examples) == 0 {
		t.Fatalf("no examples found: %v", err)
	}
	check := func(t *testing.T, path string) {
		if out, code := h.caddy("validate", "--adapter", "caddyfile", "--config", path); code != 0 {
			t.Errorf("caddy validate: exit code %d\n%s", code, out)
		}
		if out, code := h.caddy("fmt", "--diff", path); code != 0 {
			t.Errorf("not formatted:\n%s", out)
		}
	}
	for _, example := range examples {
		path, err := filepath.Abs(example)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.Base(path), func(t *testing.T) { check(t, path) })
	}

	h.write("kong.yml", "_format_version: '3.0'\n")
	syntax := regexp.MustCompile(`[\[<]\w+[>\]]`) // shows what may stand there, and is not to be pasted
	for _, page := range []string{"README.md", "docs/caddyfile.md", "docs/stores.md", "docs/admin-api.md", "docs/stream.md", "docs/plugins/README.md"} {
		for i, block := range blocks(t, page, "caddyfile") {
			if syntax.MatchString(block) {
				continue
			}
			t.Run(page+"/"+strconv.Itoa(i), func(t *testing.T) {
				check(t, h.write("page.caddyfile", block))
			})
		}
	}
}
