package firewall

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Trial is one connection of [Plan.SelfTest].
type Trial struct {
	// What was tried: a connection, and for which listener.
	What string
	// Arrived says how it came to the listener, or why it was not tried.
	Arrived string
	// Err says what went wrong.
	Err error
}

// The network of the self-test: a host that exists for its time, behind an
// interface of this one. The addresses are for documentation (RFC 5737, RFC
// 3849), so nobody has them. Names of network namespaces are the whole system's,
// whichever namespace the gateway is in.
const trialLink = "portcullis0"

var trialHost = "portcullis-selftest-" + strconv.Itoa(os.Getpid())

var (
	trialHere  = map[family]netip.Addr{ip4: netip.MustParseAddr("198.51.100.1"), ip6: netip.MustParseAddr("2001:db8:7072::1")}
	trialThere = map[family]netip.Addr{ip4: netip.MustParseAddr("198.51.100.2"), ip6: netip.MustParseAddr("2001:db8:7072::2")}
	elsewhere  = map[family]netip.Addr{ip4: netip.MustParseAddr("203.0.113.1"), ip6: netip.MustParseAddr("2001:db8:ffff::1")}
)

// trialTimeout bounds each connection: a lost packet is sent again after a
// second.
const trialTimeout = 2500 * time.Millisecond

// SelfTest opens a connection for each intake, to an address that nobody has
// unless the intake is about certain ones, and looks for it among the listener's.
// The rules have to be in the kernel. What comes from other hosts is tried from
// a network namespace of its own; the rules are about its interface, too, as
// long as that takes.
func (p *Plan) SelfTest(ctx context.Context) (trials []Trial, err error) {
	d, err := p.Check(ctx)
	switch {
	case err != nil:
		return nil, err
	case !d.Agrees():
		return nil, errors.New("the rules in the kernel are not those of the listeners: apply them first")
	case len(p.intakes)+len(p.locals) == 0:
		return nil, errors.New("nothing is intercepted, so there is nothing to try")
	}
	for _, in := range p.locals {
		trials = append(trials, in.try(ctx, nil))
	}
	if len(p.intakes) == 0 {
		return trials, nil
	}
	defer func() {
		ctx := context.WithoutCancel(ctx)
		_, restored := p.Apply(ctx)
		err = errors.Join(err, restored, removeTrialHost(ctx))
	}()
	if err := addTrialHost(ctx); err != nil {
		return trials, err
	}
	if _, err := p.alsoFrom(trialLink).Apply(ctx); err != nil {
		return trials, err
	}
	for _, in := range p.intakes {
		trials = append(trials, in.try(ctx, inTrialHost))
	}
	return trials, nil
}

// alsoFrom is a plan that intercepts what comes in at one more interface.
func (p *Plan) alsoFrom(link string) *Plan {
	q := *p
	q.intakes = slices.Clone(p.intakes)
	for i := range q.intakes {
		if in := &q.intakes[i]; len(in.interfaces) > 0 {
			in.interfaces = sorted(append(slices.Clone(in.interfaces), link))
		}
	}
	return &q
}

// try opens a connection that the intake is about; the function around, if
// there is one, does it on another host.
func (in intake) try(ctx context.Context, around func(func() error) error) Trial {
	to := elsewhere[in.family]
	if len(in.to) > 0 && !slices.ContainsFunc(in.to, func(n netip.Prefix) bool { return n.Contains(to) }) {
		to = in.to[0].Addr()
	}
	target := netip.AddrPortFrom(to, in.ports[0].first)
	from := "this host"
	if around != nil {
		from = "another host"
	}
	t := Trial{What: fmt.Sprintf("%s from %s to %s", strings.ToUpper(in.proto), from, target)}
	if in.by != byNobody {
		t.What += ", for " + in.listener.Option + " " + in.listener.Bind.HostPort()
	}
	source := trialThere[in.family]
	switch {
	case in.proto == "udp":
		t.Arrived = "not tried: a datagram that is not answered tells nothing"
		return t
	case around != nil && len(in.from) > 0 && !slices.ContainsFunc(in.from, func(n netip.Prefix) bool { return n.Contains(source) }):
		t.Arrived = "not tried: it is about other sources"
		return t
	}
	var conn net.Conn
	dial := func() (err error) {
		dialer := net.Dialer{Timeout: trialTimeout}
		conn, err = dialer.DialContext(ctx, "tcp", target.String())
		return err
	}
	var err error
	if around == nil {
		err = dial()
	} else {
		err = around(dial)
	}
	switch {
	case in.by == byNobody && err != nil:
		t.Arrived = "it was stopped, as it should be"
		return t
	case in.by == byNobody:
		conn.Close()
		t.Err = errors.New("it got through, although there is no listener for it")
		return t
	case around == nil && errors.Is(err, syscall.ENETUNREACH):
		t.Arrived = "not tried: this host has no route there"
		return t
	case err != nil:
		t.Err = fmt.Errorf("it did not arrive: %w", err)
		return t
	}
	defer conn.Close()
	t.Arrived, t.Err = in.arrival(target, conn.LocalAddr().(*net.TCPAddr).AddrPort())
	return t
}

// arrival finds the other end of a connection.
func (in intake) arrival(target, client netip.AddrPort) (string, error) {
	client = netip.AddrPortFrom(client.Addr().Unmap(), client.Port())
	for _, s := range sockets("tcp") {
		if s.remote != client || s.local == client {
			continue
		}
		how, right := "REDIRECT", s.local.Port() == in.port
		if in.by == byTproxy {
			how, right = "TPROXY", s.local == target
		}
		if !right {
			return "", fmt.Errorf("it arrived at %s, which is not the listener", s.local)
		}
		return fmt.Sprintf("by %s, from %s, at %s", how, client, s.local), nil
	}
	return "it was answered, and closed at once", nil
}

// addTrialHost makes the other host.
func addTrialHost(ctx context.Context) error {
	if runtime.GOOS != "linux" {
		return errSystem
	}
	_ = removeTrialHost(ctx) // of a test that was killed
	commands := []string{
		"netns add " + trialHost,
		"link add " + trialLink + " type veth peer name eth0 netns " + trialHost,
	}
	for _, f := range families {
		bits, nodad := 24, ""
		if f == ip6 {
			bits, nodad = 64, " nodad"
		}
		commands = append(commands,
			fmt.Sprintf("-%d addr add %s/%d dev %s%s", f, trialHere[f], bits, trialLink, nodad),
			fmt.Sprintf("-n %s -%d addr add %s/%d dev eth0%s", trialHost, f, trialThere[f], bits, nodad))
	}
	commands = append(commands, "link set "+trialLink+" up", "-n "+trialHost+" link set eth0 up")
	for _, f := range families {
		commands = append(commands, fmt.Sprintf("-n %s -%d route add default via %s", trialHost, f, trialHere[f]))
	}
	for _, c := range commands {
		if _, err := run(ctx, command{name: "ip", args: strings.Fields(c)}); err != nil {
			return err
		}
	}
	return nil
}

// removeTrialHost removes it, and with it the interface that leads there.
func removeTrialHost(ctx context.Context) error {
	_, err := run(ctx, command{name: "ip", args: []string{"link", "del", trialLink}})
	_, gone := run(ctx, command{name: "ip", args: []string{"netns", "del", trialHost}})
	return cmp.Or(gone, err)
}
