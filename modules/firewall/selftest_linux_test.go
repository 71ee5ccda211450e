package firewall

import (
	"slices"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/transparent/netnstest"
)

// The self-test tells how connections arrive, and that they do not, and leaves
// nothing behind. It is not parallel: the name of its namespace is the host's.
func TestSelfTest(t *testing.T) {
	n := netnstest.New(t)
	n.Gateway.Exec("ip", "route", "add", "default", "via", netnstest.Server4.String())
	n.Gateway.Exec("ip", "-6", "route", "add", "default", "via", netnstest.Server6.String())
	p := mustPlan(t, Settings{
		Intercept:      []string{"tcp dport 80 iifname g0", "tcp dport 81 iifname g0 by redirect", "tcp dport 82 daddr 10.77.2.0/24", "tcp dport 83 saddr 10.77.0.0/16 daddr 0.0.0.0/0"},
		InterceptLocal: []string{"tcp dport 80", "tcp dport 81 by redirect"},
	}, transparentLines)
	selfTest := func() (trials []Trial, err error) {
		n.Gateway.Do(func() { trials, err = p.SelfTest(t.Context()) })
		return trials, err
	}
	if _, err := selfTest(); err == nil || !strings.Contains(err.Error(), "apply them first") {
		t.Fatalf("without rules: %v", err)
	}
	apply(t, n, p)
	before := n.Gateway.Exec("nft", "-s", "list", "ruleset") + n.Gateway.Exec("ip", "addr")
	stop := serve(t, n.Gateway, "tcp", ":8000", "gateway")
	trials, err := selfTest()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, trial := range trials {
		if trial.Err != nil {
			t.Errorf("%s: %v", trial.What, trial.Err)
		}
		got = append(got, trial.What+": "+trial.Arrived)
	}
	if len(trials) != 10 {
		t.Errorf("got %d trials: %q", len(trials), got)
	}
	for _, want := range [][]string{
		{"TCP from this host to 203.0.113.1:80, for proxy_listen 0.0.0.0:8000", "by TPROXY", "at 203.0.113.1:80"},
		{"TCP from this host to 203.0.113.1:81", "by REDIRECT", ":8000"},
		{"TCP from another host to 203.0.113.1:80", "by TPROXY, from 198.51.100.2:", "at 203.0.113.1:80"},
		{"TCP from another host to [2001:db8:ffff::1]:80", "by TPROXY, from [2001:db8:7072::2]:", "at [2001:db8:ffff::1]:80"},
		{"TCP from another host to [2001:db8:ffff::1]:81", "by REDIRECT", ":8000"},
		{"TCP from another host to 10.77.2.0:82", "by TPROXY"},
		{"TCP from another host to 203.0.113.1:83", "not tried"},
	} {
		if !slices.ContainsFunc(got, func(line string) bool {
			return !slices.ContainsFunc(want, func(part string) bool { return !strings.Contains(line, part) })
		}) {
			t.Errorf("no trial says %q:\n%s", want, strings.Join(got, "\n"))
		}
	}
	if after := n.Gateway.Exec("nft", "-s", "list", "ruleset") + n.Gateway.Exec("ip", "addr"); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	stop()
	p = mustPlan(t, Settings{Intercept: []string{"tcp dport 80 iifname g0"}, InterceptLocal: []string{"tcp dport 80 daddr 0.0.0.0/0"}}, transparentLines)
	apply(t, n, p)
	trials, err = selfTest()
	if err != nil {
		t.Fatal(err)
	}
	for _, trial := range trials {
		if trial.Err == nil {
			t.Errorf("without a listener: %s: %s", trial.What, trial.Arrived)
		}
	}
}
