//go:build linux

// Package netnstest makes three hosts for tests, as network namespaces of one
// machine: a client, a gateway and a server, with the gateway in the middle.
//
//	client 10.77.1.2 -- 10.77.1.1 gateway 10.77.2.1 -- 10.77.2.2 server
//	      fd77:1::2 -- fd77:1::1         fd77:2::1 -- fd77:2::2
//
// The gateway forwards unless a test tells it not to. Nothing outside of the
// namespaces changes, and they are gone when the test is over.
package netnstest

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Addresses of the three hosts. The gateway has one towards each side.
var (
	Client4, Client6         = netip.MustParseAddr("10.77.1.2"), netip.MustParseAddr("fd77:1::2")
	GatewayIn4, GatewayIn6   = netip.MustParseAddr("10.77.1.1"), netip.MustParseAddr("fd77:1::1")
	GatewayOut4, GatewayOut6 = netip.MustParseAddr("10.77.2.1"), netip.MustParseAddr("fd77:2::1")
	Server4, Server6         = netip.MustParseAddr("10.77.2.2"), netip.MustParseAddr("fd77:2::2")
)

// A Net is the three hosts.
type Net struct {
	// Client, Gateway and Server are the hosts.
	Client, Gateway, Server *Host
}

// A Host is one network namespace.
type Host struct {
	t    testing.TB
	name string
}

var count atomic.Int64

// New makes the hosts. The test is skipped, with a sentence that says what is
// missing, where that cannot be done.
func New(t testing.TB) *Net {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to make network namespaces: run the tests as root")
	}
	for _, command := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(command); err != nil {
			t.Skipf("needs the command %s (Debian: apt-get install iproute2 nftables)", command)
		}
	}
	id := fmt.Sprintf("pt%d-%d", os.Getpid(), count.Add(1))
	n := &Net{}
	for _, h := range []struct {
		at   **Host
		role string
	}{{&n.Client, "c"}, {&n.Gateway, "g"}, {&n.Server, "s"}} {
		host := &Host{t, id + h.role}
		if out, err := exec.Command("ip", "netns", "add", host.name).CombinedOutput(); err != nil {
			t.Skipf("network namespaces cannot be made here: %v: %s", err, out)
		}
		t.Cleanup(host.remove)
		host.Exec("sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
		host.Exec("ip", "link", "set", "lo", "up")
		*h.at = host
	}
	link := func(a *Host, aName string, b *Host, bName string) {
		run(t, "ip", "link", "add", aName, "netns", a.name, "type", "veth", "peer", "name", bName, "netns", b.name)
	}
	link(n.Client, "c0", n.Gateway, "g0")
	link(n.Server, "s0", n.Gateway, "g1")
	n.Client.address("c0", Client4, Client6)
	n.Gateway.address("g0", GatewayIn4, GatewayIn6)
	n.Gateway.address("g1", GatewayOut4, GatewayOut6)
	n.Server.address("s0", Server4, Server6)
	n.Client.gateway(GatewayIn4, GatewayIn6)
	n.Server.gateway(GatewayOut4, GatewayOut6)
	n.Gateway.Exec("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	for _, link := range []struct {
		host *Host
		name string
	}{{n.Client, "c0"}, {n.Gateway, "g0"}, {n.Gateway, "g1"}, {n.Server, "s0"}} {
		link.host.await(link.name)
	}
	return n
}

func (h *Host) address(link string, addrs ...netip.Addr) {
	h.t.Helper()
	for _, a := range addrs {
		bits := "/24"
		if a.Is6() {
			bits = "/64"
		}
		h.Exec("ip", "addr", "add", a.String()+bits, "dev", link)
	}
	h.Exec("ip", "link", "set", link, "up")
}

func (h *Host) gateway(via ...netip.Addr) {
	h.t.Helper()
	for _, a := range via {
		family := "-4"
		if a.Is6() {
			family = "-6"
		}
		h.Exec("ip", family, "route", "add", "default", "via", a.String())
	}
}

// await waits until a link is up: it takes a moment.
func (h *Host) await(link string) {
	h.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if strings.Contains(h.Exec("ip", "-o", "link", "show", "dev", link), "state UP") {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("link %s did not come up", link)
		}
	}
}

func (h *Host) remove() {
	if pids, err := exec.Command("ip", "netns", "pids", h.name).Output(); err == nil {
		for pid := range strings.FieldsSeq(string(pids)) {
			_ = exec.Command("kill", "-9", pid).Run()
		}
	}
	_ = exec.Command("ip", "netns", "del", h.name).Run()
}

// Name is the name of the namespace, for `ip netns exec`.
func (h *Host) Name() string { return h.name }

// Command prepares a command on the host.
func (h *Host) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", h.name, name}, args...)...)
}

// Exec runs a command on the host and answers what it wrote. One that fails
// fails the test.
func (h *Host) Exec(name string, args ...string) string {
	h.t.Helper()
	out, err := h.Command(name, args...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Nft loads a rule set.
func (h *Host) Nft(rules string) {
	h.t.Helper()
	h.Feed(rules, "nft", "-f", "-")
}

// Feed runs a command with input.
func (h *Host) Feed(input, name string, args ...string) {
	h.t.Helper()
	c := h.Command(name, args...)
	c.Stdin = strings.NewReader(input)
	if out, err := c.CombinedOutput(); err != nil {
		h.t.Fatalf("%s: %v\n%s\n%s", name, err, out, input)
	}
}

// RouteMarked gives packets with the mark to the host itself, which TPROXY
// needs.
func (h *Host) RouteMarked(mark, table string) {
	h.t.Helper()
	for _, family := range []string{"-4", "-6"} {
		h.Exec("ip", family, "rule", "add", "fwmark", mark, "lookup", table)
		h.Exec("ip", family, "route", "add", "local", "default", "dev", "lo", "table", table)
	}
}

// Do calls f on the host: sockets that it opens, on this goroutine, belong
// there for as long as they are open.
func (h *Host) Do(f func()) {
	h.t.Helper()
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err == nil {
		defer home.Close()
		err = enter("/var/run/netns/" + h.name)
	}
	if err != nil {
		runtime.UnlockOSThread()
		h.t.Fatalf("entering %s: %v", h.name, err)
	}
	defer func() {
		// A thread that does not come back stays locked, and is nobody's.
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	f()
}

// enter moves the calling thread.
func enter(path string) error {
	ns, err := os.Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	return unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}
