package ratelimiting_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/modules/plugin/plugintest"
	"github.com/portcullis-gateway/portcullis/modules/ports"
	"github.com/portcullis-gateway/portcullis/modules/selfsigned"
)

// authority is a folder with a certificate for localhost that this process
// trusts as one of the system's roots.
var authority string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "ratelimiting")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	authority = dir
	cert, _ := selfsigned.New("localhost", "redis.test").Write(dir)
	os.Setenv("SSL_CERT_FILE", cert)
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// A redisServer is a Redis server of the test's own.
type redisServer struct {
	t    testing.TB
	port int
	args []string
	cmd  *exec.Cmd
	*redis.Client
}

// startRedis starts a server on a free port. It ends with the test.
func startRedis(t testing.TB, args ...string) *redisServer {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("needs redis-server: build/needs.sh installs it")
	}
	s := &redisServer{t: t, port: ports.Free(t), args: args}
	s.start()
	t.Cleanup(s.kill)
	s.Client = redis.NewClient(&redis.Options{Addr: s.addr(), MaxRetries: -1})
	t.Cleanup(func() { s.Client.Close() })
	return s
}

func (s *redisServer) addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// start runs the server and waits until it listens.
func (s *redisServer) start() {
	s.t.Helper()
	dir := s.t.TempDir()
	args := []string{"--bind", "127.0.0.1", "--port", strconv.Itoa(s.port), "--save", "", "--appendonly", "no", "--dir", dir}
	if len(s.args) > 0 && strings.HasSuffix(s.args[0], ".conf") {
		args = append([]string{s.args[0]}, append(args, s.args[1:]...)...)
	} else {
		args = append(args, s.args...)
	}
	s.cmd = exec.CommandContext(s.t.Context(), "redis-server", args...)
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ready := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if l := lines.Text(); strings.Contains(l, "Ready to accept connections") || strings.Contains(l, "Sentinel ID is") {
				ready <- true
			}
		}
		ready <- false
	}()
	select {
	case ok := <-ready:
		if !ok {
			s.t.Fatal("redis-server did not start")
		}
	case <-time.After(patient.Limit):
		s.t.Fatal("redis-server is not ready")
	}
}

func (s *redisServer) kill() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.cmd = nil
	}
}

// config is one of the plugin with this server.
func (s *redisServer) config(rest, inRedis string) string {
	if !strings.Contains(inRedis, `"timeout"`) {
		inRedis += `, "timeout": 20000` // of a busy machine
	}
	return fmt.Sprintf(`{"policy": "redis", "redis": {"host": "127.0.0.1", "port": %d%s}, %s}`, s.port, inRedis, rest)
}

// stat answers how often the server ran a command.
func (s *redisServer) stat(command string) int {
	s.t.Helper()
	info, err := s.Info(context.Background(), "commandstats").Result()
	if err != nil {
		s.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(info, "cmdstat_"+command+":calls=")
	rest, _, _ = strings.Cut(rest, ",")
	n, _ := strconv.Atoi(rest)
	return n
}

func TestRedis(t *testing.T) {
	s := startRedis(t)
	// Not by the second: what Redis keeps goes by its own clock.
	g := limited(t, s.config(`"hour": 2, "day": 10`, ""))
	want(t, g.Get("/"), 200, "Limit-Hour=2 Remaining-Hour=1 Limit-Day=10 Remaining-Day=9 RateLimit-Limit=2 RateLimit-Remaining=1 RateLimit-Reset=1770")
	want(t, g.Get("/"), 200, "Limit-Hour=2 Remaining-Hour=0 Limit-Day=10 Remaining-Day=8 RateLimit-Limit=2 RateLimit-Remaining=0 RateLimit-Reset=1770")
	want(t, g.Get("/"), 429, "Limit-Hour=2 Remaining-Hour=0 Limit-Day=10 Remaining-Day=8 RateLimit-Limit=2 RateLimit-Remaining=0 RateLimit-Reset=1770 Retry-After=1770")

	// the keys are those that Kong has, and go with their windows
	ctx := context.Background()
	const none = "00000000-0000-0000-0000-000000000000"
	key := "ratelimit:" + none + ":" + none + ":192.0.2.1:" + strconv.FormatInt(noon.Truncate(time.Hour).UnixMilli(), 10) + ":hour"
	if n, err := s.Client.Get(ctx, key).Int(); n != 2 || err != nil {
		t.Errorf("%s: got %d, %v", key, n, err)
	}
	if ttl := s.TTL(ctx, key).Val(); ttl > 1801*time.Second || ttl < 1700*time.Second {
		t.Errorf("kept for %s, want half an hour", ttl)
	}

	// one command for each request, however many windows
	if err := s.ConfigResetStat(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		g.Get("/")
	}
	if scripts, plain := s.stat("evalsha"), s.stat("eval"); scripts != 10 || plain != 0 {
		t.Errorf("10 requests were %d scripts by name and %d in full", scripts, plain)
	}
	if n := s.stat("get"); n != 20 {
		t.Errorf("the script read %d counters, want 20", n)
	}

	// the script may be forgotten
	if err := s.ScriptFlush(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	if r := g.Get("/"); r.StatusCode != 429 {
		t.Errorf("got %d after the script was forgotten", r.StatusCode)
	}
}

func TestRedis_exactWhenManyComeAtATime(t *testing.T) {
	s := startRedis(t)
	exact(t, s.config(`"hour": 40, "day": 50, "limit_by": "header", "header_name": "x-app"`, ""), 40)
}

// TestRedis_diesAndReturns kills the server between requests.
func TestRedis_diesAndReturns(t *testing.T) {
	for _, tolerant := range []bool{true, false} {
		for _, rate := range []string{"-1", "0.02"} {
			t.Run(fmt.Sprintf("fault_tolerant %t, sync_rate %s", tolerant, rate), func(t *testing.T) {
				s := startRedis(t)
				g := plugintest.New(t)
				g.Add("rate-limiting", s.config(fmt.Sprintf(`"year": 1000000, "fault_tolerant": %t, "sync_rate": %s`, tolerant, rate), ""))
				if r := g.Get("/"); r.StatusCode != 200 || r.Header.Get("RateLimit-Remaining") != "999999" {
					t.Fatalf("got %d %v", r.StatusCode, r.Header)
				}
				s.kill()
				patient.Until(t, "a request without Redis", func() bool {
					r := g.Get("/")
					if tolerant {
						return r.StatusCode == 200 && headersOf(r.Header) == ""
					}
					return r.StatusCode == 500 && strings.Contains(plugintest.Body(r), "An unexpected error occurred")
				})
				if tolerant && g.Logs.FilterMessage("requests pass without being counted").Len() != 1 {
					t.Errorf("the log says: %v", g.Logs.All())
				}
				s.start()
				patient.Until(t, "Redis is back", func() bool {
					r := g.Get("/")
					return r.StatusCode == 200 && r.Header.Get("RateLimit-Limit") == "1000000"
				})
				patient.Until(t, "Redis counts again", func() bool {
					keys, _ := s.Keys(context.Background(), "ratelimit:*").Result()
					return len(keys) > 0
				})
			})
		}
	}
}

// TestRedis_syncRate lets two gateways count by themselves, and agree in Redis.
func TestRedis_syncRate(t *testing.T) {
	s := startRedis(t)
	config := s.config(`"year": 100, "sync_rate": 0.05`, "")
	a, b := plugintest.New(t), plugintest.New(t)
	a.Add("rate-limiting", config)
	b.Add("rate-limiting", config)
	for range 10 {
		a.Get("/")
		b.Get("/")
	}
	patient.Until(t, "both have told Redis, and know of each other", func() bool {
		keys, err := s.Keys(context.Background(), "ratelimit:*:year").Result()
		if err != nil || len(keys) != 1 {
			return false
		}
		n, _ := s.Client.Get(context.Background(), keys[0]).Int()
		return n == 20
	})
	patient.Until(t, "a gateway learns what the other one counted", func() bool {
		left, _ := strconv.Atoi(a.Get("/").Header.Get("RateLimit-Remaining"))
		return left < 80
	})
	// what is counted costs no command of its own
	if err := s.ConfigResetStat(context.Background()).Err(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for range 1000 {
		a.Get("/")
	}
	if n, most := s.stat("evalsha"), 4+3*int(time.Since(start)/(50*time.Millisecond)); n > most {
		t.Errorf("1000 requests were %d commands, want at most %d", n, most)
	}
}

// TestRedis_settings tries the fields of the record, each against a server that
// lets nobody in without it. The password is in no log.
func TestRedis_settings(t *testing.T) {
	const secret = "wonderful-secret"
	acl := startRedis(t, "--user", "gate", "on", ">"+secret, "~*", "+@all", "--user", "default", "off")
	simple := startRedis(t, "--requirepass", secret)
	port := ports.Free(t)
	encrypted := startRedis(t, "--tls-port", strconv.Itoa(port), "--tls-auth-clients", "no",
		"--tls-cert-file", filepath.Join(authority, "cert.pem"), "--tls-key-file", filepath.Join(authority, "key.pem"))
	for _, tt := range []struct {
		name   string
		server *redisServer
		redis  string
		works  bool
	}{
		{"user and password", acl, `, "username": "gate", "password": "` + secret + `"`, true},
		{"a wrong password", acl, `, "username": "gate", "password": "` + secret + `x"`, false},
		{"no user", acl, `, "password": "` + secret + `"`, false},
		{"password", simple, `, "password": "` + secret + `"`, true},
		{"no password", simple, ``, false},
		{"database", simple, `, "password": "` + secret + `", "database": 5`, true},
		{"a database that there is not", simple, `, "password": "` + secret + `", "database": 50`, false},
		{"no TLS", encrypted, ``, true},
		{"TLS", encrypted, `, "ssl": true`, true},
		{"TLS, verified", encrypted, `, "ssl": true, "ssl_verify": true, "server_name": "redis.test"`, true},
		{"TLS for another name", encrypted, `, "ssl": true, "ssl_verify": true, "server_name": "other.test"`, false},
		{"TLS for the address", encrypted, `, "ssl": true, "ssl_verify": true`, false},
		{"a server that says nothing", silent(t), `, "timeout": 50`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := *tt.server
			if strings.Contains(tt.redis, `"ssl"`) {
				s.port = port
			}
			g := limited(t, s.config(`"hour": 5, "fault_tolerant": false`, tt.redis))
			start := time.Now()
			r := g.Get("/")
			if works := r.StatusCode == 200 && headersOf(r.Header) != ""; works != tt.works || !works && r.StatusCode != 500 {
				t.Errorf("got %d, want it to work: %t; %v", r.StatusCode, tt.works, g.Logs.All())
			}
			if strings.Contains(tt.redis, `"timeout": 50`) && time.Since(start) > patient.Limit/2 {
				t.Error("the timeout was not kept")
			}
			for _, line := range g.Logs.All() {
				if strings.Contains(fmt.Sprint(line), secret) {
					t.Errorf("the log has the password: %v", line)
				}
			}
		})
	}
	if n := simple.do("AUTH", secret).SelectDB(5).keys(); n != 1 {
		t.Errorf("database 5 has %d keys, want 1", n)
	}
}

// do, SelectDB and keys ask on one connection.
func (s *redisServer) do(args ...any) *asking {
	c := &asking{s.t, s.Conn()}
	s.t.Cleanup(func() { c.Close() })
	if err := c.Do(context.Background(), args...).Err(); err != nil {
		s.t.Fatal(err)
	}
	return c
}

type asking struct {
	t testing.TB
	*redis.Conn
}

func (a *asking) SelectDB(n int) *asking {
	if err := a.Conn.Select(context.Background(), n).Err(); err != nil {
		a.t.Fatal(err)
	}
	return a
}

func (a *asking) keys() int {
	n, err := a.DBSize(context.Background()).Result()
	if err != nil {
		a.t.Fatal(err)
	}
	return int(n)
}

// silent is a server that accepts and says nothing.
func silent(t *testing.T) *redisServer {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &redisServer{t: t, port: l.Addr().(*net.TCPAddr).Port}
}

func BenchmarkRedis(b *testing.B) {
	for _, rate := range []string{"-1", "0.5"} {
		b.Run("sync_rate="+rate, func(b *testing.B) {
			s := startRedis(b)
			g := plugintest.New(b)
			g.Add("rate-limiting", s.config(`"year": 1000000000, "sync_rate": `+rate, ""))
			plugintest.Bench(b, g)
		})
	}
	b.Run("sync_rate=-1, 16 at a time", func(b *testing.B) {
		s := startRedis(b)
		g := plugintest.New(b)
		g.Add("rate-limiting", s.config(`"year": 1000000000`, ""))
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			r := httptest.NewRequest("GET", "/", nil)
			for pb.Next() {
				g.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	})
}
