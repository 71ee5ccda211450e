package transparent_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/transparent"
	"github.com/portcullis-gateway/portcullis/transparent/netnstest"
)

// rules divert the ports 80 and 8080 by TPROXY and 81 by REDIRECT.
const rules = `
table inet gw {
	chain pre {
		type filter hook prerouting priority mangle; policy accept;
		fib daddr type local return
		iifname "g0" tcp dport { 80, 8080 } tproxy to :8080 meta mark set 1 accept
		iifname "g0" tcp dport { 80, 8080 } drop
	}
}
table ip gwnat {
	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		iifname "g0" tcp dport 81 redirect to :8080
	}
}
table ip6 gwnat6 {
	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		iifname "g0" tcp dport 81 redirect to :8080
	}
}
`

// listen opens a listener on the gateway.
func listen(t *testing.T, n *netnstest.Net, address string, modes transparent.Modes, required bool) net.Listener {
	t.Helper()
	var ln net.Listener
	n.Gateway.Do(func() {
		lc := net.ListenConfig{Control: modes.Control}
		lc.SetMultipathTCP(false)
		var err error
		if ln, err = lc.Listen(context.Background(), "tcp", address); err != nil {
			t.Error(err)
		}
	})
	if ln == nil {
		t.FailNow()
	}
	t.Cleanup(func() { ln.Close() })
	return transparent.NewListener(ln, modes, required, zap.NewNop())
}

// accept takes the next connection, on the gateway: which addresses are the
// host's own depends on who asks.
func accept(n *netnstest.Net, ln net.Listener) (c net.Conn, err error) {
	n.Gateway.Do(func() { c, err = ln.Accept() })
	return c, err
}

// dial connects from the client.
func dial(t *testing.T, n *netnstest.Net, to netip.AddrPort) (c net.Conn, err error) {
	t.Helper()
	n.Client.Do(func() { c, err = net.DialTimeout("tcp", to.String(), 20*time.Second) })
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

func TestListener_tellsHowAConnectionArrived(t *testing.T) {
	n := netnstest.New(t)
	n.Gateway.RouteMarked("1", "100")
	n.Gateway.Nft(rules)
	ln := listen(t, n, ":8080", transparent.AllModes, false)

	for _, tt := range []struct {
		name string
		to   netip.AddrPort
		how  transparent.How
	}{
		{"tproxy", netip.AddrPortFrom(netnstest.Server4, 80), transparent.TPROXY},
		{"tproxy v6", netip.AddrPortFrom(netnstest.Server6, 80), transparent.TPROXY},
		{"tproxy to the listener's own port", netip.AddrPortFrom(netnstest.Server4, 8080), transparent.TPROXY},
		{"tproxy v6 to the listener's own port", netip.AddrPortFrom(netnstest.Server6, 8080), transparent.TPROXY},
		{"redirect", netip.AddrPortFrom(netnstest.Server4, 81), transparent.Redirect},
		{"redirect v6", netip.AddrPortFrom(netnstest.Server6, 81), transparent.Redirect},
		{"direct", netip.AddrPortFrom(netnstest.GatewayIn4, 8080), transparent.Direct},
		{"direct v6", netip.AddrPortFrom(netnstest.GatewayIn6, 8080), transparent.Direct},
		{"redirect of the gateway's own address", netip.AddrPortFrom(netnstest.GatewayOut4, 81), transparent.Redirect},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, err := dial(t, n, tt.to)
			if err != nil {
				t.Fatal(err)
			}
			c, err := accept(n, ln)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			a, ok := transparent.ArrivalOf(c)
			if !ok || a.How != tt.how || a.Destination != tt.to {
				t.Errorf("got %v to %v, want %v to %v", a.How, a.Destination, tt.how, tt.to)
			}
			if got := c.LocalAddr().String(); got != tt.to.String() {
				t.Errorf("got LocalAddr %s, want %s", got, tt.to)
			}
			if got, want := c.RemoteAddr().String(), client.LocalAddr().String(); got != want {
				t.Errorf("got RemoteAddr %s, want %s", got, want)
			}
			// The answer has to come from the address that was asked for.
			if _, err := fmt.Fprint(c, "hi"); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 2)
			_ = client.SetReadDeadline(time.Now().Add(20 * time.Second))
			if _, err := client.Read(buf); err != nil || string(buf) != "hi" {
				t.Errorf("the client got %q, %v", buf, err)
			}
		})
	}
}

func TestListener_boundToOneAddress(t *testing.T) {
	n := netnstest.New(t)
	n.Gateway.RouteMarked("1", "100")
	n.Gateway.Nft(rules)
	ln := listen(t, n, "10.77.1.1:8080", transparent.AllModes, false)
	to := netip.AddrPortFrom(netnstest.Server4, 8080)
	if _, err := dial(t, n, to); err != nil {
		t.Fatal(err)
	}
	c, err := accept(n, ln)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if a, _ := transparent.ArrivalOf(c); a != (transparent.Arrival{How: transparent.TPROXY, Destination: to}) {
		t.Errorf("got %v", a)
	}
}

func TestListener_interceptedOnly(t *testing.T) {
	n := netnstest.New(t)
	n.Gateway.RouteMarked("1", "100")
	n.Gateway.Nft(rules)
	ln := listen(t, n, ":8080", transparent.AllModes, true)
	accepted := make(chan net.Conn, 2)
	go func() {
		for {
			c, err := accept(n, ln)
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	direct, err := dial(t, n, netip.AddrPortFrom(netnstest.GatewayIn4, 8080))
	if err == nil { // the handshake is over before the listener sees it
		_ = direct.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err = direct.Read(make([]byte, 1)); err == nil {
			t.Error("a direct connection was served")
		}
	}
	to := netip.AddrPortFrom(netnstest.Server4, 81)
	if _, err := dial(t, n, to); err != nil {
		t.Fatal(err)
	}
	c := <-accepted
	defer c.Close()
	if got := c.LocalAddr().String(); got != to.String() {
		t.Errorf("got a connection to %s, want %s", got, to)
	}
}

// A connection of Multipath TCP that was redirected is one of which the kernel
// does not tell; a listener of this package refuses the multipath, so that the
// client falls back and the kernel tells.
func TestListener_multipathClientFallsBack(t *testing.T) {
	n := netnstest.New(t)
	n.Gateway.Nft(rules)
	ln := listen(t, n, ":8080", transparent.ModeRedirect, true)
	to := netip.AddrPortFrom(netnstest.Server4, 81)
	var client net.Conn
	var err error
	n.Client.Do(func() {
		d := net.Dialer{Timeout: 20 * time.Second}
		d.SetMultipathTCP(true)
		client, err = d.Dial("tcp", to.String())
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := accept(n, ln)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if a, _ := transparent.ArrivalOf(c); a != (transparent.Arrival{How: transparent.Redirect, Destination: to}) {
		t.Errorf("got %v", a)
	}
}
