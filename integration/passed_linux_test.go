package integration

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/transparent"
	"github.com/portcullis-gateway/portcullis/transparent/netnstest"
)

// open opens the sockets of a unit on the gateway, in the order of the numbers
// that they will have.
func (i *interceptor) open(addresses ...string) (files []*os.File) {
	i.t.Helper()
	for _, address := range addresses {
		network, address, _ := strings.Cut(address, "/")
		var file *os.File
		var err error
		i.Gateway.Do(func() {
			lc := net.ListenConfig{Control: transparent.AllModes.Control}
			lc.SetMultipathTCP(false)
			var socket interface{ File() (*os.File, error) }
			if network == "tcp" {
				var ln net.Listener
				if ln, err = lc.Listen(context.Background(), network, address); err != nil {
					return
				}
				defer ln.Close()
				socket = ln.(*net.TCPListener)
			} else {
				var c net.PacketConn
				if c, err = lc.ListenPacket(context.Background(), network, address); err != nil {
					return
				}
				defer c.Close()
				socket = c.(*net.UDPConn)
			}
			file, err = socket.File()
		})
		if err != nil {
			i.t.Fatal(err)
		}
		i.t.Cleanup(func() { file.Close() })
		files = append(files, file)
	}
	return files
}

// Sockets that were passed, as systemd does with Transparent=yes, serve a process
// that may do nothing by itself, and reloads keep them.
func TestPassed_noCapabilityAtAll(t *testing.T) {
	needsSetpriv(t)
	const file = `{
	gateway {
		store bolt {$HOME}/gateway.db
	}
	proxy_listen fd/3 transparent, fd/https ssl http2 {
		log
	}
	stream_listen fd/dns udp transparent, fd/both, fd/both udp
	admin_listen 127.0.0.1:{$ADMIN}
	status_listen off
}
`
	i := interceptBy(t, file, func(i *interceptor) *exec.Cmd {
		cmd := without(i.Net, i.home, "-all", []string{"LISTEN_FDS=5", "LISTEN_FDNAMES=http:https:dns:both:both"})
		cmd.ExtraFiles = i.open("tcp/:80", "tcp/:443", "udp/:53", "tcp/10.77.1.1:700", "udp/10.77.1.1:700")
		return cmd
	})
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", i.cmd.Process.Pid)); err != nil || !strings.Contains(string(status), "CapEff:\t0000000000000000") {
		t.Fatalf("the process may do something: %v\n%s", err, status)
	}
	if !strings.Contains(i.log.String(), "datagrams to other ports than 53 are dropped") {
		t.Error("there is no warning that answers may be impossible")
	}
	i.Gateway.RouteMarked("1", "100")
	i.Gateway.Nft(`
table inet gw {
	chain pre {
		type filter hook prerouting priority mangle; policy accept;
		fib daddr type local return
		iifname "g0" tcp dport { 80, 81 } tproxy to :80 meta mark set 1 accept
		iifname "g0" udp dport 53 tproxy to :53 meta mark set 1 accept
		iifname "g0" meta l4proto { tcp, udp } th dport { 53, 80, 81 } drop
	}
}
`)
	serveOn(t, i.Server, netip.MustParseAddrPort("10.77.2.2:9000"), "upstream")
	echoOn(t, i.Server, "10.77.2.2:9000")
	echoTCPOn(t, i.Server, "10.77.2.2:9001")
	i.write("services", map[string]any{"name": "upstream", "url": "http://10.77.2.2:9000"})
	i.write("services/upstream/routes", map[string]any{"name": "port81", "destinations": []any{map[string]any{"ip": "10.77.2.2", "port": 81}}})
	i.write("services/upstream/routes", map[string]any{"name": "tls", "protocols": []string{"https"}, "destinations": []any{map[string]any{"ip": "10.77.1.1", "port": 443}}})
	i.write("services", map[string]any{"name": "dns", "protocol": "udp", "host": "10.77.2.2", "port": 9000})
	i.write("services/dns/routes", map[string]any{"protocols": []string{"udp"}, "destinations": []any{map[string]any{"port": 53}, map[string]any{"port": 700}}})
	i.write("services", map[string]any{"name": "db", "protocol": "tcp", "host": "10.77.2.2", "port": 9001})
	i.write("services/db/routes", map[string]any{"protocols": []string{"tcp"}, "destinations": []any{map[string]any{"ip": "10.77.1.1", "port": 700}}})

	check := func() {
		t.Helper()
		for url, route := range map[string]string{"http://10.77.2.2:81/": "port81", "https://10.77.1.1/": "tls"} {
			if status, body := i.get(t, i.Client, url); body != "upstream" {
				t.Errorf("%s: got %d %s, want the route %s", url, status, body, route)
			}
		}
		for _, to := range []string{"10.77.2.2:53", "[fd77:2::2]:53", "10.77.1.1:53", "10.77.1.1:700"} {
			if got, err := askUDP(t, i.Client, to, "hello", patience); err != nil || got != "10.77.2.2:9000 hello" {
				t.Errorf("%s: got %q, %v", to, got, err)
			}
		}
		var c net.Conn
		var err error
		i.Client.Do(func() { c, err = net.DialTimeout("tcp", "10.77.1.1:700", patience) })
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := speak(t, c, "hello"); got != "hello" {
			t.Errorf("got %q", got)
		}
	}
	check()

	// Reloads under load, with the same binds and with other ones.
	var served, failed atomic.Int64
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		client := clientOn(t, i.Client, false)
		client.Transport.(*http.Transport).DisableKeepAlives = true
		for {
			select {
			case <-done:
				return
			default:
			}
			resp, err := client.Get("http://10.77.2.2:81/")
			if err != nil || resp.StatusCode != http.StatusOK {
				failed.Add(1)
				continue
			}
			resp.Body.Close()
			served.Add(1)
		}
	}()
	for _, text := range []string{
		strings.Replace(file, "\t\tlog\n", "", 1),
		strings.Replace(file, "fd/3 transparent", "fd/http transparent=tproxy", 1),
		file,
	} {
		i.reload(text)
		before := served.Load()
		patient.Until(t, "ten more requests get through", func() bool { return served.Load() >= before+10 || failed.Load() > 0 })
	}
	close(done)
	<-stopped
	if failed.Load() > 0 {
		t.Errorf("%d of %d requests failed", failed.Load(), failed.Load()+served.Load())
	}
	check()
}

// What is wrong with a socket that was passed, or was not, is told at the start.
func TestPassed_errors(t *testing.T) {
	needsSetpriv(t)
	off := "\tadmin_listen off\n\tstatus_listen off\n"
	for name, tt := range map[string]struct {
		listen string
		plain  bool // the sockets are not transparent, and the first one speaks Multipath TCP
		want   []string
	}{
		"nobody passed it":    {"proxy_listen fd/9", false, []string{"listen fd/9", "no socket of that number"}},
		"no such name":        {"proxy_listen fd/web", false, []string{"listen fd/web", "no socket of that name was passed; there are: http, dns, db"}},
		"datagrams wanted":    {"proxy_listen off\n\tstream_listen fd/3 udp", false, []string{"listen fd/3", "ListenDatagram="}},
		"connections wanted":  {"proxy_listen fd/dns", false, []string{"listen fd/dns", "ListenStream="}},
		"multipath":           {"proxy_listen fd/http transparent", true, []string{"listen fd/http", `flag \"transparent\"`, "Multipath TCP"}},
		"not transparent":     {"proxy_listen fd/db transparent", true, []string{"listen fd/db", `flag \"transparent\"`, "CAP_NET_RAW", "Transparent=yes"}},
		"not transparent udp": {"proxy_listen off\n\tstream_listen fd/dns udp transparent", true, []string{"listen fd/dns", `flag \"transparent\"`, "CAP_NET_RAW"}},
	} {
		t.Run(name, func(t *testing.T) {
			i := &interceptor{Net: netnstest.New(t), t: t, home: newHome(t, "{\n\t"+tt.listen+"\n"+off+"}\n")}
			cmd := without(i.Net, i.home, "-all", []string{"LISTEN_FDS=3", "LISTEN_FDNAMES=http:dns:db"})
			if tt.plain {
				cmd.ExtraFiles = i.openPlain()
			} else {
				cmd.ExtraFiles = i.open("tcp/:80", "udp/:53", "tcp/:81")
			}
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatal("the gateway ran")
			}
			for _, want := range tt.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("the output does not tell %q:\n%s", want, out)
				}
			}
		})
	}
}

// openPlain opens sockets that are not transparent: of Multipath TCP, UDP and TCP.
func (i *interceptor) openPlain() []*os.File {
	i.t.Helper()
	var files []*os.File
	i.Gateway.Do(func() {
		var lc net.ListenConfig
		lc.SetMultipathTCP(true)
		multipath, err := lc.Listen(context.Background(), "tcp4", "10.77.1.1:80")
		if err != nil {
			i.t.Error(err)
			return
		}
		defer multipath.Close()
		lc.SetMultipathTCP(false)
		ln, err := lc.Listen(context.Background(), "tcp4", "10.77.1.1:81")
		if err != nil {
			i.t.Error(err)
			return
		}
		defer ln.Close()
		c, err := net.ListenPacket("udp4", "10.77.1.1:53")
		if err != nil {
			i.t.Error(err)
			return
		}
		defer c.Close()
		for _, s := range []interface{ File() (*os.File, error) }{multipath.(*net.TCPListener), c.(*net.UDPConn), ln.(*net.TCPListener)} {
			f, err := s.File()
			if err != nil {
				i.t.Error(err)
				return
			}
			i.t.Cleanup(func() { f.Close() })
			files = append(files, f)
		}
	})
	if i.t.Failed() {
		i.t.FailNow()
	}
	return files
}

// Either of two capabilities is enough for all that is transparent, along with
// the one that ports below 1024 need anyway.
func TestTransparent_oneCapabilityIsEnough(t *testing.T) {
	needsSetpriv(t)
	for _, capability := range []string{"net_raw", "net_admin"} {
		t.Run(capability, func(t *testing.T) {
			t.Run("connections", func(t *testing.T) { connectionsWith(t, "-all,+"+capability) })
			i := interceptBy(t, `{
	gateway {
		store bolt {$HOME}/gateway.db
	}
	proxy_listen 0.0.0.0:8000 transparent, 0.0.0.0:8443 ssl http3 transparent
	stream_listen 0.0.0.0:9053 udp transparent
	admin_listen 127.0.0.1:{$ADMIN}
	status_listen off
}
`, func(i *interceptor) *exec.Cmd {
				return without(i.Net, i.home, "-all,+net_bind_service,+"+capability, nil)
			})
			i.Gateway.RouteMarked("1", "100")
			i.Gateway.Nft(interceptorRules)
			i.Gateway.Nft(strings.Replace(udpRules, "table inet gw", "table inet gwudp", 1))
			i.Gateway.Nft(strings.Replace(quicRules, "table inet gw", "table inet gwquic", 1))
			serveOn(t, i.Server, netip.MustParseAddrPort("10.77.2.2:9000"), "upstream")
			echoOn(t, i.Server, "10.77.2.2:9000")
			i.write("services", map[string]any{"name": "upstream", "url": "http://10.77.2.2:9000"})
			i.write("services/upstream/routes", map[string]any{"destinations": []any{map[string]any{"ip": "10.77.2.2"}}})
			i.write("services", map[string]any{"name": "dns", "protocol": "udp", "host": "10.77.2.2", "port": 9000})
			i.write("services/dns/routes", map[string]any{"protocols": []string{"udp"}, "destinations": []any{map[string]any{"ip": "10.77.2.2"}}})
			for url, client := range map[string]*http.Client{
				"http://10.77.2.2/": clientOn(t, i.Client, false), "https://10.77.2.2:443/": quicOn(t, i.Client),
			} {
				if _, body, err := fetch(client, url); err != nil || body != "upstream" {
					t.Errorf("%s: got %s, %v", url, body, err)
				}
			}
			if got, err := askUDP(t, i.Client, "10.77.2.2:53", "hello", patience); err != nil || got != "10.77.2.2:9000 hello" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// connectionsWith intercepts a request with these capabilities alone.
func connectionsWith(t *testing.T, capabilities string) {
	file := strings.ReplaceAll(interceptorFile, "store memory", "store bolt {$HOME}/gateway.db")
	i := interceptBy(t, file, func(i *interceptor) *exec.Cmd { return without(i.Net, i.home, capabilities, nil) })
	i.Gateway.RouteMarked("1", "100")
	i.Gateway.Nft(interceptorRules)
	serveOn(t, i.Server, netip.MustParseAddrPort("10.77.2.2:9000"), "upstream")
	i.write("services", map[string]any{"name": "upstream", "url": "http://10.77.2.2:9000"})
	i.write("services/upstream/routes", map[string]any{"destinations": []any{map[string]any{"ip": "10.77.2.2", "port": 80}}})
	if status, body := i.get(t, i.Client, "http://10.77.2.2/"); body != "upstream" {
		t.Errorf("got %d %s", status, body)
	}
}

// The example units are what systemd takes.
func TestExamples_systemd(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("needs systemd-analyze (Debian: apt-get install systemd)")
	}
	units, err := filepath.Glob("../examples/systemd/*")
	if err != nil || len(units) == 0 {
		t.Fatalf("no units found: %v", err)
	}
	dir := t.TempDir()
	var paths []string
	for _, unit := range units {
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.Base(unit))
		// It wants to see the program.
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "/usr/bin/caddy", "/bin/true")), 0o644); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	cmd := exec.CommandContext(t.Context(), "systemd-analyze", append([]string{"verify", "--man=no"}, paths...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "portcullis") {
		t.Errorf("%v\n%s", err, out)
	}
}
