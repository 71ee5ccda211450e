package outlet_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/portcullis-gateway/portcullis/modules/outlet"
	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/modules/ports"
)

func try(t *testing.T, config string) (*outlet.Transport, error) {
	t.Helper()
	tr := new(outlet.Transport)
	if err := json.Unmarshal([]byte(config), tr); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	err := tr.Provision(ctx)
	t.Cleanup(func() { tr.Cleanup() })
	return tr, err
}

func provision(t *testing.T, config string) *outlet.Transport {
	t.Helper()
	tr, err := try(t, config)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// A reply is what a server says of a request.
type reply struct {
	From    netip.AddrPort
	Host    string
	Name    string // of the server, in TLS
	Version string
}

// seen makes a server that says what it sees of requests.
func seen(w http.ResponseWriter, r *http.Request) {
	a := reply{From: netip.MustParseAddrPort(r.RemoteAddr), Host: r.Host, Version: r.Proto}
	if r.TLS != nil {
		a.Name = r.TLS.ServerName
	}
	json.NewEncoder(w).Encode(a)
}

func server(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(seen))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// ask sends a request as reverse_proxy would: to an address, for a client. For an
// upstream of another network, that and the address there follow.
func ask(tr http.RoundTripper, to, client string, upstream ...string) (reply, error) {
	ctx := context.WithValue(context.Background(), caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: client})
	if len(upstream) == 2 {
		ctx = context.WithValue(ctx, caddy.CtxKey("reverse_proxy.dial_info"), reverseproxy.DialInfo{Network: upstream[0], Address: upstream[1]})
	}
	r, err := http.NewRequestWithContext(ctx, "GET", "//"+to+"/", nil)
	if err != nil {
		return reply{}, err
	}
	r.Host = "site.example"
	resp, err := tr.RoundTrip(r)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	var a reply
	err = json.NewDecoder(resp.Body).Decode(&a)
	io.Copy(io.Discard, resp.Body)
	return a, err
}

// mustAsk does so, and the answer has to come.
func mustAsk(t *testing.T, tr http.RoundTripper, to, client string, upstream ...string) reply {
	t.Helper()
	a, err := ask(tr, to, client, upstream...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestSource_withoutOneAllShareTheirConnections(t *testing.T) {
	tr, to := provision(t, `{}`), server(t)
	first := mustAsk(t, tr, to, "192.0.2.1")
	if second := mustAsk(t, tr, to, "192.0.2.2"); second.From != first.From {
		t.Errorf("two clients came from %s and %s, want one connection", first.From, second.From)
	}
	if first.Host != "site.example" || first.Version != "HTTP/1.1" {
		t.Errorf("got %+v", first)
	}
}

// TestSource_ofTheClientDecides: of a range, the client's address says which one is
// used, and a connection that is idle is for the same client again.
func TestSource_ofTheClientDecides(t *testing.T) {
	loopbackRange(t)
	tr, to := provision(t, `{"source": ["127.0.0.16/28"]}`), server(t)
	clients := []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "2001:db8::1"}
	first := map[string]netip.AddrPort{}
	used := map[netip.Addr]bool{}
	for range 3 {
		for _, c := range clients {
			a := mustAsk(t, tr, to, c)
			if !netip.MustParsePrefix("127.0.0.16/28").Contains(a.From.Addr()) {
				t.Errorf("%s came from %s", c, a.From)
			}
			if was, ok := first[c]; ok && was != a.From {
				t.Errorf("%s came from %s and then from %s", c, was, a.From)
			}
			first[c] = a.From
			used[a.From.Addr()] = true
		}
	}
	if len(used) < 2 {
		t.Errorf("all clients came from %v", used)
	}
}

func TestSource_hasToBeOfTheFamily(t *testing.T) {
	tr, to := provision(t, `{"source": ["2001:db8::1"]}`), server(t)
	if _, err := ask(tr, to, "192.0.2.1"); err == nil || !strings.Contains(err.Error(), "IPv4") {
		t.Errorf("an IPv6 source for IPv4: %v", err)
	}
}

// TestGuard judges where clients want to go. What was refused may be tried
// elsewhere: nothing was sent.
func TestGuard(t *testing.T) {
	to := server(t)
	port := to[strings.LastIndex(to, ":"):]
	for _, tt := range []struct {
		name, config, to string
		want             string // in the error; "": it works
	}{
		{"none", `{}`, to, ""},
		{"loopback", `{"guard": true}`, to, "loopback"},
		{"loopback, by name", `{"guard": true}`, "localhost" + port, "loopback"},
		{"allowed", `{"allow": ["127.0.0.0/8"]}`, to, ""},
		{"denied within", `{"allow": ["127.0.0.0/8"], "deny": ["127.0.0.1"]}`, to, "127.0.0.1"},
		{"deny is enough", `{"deny": ["192.0.2.0/24"]}`, to, "loopback"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ask(provision(t, tt.config), tt.to, "192.0.2.1")
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var dial reverseproxy.DialError
			if !errors.As(err, &dial) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want a reverseproxy.DialError that says %q", err, tt.want)
			}
		})
	}
}

func TestDial_saysThatNothingWasSent(t *testing.T) {
	var dial reverseproxy.DialError
	to := fmt.Sprintf("127.0.0.1:%d", ports.Dead(t))
	if _, err := ask(provision(t, `{}`), to, "192.0.2.1"); !errors.As(err, &dial) {
		t.Errorf("got %v", err)
	}
}

// TestUnix: what has no IP address has no source, and cannot be judged.
func TestUnix(t *testing.T) {
	file := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", file)
	if err != nil {
		t.Skipf("needs Unix sockets: %v", err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = "127.0.0.1:1"
		seen(w, r)
	})}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	mustAsk(t, provision(t, `{}`), "upstream:80", "192.0.2.1", "unix", file)
	for _, config := range []string{`{"guard": true}`, `{"source": ["127.0.0.1"]}`} {
		if _, err := ask(provision(t, config), "upstream:80", "192.0.2.1", "unix", file); err == nil || !strings.Contains(err.Error(), "no IP address") {
			t.Errorf("%s: got %v", config, err)
		}
	}
}

// TestTLS: the name of the server is that of the upstream, however the pools of
// connections are kept apart.
func TestTLS(t *testing.T) {
	loopbackRange(t)
	s := httptest.NewUnstartedServer(http.HandlerFunc(seen))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	to := strings.TrimPrefix(s.URL, "https://")
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	named := "localhost" + to[strings.LastIndex(to, ":"):]
	ca := `"ca": {"provider": "file", "pem_files": ["` + roots + `"]}`
	for _, tt := range []struct {
		name, config, to, server, version, err string
	}{
		{"by address", `{"source": ["127.0.0.2"], "http": {"tls": {` + ca + `}}}`, to, "", "HTTP/2.0", ""},
		{"version 1", `{"source": ["127.0.0.2"], "http": {"versions": ["1.1"], "tls": {` + ca + `}}}`, to, "", "HTTP/1.1", ""},
		{"a name of choice", `{"source": ["127.0.0.2"], "http": {"tls": {"server_name": "example.com", ` + ca + `}}}`, to, "example.com", "HTTP/2.0", ""},
		{"by name", `{"source": ["127.0.0.2"], "http": {"tls": {"insecure_skip_verify": true}}}`, named, "localhost", "HTTP/2.0", ""},
		{"another name", `{"source": ["127.0.0.2"], "http": {"tls": {` + ca + `}}}`, named, "", "", "not localhost"},
		{"not trusted", `{"source": ["127.0.0.2"], "http": {"tls": {}}}`, to, "", "", "unknown authority"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := provision(t, tt.config)
			first, err := ask(tr, tt.to, "192.0.2.1")
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if first.Name != tt.server || first.Version != tt.version || first.From.Addr().String() != "127.0.0.2" {
				t.Errorf("the server saw %+v", first)
			}
			if again := mustAsk(t, tr, tt.to, "192.0.2.1"); again.From != first.From {
				t.Errorf("the connection was not used again: %s, then %s", first.From, again.From)
			}
			if other := mustAsk(t, tr, tt.to, "192.0.2.2"); other.From == first.From {
				t.Error("two clients had one connection")
			}
		})
	}
}

// TestTLS_handshakeHasALimit: a server that accepts and says nothing is left alone
// in time.
func TestTLS_handshakeHasALimit(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	left := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			left <- err
			return
		}
		defer c.Close()
		_, err = io.Copy(io.Discard, c)
		left <- err
	}()
	tr := provision(t, `{"http": {"tls": {"handshake_timeout": "50ms"}}}`)
	if _, err := ask(tr, l.Addr().String(), "192.0.2.1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	select {
	case err := <-left:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patient.Limit):
		t.Error("the connection was kept")
	}
}

func TestProvision_refuses(t *testing.T) {
	for config, want := range map[string]string{
		`{"source": ["here"]}`:                                 "source: ",
		`{"source": ["192.0.2.0/33"]}`:                         "source: ",
		`{"allow": ["localhost"]}`:                             "allow: ",
		`{"deny": ["10.0.0.0/8", "x"]}`:                        "deny: ",
		`{"http": {"proxy_protocol": "v2"}}`:                   "http: proxy_protocol cannot",
		`{"http": {"network_proxy": {"from": "none"}}}`:        "http: network_proxy cannot",
		`{"http": {"forward_proxy_url": "http://p"}}`:          "http: forward_proxy_url cannot",
		`{"http": {"local_address": "127.0.0.1"}}`:             "http: local_address cannot",
		`{"http": {"resolver": {"addresses": ["127.0.0.1"]}}}`: "http: resolver cannot",
		`{"http": {"versions": ["3"]}}`:                        "http: versions 3 cannot",
		`{"http": {"tls": {"server_name": "{host}"}}}`:         "http: a placeholder in the name of the TLS server cannot",
	} {
		if _, err := try(t, config); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
}

// loopbackRange skips where only 127.0.0.1 is an address of the loopback interface.
func loopbackRange(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Skip("needs 127.0.0.2 on the loopback interface, as on Linux (elsewhere: ifconfig lo0 alias 127.0.0.2)")
	}
	l.Close()
}
