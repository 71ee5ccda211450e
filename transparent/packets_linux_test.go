package transparent_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/transparent"
	"github.com/portcullis-gateway/portcullis/transparent/netnstest"
)

// packetRules divert the ports 53, 54 and 9053.
const packetRules = `
table inet gw {
	chain pre {
		type filter hook prerouting priority mangle; policy accept;
		fib daddr type local return
		iifname "g0" udp dport { 53, 54, 9053 } tproxy to :9053 meta mark set 1 accept
		iifname "g0" udp dport { 53, 54, 9053 } drop
	}
}
`

// packetListener opens one on the gateway.
func packetListener(t *testing.T, n *netnstest.Net, required bool) *transparent.PacketListener {
	t.Helper()
	var c net.PacketConn
	var err error
	n.Gateway.Do(func() {
		lc := net.ListenConfig{Control: transparent.ControlPackets}
		c, err = lc.ListenPacket(context.Background(), "udp", "[::]:9053")
	})
	if err != nil {
		t.Fatal(err)
	}
	ln := transparent.NewPacketListener(c.(*net.UDPConn), c, required, zap.NewNop())
	t.Cleanup(func() { ln.Close() })
	return ln
}

// dialPackets makes a socket on the client that hears one address only.
func dialPackets(t *testing.T, n *netnstest.Net, from *net.UDPAddr, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	var err error
	n.Client.Do(func() { c, err = net.DialUDP("udp", from, net.UDPAddrFromAddrPort(to)) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

func TestPacketListener_answersLeaveFromWhereTheClientSentTo(t *testing.T) {
	n := netnstest.New(t)
	n.Gateway.RouteMarked("1", "100")
	n.Gateway.Nft(packetRules)
	ln := packetListener(t, n, false)
	for _, tt := range []struct {
		name string
		to   string
		how  transparent.How
	}{
		{"v4", "10.77.2.2:53", transparent.TPROXY},
		{"v6", "[fd77:2::2]:53", transparent.TPROXY},
		{"the listener's own port", "10.77.2.2:9053", transparent.TPROXY},
		{"the listener's own port, v6", "[fd77:2::2]:9053", transparent.TPROXY},
		{"an address that nobody has", "10.77.2.99:53", transparent.TPROXY},
		{"direct", "10.77.1.1:9053", transparent.Direct},
		{"direct to the other address", "10.77.2.1:9053", transparent.Direct},
		{"direct v6", "[fd77:1::1]:9053", transparent.Direct},
	} {
		t.Run(tt.name, func(t *testing.T) {
			to := netip.MustParseAddrPort(tt.to)
			client := dialPackets(t, n, nil, to)
			fmt.Fprint(client, "ping")
			c, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if c.LocalAddr().String() != tt.to || c.RemoteAddr().String() != client.LocalAddr().String() {
				t.Errorf("got a flow from %v to %v", c.RemoteAddr(), c.LocalAddr())
			}
			// Whose address it is is asked by the goroutine that reads, outside.
			if a, _ := transparent.ArrivalOf(c); a.Destination != to || tt.how == transparent.TPROXY && a.How != tt.how {
				t.Errorf("got %v", a)
			}
			buf := make([]byte, 100)
			if got, err := c.Read(buf); err != nil || string(buf[:got]) != "ping" {
				t.Fatalf("got %q, %v", buf[:got], err)
			}
			n.Gateway.Do(func() { _, err = c.Write([]byte("pong")) })
			if err != nil {
				t.Fatal(err)
			}
			if got, err := client.Read(buf); err != nil || string(buf[:got]) != "pong" {
				t.Errorf("the client got %q, %v", buf[:got], err)
			}
		})
	}
}

// One client port that sends to two addresses, and two ports, has a flow for
// each.
func TestPacketListener_flowsAreKeyedByDestination(t *testing.T) {
	n := netnstest.New(t)
	n.Gateway.RouteMarked("1", "100")
	n.Gateway.Nft(packetRules)
	ln := packetListener(t, n, true)
	var socket *net.UDPConn
	n.Client.Do(func() { socket, _ = net.ListenUDP("udp4", nil) })
	defer socket.Close()
	_ = socket.SetDeadline(time.Now().Add(20 * time.Second))
	want := map[string]bool{"10.77.2.2:53": true, "10.77.2.2:54": true, "10.77.2.3:53": true}
	for range 2 { // the second time there are flows already
		for to := range want {
			socket.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to)))
		}
	}
	for range want {
		c, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 10)
		for range 2 {
			_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
			if _, err := c.Read(buf); err != nil {
				t.Fatalf("%v: %v", c.LocalAddr(), err)
			}
		}
		n.Gateway.Do(func() { _, err = c.Write([]byte("y")) })
		if err != nil {
			t.Fatal(err)
		}
		_, from, err := socket.ReadFrom(buf)
		if err != nil || from.String() != c.LocalAddr().String() || !want[from.String()] {
			t.Errorf("the answer of %v came from %v, %v", c.LocalAddr(), from, err)
		}
		delete(want, from.String())
	}
}

func TestPacketListener_flowsBehaveLikeConnections(t *testing.T) {
	n := netnstest.New(t)
	ln := packetListener(t, n, false)
	client := dialPackets(t, n, nil, netip.MustParseAddrPort("10.77.1.1:9053"))
	fmt.Fprint(client, "abcdef")
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	small := make([]byte, 4)
	for _, want := range []string{"abcd", "ef"} { // what does not fit is not lost
		if got, err := c.Read(small); err != nil || string(small[:got]) != want {
			t.Errorf("got %q, %v, want %q", small[:got], err, want)
		}
	}
	_ = c.SetReadDeadline(time.Now().Add(-time.Second))
	if _, err := c.Read(small); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v after the deadline", err)
	}
	_ = c.SetReadDeadline(time.Time{})
	failed := make(chan error, 1)
	go func() {
		_, err := c.Read(small)
		failed <- err
	}()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond)) // moved under the reader
	if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v at the deadline", err)
	}
	_ = c.SetReadDeadline(time.Time{})
	go func() {
		_, err := c.Read(small)
		failed <- err
	}()
	ln.Close()
	if err := <-failed; err != io.EOF {
		t.Errorf("got %v when the listener was closed", err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if _, err := c.Write(small); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write: %v", err)
	}
	ln.Close() // twice is no harm
	c.Close()
}

// There is a bound on open sockets, and one that was closed for another one is
// opened again.
func TestReplies_bounded(t *testing.T) {
	n := netnstest.New(t)
	n.Gateway.Exec("ip", "link", "set", "lo", "up")
	var socket *net.UDPConn
	n.Client.Do(func() { socket, _ = net.ListenUDP("udp4", &net.UDPAddr{IP: netnstest.Client4.AsSlice()}) })
	defer socket.Close()
	_ = socket.SetDeadline(time.Now().Add(20 * time.Second))
	client := transparent.AddrPort(socket.LocalAddr())
	var replies transparent.Replies
	buf := make([]byte, 10)
	const many = 1100
	n.Gateway.Do(func() {
		before := openFiles(t)
		for i := range many {
			from := netip.AddrPortFrom(netnstest.Server4, uint16(10000+i))
			if _, err := replies.Send([]byte("x"), nil, from, client); err != nil {
				t.Fatal(err)
			}
			if _, at, err := socket.ReadFromUDPAddrPort(buf); err != nil || at != from {
				t.Fatalf("got an answer from %v, %v, want %v", at, err, from)
			}
		}
		if open := openFiles(t) - before; open != 1024 {
			t.Errorf("%d sockets are open", open)
		}
		first := netip.AddrPortFrom(netnstest.Server4, 10000)
		if _, err := replies.Send([]byte("x"), nil, first, client); err != nil {
			t.Error(err)
		}
		replies.Close()
		replies.Close()
		if _, err := replies.Send([]byte("x"), nil, first, client); !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v from what is closed", err)
		}
		if open := openFiles(t) - before; open != 0 {
			t.Errorf("%d sockets stayed open", open)
		}
	})
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// The listener is closed while clients send and flows answer.
func TestPacketListener_closeUnderTraffic(t *testing.T) {
	n := netnstest.New(t)
	n.Gateway.RouteMarked("1", "100")
	n.Gateway.Nft(packetRules)
	ln := packetListener(t, n, false)
	stop := make(chan struct{})
	var clients, flows sync.WaitGroup
	for i := range 10 {
		c := dialPackets(t, n, nil, netip.AddrPortFrom(netnstest.Server4, uint16(53+i%2)))
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_, _ = c.Write([]byte("x"))
				}
			}
		})
	}
	accepted := make(chan struct{}, 10)
	flows.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			accepted <- struct{}{}
			flows.Go(func() {
				defer c.Close()
				buf := make([]byte, 10)
				for {
					if _, err := c.Read(buf); err != nil {
						return
					}
					n.Gateway.Do(func() { _, _ = c.Write(buf) })
				}
			})
		}
	})
	for range 10 {
		<-accepted
	}
	ln.Close()
	flows.Wait()
	close(stop)
	clients.Wait()
}

// Sockets for answers take nothing away: neither from the listener, when rules
// look for transparent sockets, nor from a service of this host at the same
// address.
func TestReplies_hearNothing(t *testing.T) {
	n := netnstest.New(t)
	n.Gateway.RouteMarked("1", "100")
	n.Gateway.Nft(`
table inet gw {
	chain pre {
		type filter hook prerouting priority mangle; policy accept;
		meta l4proto udp socket transparent 1 socket wildcard 0 meta mark set 1 accept
		iifname "g0" udp dport 53 tproxy to :9053 meta mark set 1 accept
		iifname "g0" udp dport 53 drop
	}
}
`)
	ln := packetListener(t, n, false)
	for _, to := range []string{"10.77.2.2:53", "[fd77:2::2]:53"} {
		client := dialPackets(t, n, nil, netip.MustParseAddrPort(to))
		var c net.Conn
		buf := make([]byte, 10)
		for i := range 3 {
			fmt.Fprint(client, i)
			if c == nil {
				var err error
				if c, err = ln.Accept(); err != nil {
					t.Fatal(err)
				}
				defer c.Close()
			}
			_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
			got, err := c.Read(buf)
			if err != nil || string(buf[:got]) != fmt.Sprint(i) {
				t.Fatalf("%s: datagram %d: got %q, %v", to, i, buf[:got], err)
			}
			n.Gateway.Do(func() { _, err = c.Write(buf[:got]) })
			if err != nil {
				t.Fatal(err)
			}
			if got, err := client.Read(buf); err != nil || string(buf[:got]) != fmt.Sprint(i) {
				t.Fatalf("%s: the client got %q, %v", to, buf[:got], err)
			}
		}
	}

	// One that shares its address, as resolvers of a host do.
	at := netip.AddrPortFrom(netnstest.GatewayIn4, 5300)
	var service net.PacketConn
	var replies transparent.Replies
	defer replies.Close()
	n.Gateway.Do(func() {
		lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1) })
		}}
		var err error
		if service, err = lc.ListenPacket(context.Background(), "udp4", at.String()); err != nil {
			t.Error(err)
			return
		}
		if _, err := replies.Send([]byte("x"), nil, at, netip.AddrPortFrom(netnstest.Client4, 9)); err != nil {
			t.Error(err)
		}
	})
	if t.Failed() {
		return
	}
	defer service.Close()
	fmt.Fprint(dialPackets(t, n, nil, at), "for the service")
	_ = service.SetReadDeadline(time.Now().Add(20 * time.Second))
	buf := make([]byte, 100)
	if got, _, err := service.ReadFrom(buf); err != nil || string(buf[:got]) != "for the service" {
		t.Errorf("the service got %q, %v", buf[:got], err)
	}
}
