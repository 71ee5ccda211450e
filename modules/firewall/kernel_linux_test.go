package firewall

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/transparent"
	"github.com/portcullis-gateway/portcullis/transparent/netnstest"
)

// each runs a test with everything that holds rules in a kernel, each on hosts of
// its own.
func each(t *testing.T, test func(t *testing.T, n *netnstest.Net, backend string)) {
	t.Parallel()
	for _, backend := range []string{NFTables, IPTablesNFT, IPTablesLegacy} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			n := netnstest.New(t)
			need(t, backend)
			test(t, n, backend)
		})
	}
}

func need(t *testing.T, backend string) {
	if backend == NFTables {
		return // the hosts need it, too
	}
	if _, err := exec.LookPath(backend + "-restore"); err != nil {
		t.Skipf("needs the command %s-restore (Debian: apt-get install iptables)", backend)
	}
}

// apply brings a plan into the gateway's kernel, which then agrees with it, and
// does not change if it is applied again.
func apply(t *testing.T, n *netnstest.Net, p *Plan) {
	t.Helper()
	n.Gateway.Do(func() {
		if _, err := p.Apply(t.Context()); err != nil {
			t.Errorf("apply: %v", err)
			return
		}
		if d, err := p.Check(t.Context()); err != nil || !d.Agrees() {
			t.Errorf("check: %v, missing %q, foreign %q", err, d.Missing, d.Foreign)
		}
		if changed, err := p.Apply(t.Context()); err != nil || changed {
			t.Errorf("a second apply: changed %v, %v", changed, err)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
}

// serve opens a listener on a host that answers each connection with its name
// and the address that the client asked for.
func serve(t *testing.T, h *netnstest.Host, network, address, name string) (stop func()) {
	t.Helper()
	var ln net.Listener
	h.Do(func() {
		lc := net.ListenConfig{Control: transparent.AllModes.Control}
		lc.SetMultipathTCP(false)
		var err error
		if ln, err = lc.Listen(context.Background(), network, address); err != nil {
			t.Error(err)
		}
	})
	if ln == nil {
		t.FailNow()
	}
	ln = transparent.NewListener(ln, transparent.AllModes, false, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			var c net.Conn
			var err error
			h.Do(func() { c, err = ln.Accept() }) // which addresses are its own depends on who asks
			if err != nil {
				return
			}
			fmt.Fprintf(c, "%s %s", name, c.LocalAddr())
			c.Close()
		}
	}()
	stop = func() {
		ln.Close()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

// silence is how long a client waits for what nobody answers.
const silence = time.Second

// ask connects from a host and answers what it is told, or "refused" or
// "nothing". The mark may be 0.
func ask(h *netnstest.Host, to string, mark int, wait time.Duration) (answer string) {
	var c net.Conn
	var err error
	h.Do(func() {
		d := net.Dialer{Timeout: wait, Control: func(_, _ string, c syscall.RawConn) (err error) {
			if ctlErr := c.Control(func(fd uintptr) {
				if mark != 0 {
					err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark)
				}
			}); ctlErr != nil {
				return ctlErr
			}
			return err
		}}
		c, err = d.Dial("tcp", to)
	})
	if err != nil {
		if strings.Contains(err.Error(), "refused") {
			return "refused"
		}
		return "nothing"
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(wait))
	buf := make([]byte, 128)
	got, err := c.Read(buf)
	if err != nil {
		return "nothing"
	}
	return string(buf[:got])
}

func expect(t *testing.T, h *netnstest.Host, to, want string) {
	t.Helper()
	if got := ask(h, to, 0, patient.Limit); got != want {
		t.Errorf("%s: got %q, want %q", to, got, want)
	}
}

// closed makes sure that no server is reached, whatever else happens.
func closed(t *testing.T, h *netnstest.Host, tos ...string) {
	t.Helper()
	var all sync.WaitGroup
	for _, to := range tos {
		all.Go(func() {
			if got := ask(h, to, 0, silence); got != "nothing" && got != "refused" {
				t.Errorf("%s: got %q", to, got)
			}
		})
	}
	all.Wait()
}

const transparentLines = "proxy_listen 0.0.0.0:8000 transparent, [::]:8000 transparent"

// Forwarded connections come to the gateway by TPROXY and by REDIRECT, in both
// families; others pass, and nothing passes when nobody listens.
func TestApply_forwarded(t *testing.T) {
	each(t, func(t *testing.T, n *netnstest.Net, backend string) {
		for _, host := range []string{"10.77.2.2:80", "[fd77:2::2]:80", "10.77.2.2:81", "[fd77:2::2]:81", "10.77.2.2:82", "10.77.2.2:8000"} {
			serve(t, n.Server, "tcp", host, "server")
		}
		expect(t, n.Client, "10.77.2.2:80", "server 10.77.2.2:80")
		p := mustPlan(t, Settings{Backend: backend, Intercept: []string{
			"tcp dport { 80, 8000 } iifname g0", "tcp dport 81 iifname g0 by redirect",
		}}, transparentLines)
		apply(t, n, p)
		stop4 := serve(t, n.Gateway, "tcp4", "0.0.0.0:8000", "gateway")
		stop6 := serve(t, n.Gateway, "tcp6", "[::]:8000", "gateway")
		for _, to := range []string{"10.77.2.2:80", "[fd77:2::2]:80", "10.77.2.2:81", "[fd77:2::2]:81", "10.77.2.2:8000", "10.77.1.1:8000", "[fd77:1::1]:8000"} {
			expect(t, n.Client, to, "gateway "+to)
		}
		expect(t, n.Client, "10.77.2.2:82", "server 10.77.2.2:82")
		expect(t, n.Client, "10.77.1.1:80", "refused") // the gateway's own port, where nobody listens
		expect(t, n.Gateway, "10.77.2.2:80", "server 10.77.2.2:80")

		stop4()
		stop6()
		closed(t, n.Client, "10.77.2.2:80", "[fd77:2::2]:80", "10.77.2.2:81", "[fd77:2::2]:81") // and not the server
		remove(t, n)
		expect(t, n.Client, "10.77.2.2:80", "server 10.77.2.2:80")
	})
}

// remove takes the rules out, and all of it is gone.
func remove(t *testing.T, n *netnstest.Net) {
	t.Helper()
	n.Gateway.Do(func() {
		if removed, err := Remove(t.Context()); err != nil || !removed {
			t.Errorf("remove: %v, %v", removed, err)
		}
		if removed, err := Remove(t.Context()); err != nil || removed {
			t.Errorf("a second remove: %v, %v", removed, err)
		}
	})
	for _, show := range [][]string{
		{"nft", "list", "ruleset"}, {"iptables-legacy-save"}, {"ip6tables-legacy-save"},
		{"ip", "-4", "rule"}, {"ip", "-6", "rule"}, {"ip", "-4", "route", "show", "table", "all"}, {"ip", "-6", "route", "show", "table", "all"},
	} {
		out := n.Gateway.Exec(show[0], show[1:]...)
		if strings.Contains(strings.ToLower(out), "portcullis") || strings.Contains(out, "1610") {
			t.Errorf("%v still shows\n%s", show, out)
		}
	}
}

// What the gateway's host sends itself is diverted, unless the gateway sent it.
func TestApply_local(t *testing.T) {
	for _, by := range []string{"tproxy", "redirect"} {
		t.Run(by, func(t *testing.T) {
			each(t, func(t *testing.T, n *netnstest.Net, backend string) {
				for _, to := range []string{"10.77.2.2:80", "[fd77:2::2]:80"} {
					serve(t, n.Server, "tcp", to, "server")
				}
				apply(t, n, mustPlan(t, Settings{Backend: backend, InterceptLocal: []string{"tcp dport 80 by " + by}}, transparentLines))
				serve(t, n.Gateway, "tcp", "127.0.0.1:80", "own")
				stop4 := serve(t, n.Gateway, "tcp4", "0.0.0.0:8000", "gateway")
				stop6 := serve(t, n.Gateway, "tcp6", "[::]:8000", "gateway")
				expect(t, n.Gateway, "127.0.0.1:80", "own 127.0.0.1:80")
				for _, to := range []string{"10.77.2.2:80", "[fd77:2::2]:80"} {
					expect(t, n.Gateway, to, "gateway "+to)
					expect(t, n.Client, to, "server "+to)
					if got := ask(n.Gateway, to, transparent.Mark, patient.Limit); got != "server "+to {
						t.Errorf("what the gateway sends to %s itself: got %q", to, got)
					}
				}
				stop4()
				stop6()
				closed(t, n.Gateway, "10.77.2.2:80", "[fd77:2::2]:80")
				remove(t, n)
			})
		})
	}
}

// A listener at one address gets what is diverted to it, be it a loopback
// address.
func TestApply_listenerAtOneAddress(t *testing.T) {
	each(t, func(t *testing.T, n *netnstest.Net, backend string) {
		apply(t, n, mustPlan(t, Settings{Backend: backend, Intercept: []string{
			"tcp dport 80 to 127.0.0.1:8000", "tcp dport 80 to [::1]:8001", "tcp dport 81 by redirect to 10.77.2.1:8002",
		}}, "proxy_listen 127.0.0.1:8000 transparent, [::1]:8001 transparent", "stream_listen 10.77.2.1:8002 transparent"))
		serve(t, n.Gateway, "tcp", "127.0.0.1:8000", "v4")
		serve(t, n.Gateway, "tcp", "[::1]:8001", "v6")
		serve(t, n.Gateway, "tcp", "10.77.2.1:8002", "redirected")
		expect(t, n.Client, "10.77.2.2:80", "v4 10.77.2.2:80")
		expect(t, n.Client, "[fd77:2::2]:80", "v6 [fd77:2::2]:80")
		expect(t, n.Client, "10.77.2.2:81", "redirected 10.77.2.2:81")
	})
}

// Where only IPv4 has a listener, IPv6 is stopped and not passed by.
func TestApply_familyWithoutListener(t *testing.T) {
	each(t, func(t *testing.T, n *netnstest.Net, backend string) {
		serve(t, n.Server, "tcp", "[fd77:2::2]:80", "server")
		serve(t, n.Server, "tcp", "[fd77:2::2]:81", "server")
		p := mustPlan(t, Settings{Backend: backend,
			Intercept:      []string{"tcp dport 80", "tcp dport 81 daddr 0.0.0.0/0"},
			InterceptLocal: []string{"tcp dport 80"},
		}, "proxy_listen 0.0.0.0:8000 transparent")
		if len(p.Notes) != 2 || !strings.Contains(p.Notes[0], "no transparent listener for IPv6") {
			t.Errorf("notes: %q", p.Notes)
		}
		apply(t, n, p)
		closed(t, n.Client, "[fd77:2::2]:80")
		closed(t, n.Gateway, "[fd77:2::2]:80")
		expect(t, n.Client, "[fd77:2::2]:81", "server [fd77:2::2]:81")
	})
}

// Datagrams come to a transparent socket, with the address that they had.
func TestApply_datagrams(t *testing.T) {
	each(t, func(t *testing.T, n *netnstest.Net, backend string) {
		apply(t, n, mustPlan(t, Settings{Backend: backend, Intercept: []string{"udp dport 53"}}, "stream_listen [::]:9000 ipv6only=off udp transparent"))
		var conn net.PacketConn
		n.Gateway.Do(func() {
			lc := net.ListenConfig{Control: func(network, address string, c syscall.RawConn) error {
				if err := transparent.AllModes.Control(network, address, c); err != nil {
					return err
				}
				return c.Control(func(fd uintptr) {
					_ = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_RECVORIGDSTADDR, 1)
					_ = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_RECVORIGDSTADDR, 1)
				})
			}}
			var err error
			if conn, err = lc.ListenPacket(t.Context(), "udp", "[::]:9000"); err != nil {
				t.Error(err)
			}
		})
		if conn == nil {
			return
		}
		defer conn.Close()
		for _, to := range []string{"10.77.2.2:53", "[fd77:2::2]:53"} {
			n.Client.Do(func() {
				c, err := net.Dial("udp", to)
				if err == nil {
					_, err = c.Write([]byte("ask"))
					c.Close()
				}
				if err != nil {
					t.Error(err)
				}
			})
			_ = conn.SetReadDeadline(time.Now().Add(patient.Limit))
			oob := make([]byte, 128)
			_, got, _, _, err := conn.(*net.UDPConn).ReadMsgUDPAddrPort(make([]byte, 16), oob)
			if err != nil {
				t.Errorf("%s: %v", to, err)
				continue
			}
			if port := []byte{0, 53}; !strings.Contains(string(oob[:got]), string(port)) {
				t.Errorf("%s: the message says %x", to, oob[:got])
			}
		}
	})
}

// The gateway talks to a server with its client's address, and gets the answer,
// although it is addressed to the client.
func TestApply_returnPath(t *testing.T) {
	each(t, func(t *testing.T, n *netnstest.Net, backend string) {
		for _, a := range []struct {
			from netip.Addr
			to   string
		}{{netnstest.Client4, "10.77.2.2:80"}, {netnstest.Client6, "[fd77:2::2]:80"}} {
			serve(t, n.Server, "tcp", a.to, "server")
			spoof := func(wait time.Duration) (answer string) {
				n.Gateway.Do(func() {
					d := net.Dialer{
						Timeout: wait, LocalAddr: &net.TCPAddr{IP: a.from.AsSlice()},
						Control: transparent.AllModes.Control,
					}
					c, err := d.Dial("tcp", a.to)
					if err != nil {
						answer = "nothing"
						return
					}
					defer c.Close()
					buf := make([]byte, 64)
					_ = c.SetReadDeadline(time.Now().Add(wait))
					got, _ := c.Read(buf)
					answer = string(buf[:got])
				})
				return answer
			}
			if got := spoof(silence); got != "nothing" {
				t.Errorf("%s: without rules, got %q", a.to, got)
			}
			apply(t, n, mustPlan(t, Settings{Backend: backend, ReturnFrom: []string{"g1"}}, "proxy_listen 0.0.0.0:8000"))
			if got := spoof(patient.Limit); got != "server "+a.to {
				t.Errorf("%s: got %q", a.to, got)
			}
			// What others forward is left alone, also to ports that are listened on.
			serve(t, n.Client, "tcp", netip.AddrPortFrom(a.from, 8000).String(), "client")
			stop := serve(t, n.Gateway, "tcp", ":8000", "gateway")
			expect(t, n.Server, netip.AddrPortFrom(a.from, 8000).String(), "client "+netip.AddrPortFrom(a.from, 8000).String())
			stop()
			remove(t, n)
		}
	})
}

// Ports are open to the interfaces and networks that are named.
func TestApply_guards(t *testing.T) {
	each(t, func(t *testing.T, n *netnstest.Net, backend string) {
		apply(t, n, mustPlan(t, Settings{Backend: backend, Interfaces: []string{"g0"}, Trusted: []string{"10.77.2.0/24", "fd77:2::/64"}},
			"proxy_listen 0.0.0.0:8000, [::]:8000", "admin_listen 0.0.0.0:8001, [::]:8001, 127.0.0.1:8002", "status_listen 10.77.1.1:8007"))
		for _, port := range []string{"8000", "8001", "8007", "9000"} {
			serve(t, n.Gateway, "tcp", ":"+port, "gateway")
		}
		var all sync.WaitGroup
		for _, tt := range []struct {
			from *netnstest.Host
			to   string
			open bool
		}{
			{n.Client, "10.77.1.1:8000", true},
			{n.Client, "[fd77:1::1]:8000", true},
			{n.Server, "10.77.2.1:8000", false},
			{n.Server, "[fd77:2::1]:8000", false},
			{n.Client, "10.77.1.1:8001", false},
			{n.Client, "[fd77:1::1]:8001", false},
			{n.Server, "10.77.2.1:8001", true},
			{n.Server, "[fd77:2::1]:8001", true},
			{n.Client, "10.77.1.1:8007", false},
			{n.Server, "10.77.1.1:8007", true},
			{n.Client, "10.77.1.1:9000", true}, // none of the gateway's
			{n.Gateway, "10.77.1.1:8001", true},
			{n.Gateway, "127.0.0.1:8001", true},
		} {
			all.Go(func() {
				if tt.open {
					expect(t, tt.from, tt.to, "gateway "+tt.to)
				} else {
					closed(t, tt.from, tt.to)
				}
			})
		}
		all.Wait()
		// Nobody is trusted, and some clients are let in.
		apply(t, n, mustPlan(t, Settings{Backend: backend, Clients: []string{"10.77.1.0/24"}},
			"proxy_listen 0.0.0.0:8000, [::]:8000", "admin_listen 0.0.0.0:8001"))
		expect(t, n.Client, "10.77.1.1:8000", "gateway 10.77.1.1:8000")
		closed(t, n.Client, "[fd77:1::1]:8000")
		closed(t, n.Server, "10.77.2.1:8000", "10.77.2.1:8001")
	})
}

// Connections that a redirection brings pass the guard of the port they come
// to, which does not open it for others.
func TestApply_guardedRedirection(t *testing.T) {
	each(t, func(t *testing.T, n *netnstest.Net, backend string) {
		apply(t, n, mustPlan(t, Settings{Backend: backend, Interfaces: []string{"g1"}, Intercept: []string{"tcp dport 80 by redirect"}}, transparentLines))
		serve(t, n.Gateway, "tcp", ":8000", "gateway")
		expect(t, n.Client, "10.77.2.2:80", "gateway 10.77.2.2:80")
		closed(t, n.Client, "10.77.1.1:8000")
		expect(t, n.Server, "10.77.2.1:8000", "gateway 10.77.2.1:8000")
	})
}

// New connections over the rate are dropped, for each client on its own, also
// those that are diverted.
func TestApply_rate(t *testing.T) {
	each(t, func(t *testing.T, n *netnstest.Net, backend string) {
		apply(t, n, mustPlan(t, Settings{Backend: backend, Rate: "1/hour burst 3", Intercept: []string{"tcp dport 80"}}, transparentLines))
		serve(t, n.Gateway, "tcp", ":8000", "gateway")
		var all sync.WaitGroup
		for _, c := range []struct {
			from *netnstest.Host
			to   string
		}{{n.Client, "10.77.2.2:80"}, {n.Client, "[fd77:2::2]:80"}, {n.Server, "10.77.2.1:8000"}} {
			var served atomic.Int32
			all.Go(func() {
				var some sync.WaitGroup
				for range 8 {
					some.Go(func() {
						if ask(c.from, c.to, 0, 3*silence) != "nothing" {
							served.Add(1)
						}
					})
				}
				some.Wait()
				if got := served.Load(); got < 2 || got > 4 {
					t.Errorf("%s: %d of 8 connections were served, with a burst of 3", c.to, got)
				}
			})
		}
		all.Wait()
		// The kernel's own notes of clients are no drift.
		p := mustPlan(t, Settings{Backend: backend, Rate: "1/hour burst 3", Intercept: []string{"tcp dport 80"}}, transparentLines)
		n.Gateway.Do(func() {
			if d, err := p.Check(t.Context()); err != nil || !d.Agrees() {
				t.Errorf("check: %v, missing %q, foreign %q", err, d.Missing, d.Foreign)
			}
		})
	})
}

// The rules of others stay as they are.
func TestApply_othersAreLeftAlone(t *testing.T) {
	each(t, func(t *testing.T, n *netnstest.Net, backend string) {
		if backend == NFTables {
			n.Gateway.Nft("table inet others {\n\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n\t\ttcp dport 8001 drop\n\t}\n}\n")
		} else {
			n.Gateway.Exec(backend, "-A", "INPUT", "-p", "tcp", "--dport", "8001", "-j", "DROP")
			n.Gateway.Exec(backend, "-t", "mangle", "-N", "OTHERS")
			n.Gateway.Exec(backend, "-t", "mangle", "-A", "PREROUTING", "-j", "OTHERS")
		}
		n.Gateway.Exec("ip", "rule", "add", "priority", "100", "fwmark", "1", "lookup", "100")
		show := func() string {
			var kept []string
			out := n.Gateway.Exec("nft", "-s", "list", "ruleset") + n.Gateway.Exec("ip", "rule")
			if backend != NFTables {
				out = n.Gateway.Exec(backend+"-save") + n.Gateway.Exec("ip", "rule")
			}
			for line := range strings.Lines(out) {
				if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ":") && !strings.HasPrefix(line, "*") && !strings.HasPrefix(line, "COMMIT") {
					kept = append(kept, line)
				}
			}
			return strings.Join(kept, "")
		}
		before := show()
		apply(t, n, mustPlan(t, Settings{Backend: backend, Intercept: []string{"tcp dport 80"}}, transparentLines))
		apply(t, n, mustPlan(t, Settings{Backend: backend, Intercept: []string{"tcp dport 81 by redirect"}}, transparentLines))
		apply(t, n, mustPlan(t, Settings{Backend: backend}, "proxy_listen 127.0.0.1:8000"))
		apply(t, n, mustPlan(t, Settings{Backend: backend, Intercept: []string{"tcp dport 80"}}, transparentLines))
		remove(t, n)
		if after := show(); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
	})
}

// What differs is found, and told.
func TestCheck_drift(t *testing.T) {
	each(t, func(t *testing.T, n *netnstest.Net, backend string) {
		p := mustPlan(t, Settings{Backend: backend, Intercept: []string{"tcp dport 80 iifname g0"}}, transparentLines)
		check := func() (d Drift) {
			n.Gateway.Do(func() {
				var err error
				if d, err = p.Check(t.Context()); err != nil {
					t.Error(err)
				}
			})
			return d
		}
		if d := check(); d.Agrees() || len(d.Foreign) != 0 || len(d.Missing) < 8 {
			t.Errorf("before: %q", d)
		}
		apply(t, n, p)
		if backend == NFTables {
			n.Gateway.Exec("nft", "add rule inet portcullis prerouting tcp dport 4444 accept")
			n.Gateway.Exec("nft", "add", "table", "inet", "closed")
			n.Gateway.Exec("nft", "add chain inet closed input { type filter hook input priority 0; policy drop; }")
		} else {
			n.Gateway.Exec(backend, "-t", "mangle", "-A", "PORTCULLIS-PRE", "-p", "tcp", "--dport", "4444", "-j", "ACCEPT")
		}
		n.Gateway.Exec("ip", "-6", "rule", "del", "priority", "1610")
		n.Gateway.Exec("ip", "rule", "add", "priority", "1610", "fwmark", "0x10/0x10", "iif", "g1", "lookup", "1610")
		n.Gateway.Exec("ip", "route", "add", "local", "10.9.0.0/16", "dev", "lo", "table", "1610")
		n.Gateway.Exec("sysctl", "-qw", "net.ipv4.tcp_fwmark_accept=1", "net.ipv4.conf.g0.route_localnet=1")
		d := check()
		has := func(list []string, part string) bool {
			return slices.ContainsFunc(list, func(line string) bool { return strings.Contains(line, part) })
		}
		if len(d.Missing) != 1 || d.Missing[0] != "ip -6 rule add priority 1610 fwmark 0x10/0x10 iif g0 lookup 1610" {
			t.Errorf("missing: %q", d.Missing)
		}
		if len(d.Foreign) != 3 || !has(d.Foreign, "4444") || !has(d.Foreign, "iif g1") || !has(d.Foreign, "10.9.0.0/16") {
			t.Errorf("foreign: %q", d.Foreign)
		}
		for _, want := range []string{"tcp_fwmark_accept", "net.ipv4.conf.g0.route_localnet", "nothing listens on port 8000"} {
			if !has(d.Warnings, want) {
				t.Errorf("no warning of %s in %q", want, d.Warnings)
			}
		}
		if backend == NFTables && !has(d.Warnings, "chain input of table inet closed") {
			t.Errorf("no warning of the closed chain in %q", d.Warnings)
		}
		n.Gateway.Exec("ip", "route", "del", "local", "10.9.0.0/16", "dev", "lo", "table", "1610")
		apply(t, n, p)
	})
}

// All of it at once is something that the kernel takes.
func TestApply_whole(t *testing.T) {
	each(t, func(t *testing.T, n *netnstest.Net, backend string) {
		s := whole
		s.Backend, s.InterceptLocal, s.ReturnFrom = backend, []string{"tcp dport 80", "tcp dport 5432 by redirect to :9000"}, []string{"eth2"}
		apply(t, n, mustPlan(t, s, wholeLines...))
		remove(t, n)
	})
}

// If a part cannot be applied, nothing is.
func TestApply_allOrNothing(t *testing.T) {
	each(t, func(t *testing.T, n *netnstest.Net, backend string) {
		before := mustPlan(t, Settings{Backend: backend, Intercept: []string{"tcp dport 80 iifname g0"}}, transparentLines)
		apply(t, n, before)
		broken := mustPlan(t, Settings{Backend: backend, Intercept: []string{"tcp dport 81 iifname g1"}, ReturnFrom: []string{"g1"}}, transparentLines)
		broken.returnFrom = []string{`g1" ) (`} // which no parser takes
		n.Gateway.Do(func() {
			if changed, err := broken.Apply(t.Context()); err == nil || changed {
				t.Errorf("changed %v, %v", changed, err)
			}
			if d, err := before.Check(t.Context()); err != nil || !d.Agrees() {
				t.Errorf("check: %v, missing %q, foreign %q", err, d.Missing, d.Foreign)
			}
		})
	})
}

// A change of the backend leaves nothing of the other one behind.
func TestApply_otherBackend(t *testing.T) {
	n := netnstest.New(t)
	need(t, IPTablesLegacy)
	for _, backend := range []string{IPTables, NFTables, IPTablesLegacy, IPTablesNFT} {
		apply(t, n, mustPlan(t, Settings{Backend: backend, Intercept: []string{"tcp dport 80"}}, transparentLines))
		serve4 := serve(t, n.Gateway, "tcp", ":8000", "gateway")
		expect(t, n.Client, "10.77.2.2:80", "gateway 10.77.2.2:80")
		serve4()
	}
	remove(t, n)
}
