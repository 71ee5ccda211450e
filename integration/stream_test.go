package integration

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/patient"
)

// streaming is a gateway with listeners for streams, on ports of the home.
const streaming = `{
	gateway {
		store bolt {$HOME}/gateway.db
	}
	proxy_listen off
	stream_listen 127.0.0.1:{$PROXY}, 127.0.0.1:{$PROXY_SSL} ssl, 127.0.0.1:{$SITE} udp {
		log
	}
	admin_listen 127.0.0.1:{$ADMIN}
	status_listen 127.0.0.1:{$STATUS}
}
`

// streamEcho is a server for TCP; with a config it speaks TLS.
func streamEcho(t testing.TB, name string, config *tls.Config) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	if config != nil {
		ln = tls.NewListener(ln, config)
	}
	serveEach(ln, func(c net.Conn) {
		if name != "" {
			fmt.Fprintf(c, "%s:", name)
		}
		io.Copy(c, c)
	})
	return ln.Addr().String()
}

// serveEach gives handle each connection of a listener, and closes it then.
func serveEach(ln net.Listener, handle func(net.Conn)) {
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(c)
			}()
		}
	}()
}

// datagramEcho is a server for UDP.
func datagramEcho(t testing.TB) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 65536)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			c.WriteTo(b[:n], from)
		}
	}()
	return c.LocalAddr().String()
}

// streamService is the body of a service and what a route refers to it by.
func (p *process) streamRoute(name, protocol, addr, route string) {
	p.t.Helper()
	host, port, _ := net.SplitHostPort(addr)
	p.admin("PUT", "/services/"+name, fmt.Sprintf(`{"protocol":%q,"host":%q,"port":%s}`, protocol, host, port), 200)
	p.admin("PUT", "/services/"+name+"/routes/"+name, route, 200)
}

// speak sends text over a connection and reads the answer to its end.
func speak(t testing.TB, c net.Conn, text string) string {
	t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(c, text)
	c.(interface{ CloseWrite() error }).CloseWrite()
	b, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	return string(b)
}

// TestStream_page runs the commands of the page, as they are but for the ports: TCP, TLS that ends here, TLS that is passed through,
// and UDP.
func TestStream_page(t *testing.T) {
	t.Parallel()
	p := newHome(t, streaming).start()
	behind := httptest.NewTLSServer(nil)
	defer behind.Close()

	need(t, "curl", "curl")
	replace := []string{":8001", ":" + fmt.Sprint(p.ports["ADMIN"]), "=9000", fmt.Sprintf("=%d", p.ports["PROXY"]), "=9053", fmt.Sprintf("=%d", p.ports["SITE"])}
	for port, addr := range map[string]string{
		"5432": streamEcho(t, "plain", nil), "6379": streamEcho(t, "ended", nil), "4433": streamEcho(t, "passed", behind.TLS), "5300": datagramEcho(t),
	} {
		_, real, _ := net.SplitHostPort(addr)
		replace = append(replace, "="+port, "="+real)
	}
	for line := range strings.Lines(blocks(t, "docs/stream.md", "sh")[0]) {
		if line = strings.TrimSpace(strings.NewReplacer(replace...).Replace(line)); line == "" {
			continue
		}
		out, err := exec.CommandContext(t.Context(), "sh", "-c", line+" --silent --show-error").CombinedOutput()
		if err != nil || !strings.Contains(string(out), `"id":`) {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}

	c, err := net.Dial("tcp", p.addr("PROXY"))
	if err != nil {
		t.Fatal(err)
	}
	if got := speak(t, c, "hello"); got != "plain:hello" {
		t.Errorf("tcp: got %q", got)
	}
	for name, want := range map[string]string{"cache.example.com": "ended:hello", "a.web.example.com": "passed:hello"} {
		c, err := tls.Dial("tcp", p.addr("PROXY_SSL"), &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		subject := c.ConnectionState().PeerCertificates[0].Subject.String()
		if passed := strings.Contains(subject, "Acme"); passed != strings.HasPrefix(want, "passed") {
			t.Errorf("%s: the certificate is that of %s", name, subject)
		}
		if got := speak(t, c, "hello"); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	u, err := net.Dial("udp", p.addr("SITE"))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	u.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(u, "hello")
	b := make([]byte, 100)
	if n, err := u.Read(b); err != nil || string(b[:n]) != "hello" {
		t.Errorf("udp: got %q, %v", b[:n], err)
	}
	var routes struct{ Data []struct{ ID string } }
	if err := json.Unmarshal([]byte(p.admin("GET", "/services/db/routes", "", 200).body), &routes); err != nil || len(routes.Data) != 1 {
		t.Fatal(err)
	}
	id := routes.Data[0].ID
	metrics := func() string { return do(t, "GET", "http://"+p.addr("STATUS")+"/metrics", "").body }
	for _, want := range []string{
		fmt.Sprintf(`gateway_stream_sessions_total{route=%q} 1`, id),
		fmt.Sprintf(`gateway_stream_bytes_total{direction="up",route=%q} 5`, id),
	} {
		patient.Until(t, "the metrics have "+want, func() bool { return strings.Contains(metrics(), want) })
	}
	p.admin("DELETE", "/routes/"+id, "", 204)
	patient.Until(t, "a deleted route is no longer counted", func() bool { return !strings.Contains(metrics(), id) })
	info := p.admin("GET", "/", "", 200).body
	var about struct {
		Configuration struct {
			StreamListeners []struct {
				Port int
				SSL  bool
			} `json:"stream_listeners"`
		}
	}
	if err := json.Unmarshal([]byte(info), &about); err != nil || len(about.Configuration.StreamListeners) != 3 || !about.Configuration.StreamListeners[1].SSL {
		t.Errorf("/ tells of the listeners %+v, %v", about, err)
	}
}

// TestStream_plugins lets the plugins of this build act on connections and UDP
// sessions.
func TestStream_plugins(t *testing.T) {
	t.Parallel()
	p := newHome(t, streaming).start()
	p.streamRoute("plain", "tcp", streamEcho(t, "plain", nil), fmt.Sprintf(`{"protocols":["tcp"],"destinations":[{"port":%d}]}`, p.ports["PROXY"]))
	p.streamRoute("ended", "tcp", streamEcho(t, "ended", nil), `{"protocols":["tls"],"snis":["ended.example.com"]}`)
	log := p.dir + "/flows.log"
	p.admin("POST", "/plugins", `{"name":"file-log","protocols":["tcp","tls"],"config":{"path":"`+log+`"}}`, 201)
	p.admin("POST", "/plugins", `{"name":"prometheus","protocols":["tcp","tls"],"config":{"status_code_metrics":true}}`, 201)
	dial := func() net.Conn {
		c, err := net.Dial("tcp", p.addr("PROXY"))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if got := speak(t, dial(), "hello"); got != "plain:hello" {
		t.Errorf("got %q", got)
	}
	const row = "/plugins/5bd9ec5c-b1ff-4f3b-a1f9-1a5d1e1c7d0a"
	p.admin("PUT", row, `{"name":"ip-restriction","config":{"deny":["127.0.0.0/8"]}}`, 200)
	c := dial()
	c.SetDeadline(time.Now().Add(patience))
	if b, _ := io.ReadAll(c); len(b) > 0 {
		t.Errorf("a client that is denied got %q", b)
	}
	_, err := tls.Dial("tcp", p.addr("PROXY_SSL"), &tls.Config{ServerName: "ended.example.com", InsecureSkipVerify: true})
	if err == nil || !strings.Contains(err.Error(), "access denied") {
		t.Errorf("a client that is denied learns %v", err)
	}
	p.admin("DELETE", row, "", 204)
	if got := speak(t, dial(), "again"); got != "plain:again" {
		t.Errorf("got %q", got)
	}
	var lines []string
	patient.Until(t, "the sessions are logged", func() bool {
		b, _ := os.ReadFile(log)
		lines = strings.Split(strings.TrimSpace(string(b)), "\n")
		return len(lines) == 4 && bytes.HasSuffix(b, []byte("\n"))
	})
	statuses := ""
	for _, line := range lines {
		var entry struct{ Session struct{ Status int } }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		statuses += fmt.Sprintln(entry.Session.Status)
	}
	if strings.Count(statuses, "200") != 2 || strings.Count(statuses, "403") != 2 {
		t.Errorf("logged the statuses %q", statuses)
	}
	for _, want := range []string{`kong_stream_sessions_total{`, `gateway_stream_failures_total{reason="plugin",route="plain"} 1`} {
		patient.Until(t, "the metrics have "+want, func() bool {
			return strings.Contains(do(t, "GET", "http://"+p.addr("STATUS")+"/metrics", "").body, want)
		})
	}
}

// TestStream_openSSL asks with a client that is not Go's.
func TestStream_openSSL(t *testing.T) {
	t.Parallel()
	need(t, "openssl", "openssl")
	p := newHome(t, streaming).start()
	p.streamRoute("ended", "tcp", streamEcho(t, "ended", nil), `{"protocols":["tls"],"snis":["ended.example.com"]}`)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client := func(name string) (string, error) {
		cmd := exec.CommandContext(ctx, "openssl", "s_client", "-connect", p.addr("PROXY_SSL"), "-servername", name, "-ign_eof", "-quiet")
		in, _ := cmd.StdinPipe()
		out, _ := cmd.StdoutPipe()
		errs := new(strings.Builder)
		cmd.Stderr = errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(in, "hello\n")
		line, _ := bufio.NewReader(out).ReadString('\n')
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
		return line + errs.String(), nil
	}
	if got, _ := client("ended.example.com"); !strings.Contains(got, "ended:hello") {
		t.Errorf("got %q", got)
	}
	if got, _ := client("unknown.example.com"); !strings.Contains(got, "unrecognized name") {
		t.Errorf("without a route: got %q, want the alert unrecognized name", got)
	}
}

// need skips a test whose tool is not there.
func need(t testing.TB, tool, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Skipf("%s is not there; apt-get install %s to run the test", tool, pkg)
	}
	return path
}

// TestStream_dns resolves a name with Go's own resolver and with dig, over UDP
// and TCP on the same port.
func TestStream_dns(t *testing.T) {
	t.Parallel()
	config := strings.Replace(streaming, "127.0.0.1:{$PROXY},", "127.0.0.1:{$SITE},", 1)
	p := newHome(t, config).start()
	server := dnsServer(t)
	both := fmt.Sprintf(`"destinations":[{"port":%d}]`, p.ports["SITE"])
	p.streamRoute("dns-udp", "udp", server, `{"protocols":["udp"],`+both+`}`)
	p.streamRoute("dns-tcp", "tcp", server, `{"protocols":["tcp"],`+both+`}`)

	for _, network := range []string{"udp", "tcp"} {
		resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, p.addr("SITE"))
		}}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		addrs, err := resolver.LookupNetIP(ctx, "ip4", "portcullis.test.")
		cancel()
		if err != nil || len(addrs) != 1 || addrs[0].Unmap().String() != "192.0.2.53" {
			t.Errorf("over %s: got %v, %v", network, addrs, err)
		}
	}
	if dig, err := exec.LookPath("dig"); err == nil {
		for _, flag := range []string{"+notcp", "+tcp"} {
			out, err := exec.CommandContext(t.Context(), dig, "@127.0.0.1", "-p", fmt.Sprint(p.ports["SITE"]), flag, "+short", "portcullis.test").CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != "192.0.2.53" {
				t.Errorf("dig %s: %q, %v", flag, out, err)
			}
		}
	}
}

// dnsServer answers every question with 192.0.2.53, over UDP and TCP.
func dnsServer(t testing.TB) string {
	t.Helper()
	reply := func(q []byte) []byte {
		if len(q) < 12 {
			return nil
		}
		end := 12
		for end < len(q) && q[end] != 0 {
			end += int(q[end]) + 1
		}
		end += 5 // the root, type and class
		if end > len(q) {
			return nil
		}
		a := append([]byte{}, q[:end]...)
		a[2], a[3] = 0x84, 0 // an answer, with authority
		copy(a[4:12], []byte{0, 1, 0, 0, 0, 0, 0, 0})
		if q[end-3] == 1 { // type A
			a[7] = 1
			a = append(a, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 53)
		}
		return a
	}
	for range 20 { // until a port is free for both
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		pc, err := net.ListenPacket("udp", ln.Addr().String())
		if err != nil {
			ln.Close()
			continue
		}
		t.Cleanup(func() { ln.Close(); pc.Close() })
		go func() {
			b := make([]byte, 4096)
			for {
				n, from, err := pc.ReadFrom(b)
				if err != nil {
					return
				}
				pc.WriteTo(reply(b[:n]), from)
			}
		}()
		serveEach(ln, func(c net.Conn) {
			head := make([]byte, 2)
			for {
				if _, err := io.ReadFull(c, head); err != nil {
					return
				}
				q := make([]byte, int(head[0])<<8|int(head[1]))
				if _, err := io.ReadFull(c, q); err != nil {
					return
				}
				a := reply(q)
				c.Write(append([]byte{byte(len(a) >> 8), byte(len(a))}, a...))
			}
		})
		return ln.Addr().String()
	}
	t.Fatal("no port is free for TCP and UDP")
	return ""
}

// TestStream_reloadsAndWritesUnderLiveFlows: 50 reloads and 1,000 writes cut
// none of 200 connections and sessions.
func TestStream_reloadsAndWritesUnderLiveFlows(t *testing.T) {
	t.Parallel()
	p := newHome(t, streaming).start()
	behind := httptest.NewTLSServer(nil)
	defer behind.Close()
	p.streamRoute("plain", "tcp", streamEcho(t, "", nil), fmt.Sprintf(`{"protocols":["tcp"],"destinations":[{"port":%d}]}`, p.ports["PROXY"]))
	p.streamRoute("ended", "tcp", streamEcho(t, "", nil), `{"protocols":["tls"],"snis":["ended.example.com"]}`)
	p.streamRoute("passed", "tcp", streamEcho(t, "", behind.TLS), `{"protocols":["tls_passthrough"],"snis":["passed.example.com"]}`)
	p.streamRoute("datagrams", "udp", datagramEcho(t), fmt.Sprintf(`{"protocols":["udp"],"destinations":[{"port":%d}]}`, p.ports["SITE"]))

	const flows = 200
	var talks atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i := range flows {
		c, err := func() (net.Conn, error) {
			switch i % 4 {
			case 0:
				return net.Dial("tcp", p.addr("PROXY"))
			case 1:
				return tls.Dial("tcp", p.addr("PROXY_SSL"), &tls.Config{ServerName: "ended.example.com", InsecureSkipVerify: true})
			case 2:
				return tls.Dial("tcp", p.addr("PROXY_SSL"), &tls.Config{ServerName: "passed.example.com", InsecureSkipVerify: true})
			}
			return net.Dial("udp", p.addr("SITE"))
		}()
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer c.Close()
			b := make([]byte, 100)
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
				c.SetDeadline(time.Now().Add(patience))
				want := fmt.Sprintf("%d/%d", i, n)
				fmt.Fprint(c, want)
				if k, err := io.ReadAtLeast(c, b, len(want)); err != nil || string(b[:k]) != want {
					t.Errorf("flow %d was cut at %d: %q, %v", i, n, b[:k], err)
					return
				}
				talks.Add(1)
			}
		})
	}
	writes := make(chan struct{})
	go func() {
		defer close(writes)
		for n := range 1000 {
			switch n % 5 {
			case 4:
				p.admin("PUT", "/plugins/5bd9ec5c-b1ff-4f3b-a1f9-1a5d1e1c7d0a", fmt.Sprintf(`{"name":"ip-restriction","config":{"allow":["127.0.0.1","192.0.2.%d"]}}`, n%250), 200)
			case 0:
				p.admin("PUT", "/routes/other", fmt.Sprintf(`{"protocols":["tcp"],"destinations":[{"port":%d}]}`, n+1), 200)
			case 1:
				p.admin("PATCH", "/services/plain", fmt.Sprintf(`{"retries":%d}`, n%10), 200)
			case 2:
				p.admin("DELETE", "/routes/other", "", 204)
			case 3:
				p.admin("PATCH", "/routes/ended", `{"tags":["a"]}`, 200)
			}
		}
	}()
	for range 50 {
		p.reload()
	}
	<-writes
	p.admin("DELETE", "/routes/plain", "", 204)
	p.admin("DELETE", "/routes/datagrams", "", 204)
	p.reload()
	before := talks.Load()
	patient.Until(t, "the flows go on", func() bool { return talks.Load() >= before+2*flows || t.Failed() })
	close(stop)
	wg.Wait()
	if n := strings.Count(p.log.String(), `"handled connection"`); n > 0 {
		t.Logf("%d lines of ended connections", n)
	}
}

// TestStream_conflict: two doors cannot have one address.
func TestStream_conflict(t *testing.T) {
	t.Parallel()
	h := newHome(t, strings.Replace(streaming, "proxy_listen off", "proxy_listen 127.0.0.1:{$PROXY}", 1))
	out, code := h.caddy("validate", "--config", "gateway.caddyfile")
	if want := "asks for the same address"; code == 0 || !strings.Contains(out, want) {
		t.Errorf("exit code %d, want %q in\n%s", code, want, out)
	}
}
