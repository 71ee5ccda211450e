package integration

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/portcullis-gateway/portcullis/transparent/netnstest"
)

// listenOn listens on a host.
func listenOn(t testing.TB, h interface{ Do(func()) }, at netip.AddrPort) (ln net.Listener) {
	t.Helper()
	h.Do(func() {
		var err error
		if ln, err = net.Listen("tcp", at.String()); err != nil {
			t.Error(err)
		}
	})
	if ln == nil {
		t.FailNow()
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// serveOn runs an HTTP server on a host that answers its name.
func serveOn(t *testing.T, h *netnstest.Host, at netip.AddrPort, name string) {
	t.Helper()
	serveHTTPOn(t, h, at, false, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, name) })
}

// serveSeen runs an HTTP server that answers the address it sees.
func serveSeen(t testing.TB, h *netnstest.Host, at netip.AddrPort, secure bool) {
	t.Helper()
	serveHTTPOn(t, h, at, secure, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) })
}

func serveHTTPOn(t testing.TB, h *netnstest.Host, at netip.AddrPort, secure bool, answer http.HandlerFunc) {
	t.Helper()
	s := httptest.NewUnstartedServer(answer)
	s.Listener.Close()
	s.Listener = listenOn(t, h, at)
	if secure {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
}

// echoTCPOn answers connections on a host with what they say.
func echoTCPOn(t *testing.T, h interface{ Do(func()) }, at string) {
	t.Helper()
	serveEach(listenOn(t, h, netip.MustParseAddrPort(at)), func(c net.Conn) { _, _ = io.Copy(c, c) })
}

// echoOn answers datagrams on a host with who sent them and what they said.
func echoOn(t *testing.T, h *netnstest.Host, at string) {
	t.Helper()
	var c net.PacketConn
	var err error
	h.Do(func() { c, err = net.ListenPacket("udp", at) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 65535)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(fmt.Appendf(nil, "%s %s", at, buf[:n]), from)
		}
	}()
}

// clientOn is a client on a host that does not mind certificates.
func clientOn(t *testing.T, h *netnstest.Host, http2 bool) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2)
	transport := &http.Transport{
		Protocols:       protocols,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(_ context.Context, network, address string) (c net.Conn, err error) {
			h.Do(func() { c, err = net.DialTimeout(network, address, patience) })
			return c, err
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// quicOn is a client of HTTP/3 on a host.
func quicOn(t *testing.T, h *netnstest.Host) *http.Client {
	tr := &http3.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		Dial: func(ctx context.Context, addr string, tlsConfig *tls.Config, cfg *quic.Config) (*quic.Conn, error) {
			var c *net.UDPConn
			var err error
			h.Do(func() { c, err = net.ListenUDP("udp", nil) })
			if err != nil {
				return nil, err
			}
			t.Cleanup(func() { c.Close() })
			to, err := net.ResolveUDPAddr("udp", addr)
			if err != nil {
				return nil, err
			}
			return (&quic.Transport{Conn: c}).DialEarly(ctx, to, tlsConfig, cfg)
		},
	}
	t.Cleanup(func() { tr.Close() })
	return &http.Client{Transport: tr, Timeout: patience}
}

// fetch asks for a page, and reads the answer to its end.
func fetch(client *http.Client, url string) (*http.Response, string, error) {
	resp, err := client.Get(url)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// get asks from a host on a connection of its own.
func (i *interceptor) get(t *testing.T, from *netnstest.Host, url string) (int, string) {
	t.Helper()
	client := clientOn(t, from, false)
	defer client.CloseIdleConnections()
	resp, body, err := fetch(client, url)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

// askUDP sends a datagram from a host and answers what came back; the socket is
// connected, so it hears only the address that it asked.
func askUDP(t *testing.T, h *netnstest.Host, to, text string, wait time.Duration) (string, error) {
	t.Helper()
	var c net.Conn
	var err error
	h.Do(func() { c, err = net.Dial("udp", to) })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(wait))
	if _, err := c.Write([]byte(text)); err != nil {
		return "", err
	}
	buf := make([]byte, 65535)
	n, err := c.Read(buf)
	return string(buf[:n]), err
}

func needsSetpriv(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("setpriv"); err != nil {
		t.Skip("needs setpriv (Debian: apt-get install util-linux)")
	}
}

// without prepares a run of the gateway on the host in the middle that lacks
// capabilities, as setpriv writes them.
func without(n *netnstest.Net, h *home, capabilities string, env []string) *exec.Cmd {
	outside := h.command("run", "--config", "gateway.caddyfile")
	// LISTEN_PID is that of the process that env is for.
	script := `export LISTEN_PID=$$; exec "$@"`
	args := []string{"--bounding-set", capabilities, "--inh-caps", capabilities, "sh", "-c", script, "sh", outside.Path}
	cmd := n.Gateway.Command("setpriv", append(args, outside.Args[1:]...)...)
	cmd.Dir, cmd.Env = outside.Dir, append(outside.Env, env...)
	return cmd
}

// refusesWithout makes sure that the gateway does not start without capabilities,
// and says why.
func refusesWithout(t *testing.T, capabilities, caddyfile string, words ...string) {
	t.Helper()
	needsSetpriv(t)
	out, err := without(netnstest.New(t), newHome(t, caddyfile), capabilities, nil).CombinedOutput()
	if err == nil {
		t.Fatal("the gateway ran")
	}
	for _, want := range words {
		if !strings.Contains(string(out), want) {
			t.Errorf("the output does not tell %q:\n%s", want, out)
		}
	}
}
