package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/modules/ports"
)

// patience bounds everything that ought to happen at once but may take a
// while on a busy machine.
const patience = patient.Limit

// binary builds integration/caddy once, with the race detector if the tests
// have it, and answers where it is. PORTCULLIS_BINARY names another binary
// instead, such as bin/caddy.
var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("PORTCULLIS_BINARY"); path != "" {
		return filepath.Abs(path)
	}
	path := filepath.Join(scratch, "caddy")
	args := []string{"build", "-buildvcs=false", "-o", path}
	if race {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "./caddy")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %v\n%s", err, out)
	}
	return path, nil
})

// scratch holds what all tests share. TestMain makes and removes it.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "portcullis"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(scratch)
	os.Exit(code)
}

// A home is what a process finds when it starts: a folder of its own with a
// Caddyfile in it, and ports that nobody else uses. The Caddyfile reads the
// ports from the environment: {$PROXY}, {$PROXY_SSL}, {$ADMIN}, {$ADMIN_SSL},
// {$STATUS} and {$SITE}; the folder is {$HOME}. Caddy's own admin endpoint is
// at the port CADDY.
type home struct {
	t      testing.TB
	dir    string
	ports  map[string]int
	binary string // empty: that of integration/caddy
}

// usual is a whole gateway on the ports of a home.
const usual = `{
	gateway {
		store bolt {$HOME}/gateway.db
	}
	proxy_listen 127.0.0.1:{$PROXY}, 127.0.0.1:{$PROXY_SSL} ssl http2
	admin_listen 127.0.0.1:{$ADMIN}, 127.0.0.1:{$ADMIN_SSL} ssl http2
	status_listen 127.0.0.1:{$STATUS}
}
`

// newHome makes a home with the Caddyfile given.
func newHome(t testing.TB, caddyfile string) *home {
	t.Helper()
	h := &home{t: t, dir: t.TempDir(), ports: make(map[string]int)}
	for _, name := range []string{"PROXY", "PROXY_SSL", "ADMIN", "ADMIN_SSL", "STATUS", "CADDY", "SITE"} {
		h.ports[name] = ports.Free(t)
	}
	h.write("gateway.caddyfile", caddyfile)
	return h
}

// write puts a file into the home and answers its path.
func (h *home) write(name, content string) string {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		h.t.Fatal(err)
	}
	return path
}

// addr answers the address of the port called name.
func (h *home) addr(name string) string { return fmt.Sprintf("127.0.0.1:%d", h.ports[name]) }

// command prepares a run of the binary in the home. It ends with the test.
func (h *home) command(args ...string) *exec.Cmd {
	h.t.Helper()
	path := h.binary
	if path == "" {
		var err error
		if path, err = binary(); err != nil {
			h.t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(h.t.Context(), path, args...)
	cmd.Dir = h.dir
	cmd.Env = []string{
		"HOME=" + h.dir,
		"XDG_DATA_HOME=" + filepath.Join(h.dir, "data"),
		"XDG_CONFIG_HOME=" + filepath.Join(h.dir, "config"),
		"PATH=" + os.Getenv("PATH"),
		"CADDY_ADMIN=" + h.addr("CADDY"),
		"GORACE=halt_on_error=1",
	}
	for name, port := range h.ports {
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", name, port))
	}
	return cmd
}

// caddy runs the binary to its end and answers what it wrote, standard output
// and standard error together, and its exit code.
func (h *home) caddy(args ...string) (string, int) {
	h.t.Helper()
	cmd := h.command(args...)
	out, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		h.t.Fatalf("caddy %s: %v", strings.Join(args, " "), err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// A process is a gateway that runs.
type process struct {
	*home
	cmd    *exec.Cmd
	log    *transcript
	exited chan struct{} // closed when the process is gone
}

// start runs the gateway and returns when it serves. The process ends with the
// test, and fails it if it raced.
func (h *home) start() *process {
	h.t.Helper()

	// Caddy itself tells when it is ready: it dials this address
	ready, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	defer ready.Close()

	p := &process{home: h, log: new(transcript), exited: make(chan struct{})}
	p.cmd = h.command("run", "--config", "gateway.caddyfile", "--pingback", ready.Addr().String())
	p.cmd.Stdin = strings.NewReader("ready")
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = patience
	if err := p.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	go func() {
		p.cmd.Wait()
		close(p.exited)
	}()
	h.t.Cleanup(p.stop)

	served := make(chan error, 1)
	go func() {
		conn, err := ready.Accept()
		if err == nil {
			conn.Close()
		}
		served <- err
	}()
	select {
	case err := <-served:
		if err != nil {
			h.t.Fatal(err)
		}
	case <-p.exited:
		h.t.Fatalf("the gateway did not start: %v\n%s", p.cmd.ProcessState, p.log)
	case <-time.After(patience):
		h.t.Fatalf("the gateway is not ready after %s\n%s", patience, p.log)
	}
	return p
}

// stop ends the process as an operator would, and waits for it.
func (p *process) stop() {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.cmd.Process.Kill()
		<-p.exited
		p.t.Errorf("the gateway did not stop within %s", patience)
	}
	if log := p.log.String(); strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic:") || p.t.Failed() {
		p.t.Errorf("the log of the gateway:\n%s", log)
	}
}

// kill ends the process as a power cut would.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.exited
}

// reload loads the Caddyfile of the home again, changed or not.
func (p *process) reload() {
	p.t.Helper()
	if out, code := p.caddy("reload", "--config", "gateway.caddyfile", "--force"); code != 0 {
		p.t.Fatalf("caddy reload: exit code %d\n%s", code, out)
	}
}

// transcript is a log that can be read while it is written.
type transcript struct {
	mu  sync.Mutex
	buf bytes.Buffer // protected by mu
}

func (l *transcript) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *transcript) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// An answer is a response that has been read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends one request on a connection of its own. The header is a list of
// names and values; Host sets the host.
func do(t testing.TB, method, url, body string, header ...string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return answer{resp.StatusCode, resp.Header, string(content)}
}

// admin sends a request with a JSON body, if any, to the Admin API, and
// insists on the status.
func (p *process) admin(method, path, body string, status int) answer {
	p.t.Helper()
	var header []string
	if body != "" {
		header = []string{"Content-Type", "application/json"}
	}
	a := do(p.t, method, "http://"+p.addr("ADMIN")+path, body, header...)
	if a.status != status {
		p.t.Fatalf("%s %s %s: got %d %s, want %d", method, path, body, a.status, a.body, status)
	}
	return a
}

// route makes a route for a path, and its service for an upstream.
func (p *process) route(path, upstream string) {
	p.t.Helper()
	p.admin("POST", "/services", fmt.Sprintf(`{"name":"a","url":%q}`, upstream), 201)
	p.admin("POST", "/services/a/routes", fmt.Sprintf(`{"paths":[%q]}`, path), 201)
}

// get asks the proxy for path and insists on the status.
func (p *process) get(path string, status int, header ...string) answer {
	p.t.Helper()
	a := do(p.t, "GET", "http://"+p.addr("PROXY")+path, "", header...)
	if a.status != status {
		p.t.Fatalf("GET %s %v: got %d %s, want %d", path, header, a.status, a.body, status)
	}
	return a
}
