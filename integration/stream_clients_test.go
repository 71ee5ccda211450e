package integration

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/modules/ports"
)

// nobody is a user that PostgreSQL does not mind to run as.
const nobody = 65534

// TestStream_postgreSQL asks a real server with psql, in the clear and over
// their own TLS, which the gateway passes on.
func TestStream_postgreSQL(t *testing.T) {
	t.Parallel()
	need(t, "psql", "postgresql-client")
	need(t, "openssl", "openssl")
	server := postgreSQL(t)
	p := newHome(t, streaming).start()
	p.streamRoute("db", "tcp", server, fmt.Sprintf(`{"protocols":["tcp"],"destinations":[{"port":%d}]}`, p.ports["PROXY"]))
	for mode, want := range map[string]string{"disable": "f", "require": "t"} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		cmd := exec.CommandContext(ctx, "psql", "-tA", "-c", "select ssl from pg_stat_ssl where pid = pg_backend_pid()",
			fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres sslmode=%s", p.ports["PROXY"], mode))
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir}
		out, err := cmd.CombinedOutput()
		cancel()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("sslmode=%s: got %q, %v; want %s", mode, got, err, want)
		}
	}
}

// TestStream_postgreSQLByServerName asks a real server through a listener with
// ssl, where PostgreSQL's client first asks whether it may speak TLS.
func TestStream_postgreSQLByServerName(t *testing.T) {
	t.Parallel()
	need(t, "psql", "postgresql-client")
	need(t, "openssl", "openssl")
	server := postgreSQL(t)
	p := newHome(t, streaming).start()
	p.streamRoute("passed", "tcp", server, `{"protocols":["tls_passthrough"],"snis":["passed.example.com"]}`)
	p.streamRoute("ended", "tcp", server, `{"protocols":["tls"],"snis":["ended.example.com"]}`)
	p.streamRoute("again", "tls", server, `{"protocols":["tls"],"snis":["again.example.com"]}`)
	for name, want := range map[string]string{"passed": "t", "ended": "f", "again": "t"} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		cmd := exec.CommandContext(ctx, "psql", "-tA", "-c", "select ssl from pg_stat_ssl where pid = pg_backend_pid()",
			fmt.Sprintf("host=%s.example.com hostaddr=127.0.0.1 port=%d user=postgres dbname=postgres sslmode=require", name, p.ports["PROXY_SSL"]))
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir}
		out, err := cmd.CombinedOutput()
		cancel()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %s", name, got, err, want)
		}
	}
}

// postgreSQL runs a server of its own and answers its address.
func postgreSQL(t testing.TB) string {
	t.Helper()
	bin := "initdb"
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb"); len(found) > 0 {
		bin = found[len(found)-1]
	} else {
		bin = need(t, bin, "postgresql")
	}
	if os.Getuid() != 0 {
		t.Skip("PostgreSQL runs as another user here: run the tests as root")
	}
	dir, err := os.MkdirTemp("", "postgresql")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	as := func(name string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		return cmd
	}
	for _, cmd := range []*exec.Cmd{
		as(bin, "-D", dir+"/data", "-A", "trust", "-U", "postgres", "--no-sync", "--no-instructions"),
		as("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
			"-subj", "/CN=db", "-keyout", dir+"/key.pem", "-out", dir+"/cert.pem"),
	} {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd.Path, err, out)
		}
	}
	port := ports.Free(t)
	server := as(filepath.Join(filepath.Dir(bin), "postgres"), "-D", dir+"/data", "-p", strconv.Itoa(port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="+dir, "-c", "fsync=off",
		"-c", "ssl=on", "-c", "ssl_cert_file="+dir+"/cert.pem", "-c", "ssl_key_file="+dir+"/key.pem")
	return runServer(t, server, port)
}

// TestStream_redis asks a real server with its own client over TLS, which ends
// at the gateway.
func TestStream_redis(t *testing.T) {
	t.Parallel()
	need(t, "redis-server", "redis-server")
	need(t, "redis-cli", "redis-tools")
	port := ports.Free(t)
	cmd := exec.CommandContext(t.Context(), "redis-server", "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())
	server := runServer(t, cmd, port)
	p := newHome(t, streaming).start()
	p.streamRoute("cache", "tcp", server, `{"protocols":["tls"],"snis":["cache.example.com"]}`)
	ask := func(words ...string) string {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		args := append([]string{"-h", "127.0.0.1", "-p", strconv.Itoa(p.ports["PROXY_SSL"]),
			"--tls", "--insecure", "--sni", "cache.example.com"}, words...)
		out, err := exec.CommandContext(ctx, "redis-cli", args...).CombinedOutput()
		if err != nil {
			t.Errorf("redis-cli %v: %v", words, err)
		}
		return strings.TrimSpace(string(out))
	}
	if got := ask("set", "k", "v"); got != "OK" {
		t.Errorf("set: got %q", got)
	}
	if got := ask("get", "k"); got != "v" {
		t.Errorf("get: got %q", got)
	}
}

// runServer starts a server and returns its address when it listens.
func runServer(t testing.TB, cmd *exec.Cmd, port int) string {
	t.Helper()
	var log transcript
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = patience
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		_ = cmd.Wait()
	})
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s says:\n%s", cmd.Path, log.String())
		}
	})
	patient.Until(t, cmd.Path+" listens", func() bool { return accepts(addr) })
	return addr
}
