package serve

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	proxyproto "github.com/pires/go-proxyproto"

	"github.com/portcullis-gateway/portcullis/modules/listen"
)

// addresses answers with what a handler sees of the connection.
func addresses(w http.ResponseWriter, r *http.Request) {
	c := ConnFrom(r.Context())
	source, destination, ok := c.Proxied()
	fmt.Fprintf(w, "%v %v %v", source, destination, ok)
	if r.RemoteAddr != c.Peer().String() {
		fmt.Fprintf(w, " RemoteAddr=%s", r.RemoteAddr)
	}
}

// ask sends a PROXY header and a request, and returns the body of the answer.
func ask(t *testing.T, f *fixture, header []byte) (string, error) {
	t.Helper()
	c := f.dial()
	if _, err := c.Write(header); err != nil {
		return "", err
	}
	if f.cfg.Bind.SSL {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func header(t *testing.T, version byte, command proxyproto.ProtocolVersionAndCommand, source, destination string) []byte {
	t.Helper()
	h := &proxyproto.Header{Version: version, Command: command, TransportProtocol: proxyproto.UNSPEC}
	if source != "" {
		h.SourceAddr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(source))
		h.DestinationAddr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(destination))
		h.TransportProtocol = proxyproto.TCPv4
		if netip.MustParseAddrPort(source).Addr().Is6() {
			h.TransportProtocol = proxyproto.TCPv6
		}
	}
	text, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestProxyProtocol(t *testing.T) {
	const nothing = "invalid AddrPort invalid AddrPort false"
	v4 := header(t, 1, proxyproto.PROXY, "192.0.2.1:1234", "198.51.100.2:80")
	for _, tt := range []struct {
		name, flags string
		header      []byte
		want        string // empty: the connection is closed without an answer
	}{
		{"version 1", "", v4, "192.0.2.1:1234 198.51.100.2:80 true"},
		{"version 1, ipv6", "", header(t, 1, proxyproto.PROXY, "[2001:db8::1]:1", "[2001:db8::2]:2"), "[2001:db8::1]:1 [2001:db8::2]:2 true"},
		{"version 1, unknown", "", []byte("PROXY UNKNOWN\r\n"), nothing},
		{"version 2", "", header(t, 2, proxyproto.PROXY, "192.0.2.1:1234", "198.51.100.2:80"), "192.0.2.1:1234 198.51.100.2:80 true"},
		{"version 2, ipv6", "", header(t, 2, proxyproto.PROXY, "[2001:db8::1]:1", "[2001:db8::2]:2"), "[2001:db8::1]:1 [2001:db8::2]:2 true"},
		{"version 2, a load balancer's health check", "", header(t, 2, proxyproto.LOCAL, "", ""), nothing},
		{"in front of tls", "ssl", v4, "192.0.2.1:1234 198.51.100.2:80 true"},
		{"in front of tls that offers h2", "ssl http2", v4, "192.0.2.1:1234 198.51.100.2:80 true"},
		{"in front of http/1.1 on an h2c port", "http2", v4, "192.0.2.1:1234 198.51.100.2:80 true"},
		{"missing", "", nil, ""},
		{"missing in front of tls", "ssl", nil, ""},
		{"malformed", "", []byte("PROXY TCP4 192.0.2.1\r\n"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, "proxy_protocol "+tt.flags, Generation{Handler: http.HandlerFunc(addresses)})
			got, err := ask(t, f, tt.header)
			if got != tt.want || (err != nil) != (tt.want == "") {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func TestProxyProtocol_untrustedPeerIsHeardButNotBelieved(t *testing.T) {
	peers := make(chan netip.Addr, 1)
	f := start(t, "proxy_protocol", Generation{
		Handler: http.HandlerFunc(addresses),
		Trusted: func(peer netip.Addr) bool { peers <- peer; return false },
	})
	v4 := header(t, 1, proxyproto.PROXY, "192.0.2.1:1234", "198.51.100.2:80")
	if got, err := ask(t, f, v4); err != nil || got != "invalid AddrPort invalid AddrPort false" {
		t.Errorf("got %q, %v; want no addresses", got, err)
	}
	if peer := <-peers; peer != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("asked about %v, want 127.0.0.1", peer)
	}
	f.open(Generation{Handler: http.HandlerFunc(addresses), Trusted: func(netip.Addr) bool { return true }})
	if got, err := ask(t, f, v4); err != nil || got != "192.0.2.1:1234 198.51.100.2:80 true" {
		t.Errorf("with a generation that trusts the peer, got %q, %v", got, err)
	}
}

func TestProxyProtocol_silentPeerIsClosed(t *testing.T) {
	for _, flags := range []string{"", "ssl"} {
		t.Run(flags, func(t *testing.T) {
			f := &fixture{t: t, cfg: Config{
				Option: t.Name(), ReadHeaderTimeout: 50 * time.Millisecond,
				Bind: listen.Bind{Address: "127.0.0.1", ProxyProtocol: true, SSL: flags == "ssl"},
			}}
			l := f.open(Generation{Handler: says("")})
			f.cfg.Bind.Port = l.Addrs()[0].Port()
			if got, err := io.ReadAll(f.dial()); err != nil || len(got) != 0 {
				t.Errorf("got %q, %v; want the connection closed", got, err)
			}
		})
	}
}

func TestProxyProtocol_slowPeersDoNotHoldUpOthers(t *testing.T) {
	f := start(t, "proxy_protocol", Generation{Handler: http.HandlerFunc(addresses)})
	for range 10 {
		io.WriteString(f.dial(), "PROXY ")
	}
	if _, err := ask(t, f, header(t, 2, proxyproto.LOCAL, "", "")); err != nil {
		t.Error(err)
	}
}
