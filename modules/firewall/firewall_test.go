package firewall

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-gateway/portcullis/modules/listen"
)

var update = flag.Bool("update", false, "write the texts of testdata")

// listeners reads listen lines: an option and its binds.
func listeners(t testing.TB, lines ...string) (all []Listener) {
	t.Helper()
	for _, line := range lines {
		option, rest, _ := strings.Cut(line, " ")
		flags := map[string]listen.FlagSet{"proxy_listen": listen.Proxy, "stream_listen": listen.Stream}[option]
		if flags == 0 {
			flags = listen.HTTP
		}
		binds, err := listen.Parse(option, rest, flags)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range binds {
			all = append(all, Listener{option, b})
		}
	}
	return all
}

func mustPlan(t testing.TB, s Settings, lines ...string) *Plan {
	t.Helper()
	p, err := New(s, listeners(t, lines...))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// whole is a configuration with everything in it.
var whole = Settings{
	Interfaces: []string{"eth1", "eth0"},
	Clients:    []string{"10.0.0.0/8", "10.1.0.0/16", "192.0.2.7", "2001:db8::/32"},
	Trusted:    []string{"10.9.0.0/16"},
	Rate:       "100/second burst 200",
	Intercept: []string{
		"tcp dport { 80, 443 } iifname { eth1, eth0 }",
		"tcp dport 5432 saddr 10.0.0.0/8 daddr { 10.5.0.1, 10.6.0.0/16 } by redirect to :9000",
		"udp dport 53 iifname eth0",
	},
}

var wholeLines = []string{
	"proxy_listen 0.0.0.0:8000 transparent, [::]:8000 transparent, 0.0.0.0:8443 ssl transparent, [::]:8443 ssl transparent, 0.0.0.0:9443 ssl http3",
	"stream_listen 10.0.0.1:9000-9002 transparent, 0.0.0.0:9100 udp, 0.0.0.0:9053 udp transparent",
	"admin_listen 0.0.0.0:8001, 127.0.0.1:8444 ssl",
	"status_listen localhost:8007",
}

// The texts are what a reader expects; that they work is shown by those that are
// loaded into a kernel.
func TestPlan_texts(t *testing.T) {
	local := whole
	local.InterceptLocal = []string{"tcp dport 80", "tcp dport 5432 by redirect to :9000"}
	local.ReturnFrom = []string{"eth2"}
	q := mustPlan(t, local, wholeLines...)
	streams := whole
	streams.Intercept = whole.Intercept[:2]
	p := mustPlan(t, streams, wholeLines...)
	pf, err := p.PF(false)
	if err != nil {
		t.Fatal(err)
	}
	openBSD, err := p.PF(true)
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{
		"whole.nft": q.NFT(), "whole.iptables": q.IPTables(), "whole.ip6tables": q.IP6Tables(),
		"whole.pf": pf, "whole.openbsd.pf": openBSD,
	} {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
	for _, broken := range []Settings{{InterceptLocal: []string{"tcp dport 80"}}, {ReturnFrom: []string{"eth0"}}, {Intercept: []string{"udp dport 53"}}} {
		if _, err := mustPlan(t, broken, wholeLines...).PF(false); err == nil {
			t.Errorf("pf takes %+v", broken)
		}
	}
}

// Everything that the settings can get wrong is told by name.
func TestNew_errors(t *testing.T) {
	const lines = "proxy_listen 0.0.0.0:8000 transparent, 0.0.0.0:8443 ssl transparent=tproxy, 127.0.0.1:8100 transparent, fd/http transparent"
	intercept := func(text string) Settings { return Settings{Intercept: []string{text}} }
	for _, tt := range []struct {
		settings Settings
		want     string
	}{
		{Settings{Backend: "ufw"}, `backend: "ufw": expected nftables, iptables, iptables-nft or iptables-legacy`},
		{Settings{Interfaces: []string{"eth0; drop"}}, `interfaces: "eth0; drop" is not the name`},
		{Settings{ReturnFrom: []string{"a name that is too long"}}, "return_from: "},
		{Settings{Clients: []string{"10.0.0.0/33"}}, `clients: "10.0.0.0/33": expected an address or a range`},
		{Settings{Trusted: []string{"lan"}}, `trusted: "lan": expected`},
		{Settings{Trusted: []string{"fe80::1%eth0"}}, `trusted: "fe80::1%eth0": expected`},
		{Settings{Rate: "many"}, `rate: "many": expected <number>/second|minute|hour`},
		{Settings{Rate: "0/s"}, "rate: "},
		{Settings{Rate: "5/week"}, "rate: "},
		{Settings{Rate: "5/s burst"}, "rate: "},
		{Settings{Rate: "5/s burst 0"}, "rate: "},
		{Settings{Rate: "20000/s"}, "rate: "},
		{intercept(""), "expected tcp or udp first"},
		{intercept("http"), "expected tcp or udp first"},
		{intercept("tcp"), "the ports are missing"},
		{intercept("tcp dport"), "something is missing behind dport"},
		{intercept("tcp dport http"), `dport: "http": expected a port`},
		{intercept("tcp dport 90-80"), `"90-80"`},
		{intercept("tcp dport { 80, 70-90 }"), "port 80 is given twice"},
		{intercept("tcp dport 80 dport 81"), "dport is given twice"},
		{intercept("tcp dport 80 sport 1"), `dport: "sport": expected a port`},
		{intercept("tcp sport 80"), `unknown word "sport"`},
		{intercept("tcp dport 80 iifname a/b"), `iifname: "a/b" is not the name`},
		{intercept("tcp dport 80 saddr x"), `saddr: networks: "x"`},
		{intercept("tcp dport 80 by magic"), `by: "magic": expected tproxy or redirect`},
		{intercept("tcp dport 80 to nowhere"), `to: "nowhere": expected the port`},
		{intercept("tcp dport 80 to :0"), "to: "},
		{intercept("udp dport 53 by redirect"), "UDP can be diverted by tproxy only"},
		{intercept("udp dport 53"), `one with the flag "transparent" and the flag "udp" or "http3" is needed`},
		{intercept("tcp dport 80 to :8001"), `one with the flag "transparent" on port 8001 is needed`},
		{intercept("tcp dport 80 to 10.1.1.1:8000"), `one with the flag "transparent" bound to 10.1.1.1:8000 is needed`},
		{intercept("udp dport 53 to :53"), `the flag "udp" or "http3" on port 53 is needed; the port of proxy_listen fd/http transparent is not known here`},
		{intercept("tcp dport 81"), "several listeners could take port 81: proxy_listen 0.0.0.0:8000, proxy_listen 0.0.0.0:8443, proxy_listen 127.0.0.1:8100; `to :<port>` says which one"},
		{intercept("tcp dport 80 by redirect to :8443"), "is needed"},
		{intercept("tcp dport 80 by redirect to :8100"), "a redirection does not get from other hosts to a loopback address"},
		{Settings{InterceptLocal: []string{"tcp dport 80 iifname eth0 to :8000"}}, "intercept_local: "},
	} {
		_, err := New(tt.settings, listeners(t, lines))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: got %v, want %s", tt.settings, err, tt.want)
		}
	}
}

// Without further words, traffic goes where one expects.
func TestNew_choosesListeners(t *testing.T) {
	for _, tt := range []struct{ intercept, lines, want string }{
		{"tcp dport { 80, 443 }", "proxy_listen 0.0.0.0:8000 transparent, 0.0.0.0:8443 ssl transparent", "80>8000 443>8443"},
		{"tcp dport { 80, 443, 8000-8010 }", "proxy_listen 0.0.0.0:8000 transparent, 0.0.0.0:8443 ssl", "80,443,8000-8010>8000"},
		{"tcp dport 443 to :9443", "proxy_listen 0.0.0.0:8443 ssl transparent", ""},
		{"udp dport 443", "proxy_listen 0.0.0.0:8000 transparent, 0.0.0.0:8443 ssl http3 transparent=tproxy", "443>8443"},
		{"udp dport 53", "stream_listen 0.0.0.0:9000 transparent, 0.0.0.0:9053 udp transparent", "53>9053"},
		{"tcp dport 443", "proxy_listen 0.0.0.0:8443 ssl transparent|stream_listen 0.0.0.0:9443 ssl transparent", "443>8443"},
		{"tcp dport 443 to :9443", "proxy_listen 0.0.0.0:8443 ssl transparent|stream_listen 0.0.0.0:9443 ssl transparent", "443>9443"},
		{"tcp dport 5432 to :9001", "stream_listen 0.0.0.0:9000-9002 transparent", "5432>9001"},
		{"tcp dport 5432 by redirect", "stream_listen 0.0.0.0:9000 transparent=redirect, 0.0.0.0:9001 transparent=tproxy", "5432>9000 redirected"},
		{"tcp dport 5432", "stream_listen 0.0.0.0:9000 transparent=redirect", "5432>9000 redirected"},
	} {
		p, err := New(Settings{Intercept: []string{tt.intercept + " daddr 0.0.0.0/0"}}, listeners(t, strings.Split(tt.lines, "|")...))
		if tt.want == "" {
			if err == nil {
				t.Errorf("%s: no error", tt.intercept)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.intercept, err)
			continue
		}
		var got []string
		for _, in := range p.intakes {
			var texts []string
			for _, ports := range in.ports {
				texts = append(texts, ports.text("-"))
			}
			text := strings.Join(texts, ",") + ">" + ports{in.port, in.port}.text("")
			if in.by == byRedirect {
				text += " redirected"
			}
			got = append(got, text)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: got %v, want %s", tt.intercept, got, tt.want)
		}
	}
}

// What the plan leaves out is told.
func TestNew_notes(t *testing.T) {
	p := mustPlan(t, Settings{}, "proxy_listen 0.0.0.0:0 transparent, 0.0.0.0:8000 transparent, fd/http transparent", "admin_listen 0.0.0.0:8001, 127.0.0.1:8002")
	want := []string{
		"proxy_listen 0.0.0.0:0 transparent: the system chooses the port, so there is no rule for it",
		"proxy_listen fd/http transparent: the port belongs to the socket that is passed and is not known here, so there is no rule for it",
		"admin_listen 0.0.0.0:8001: no other host is let in; trusted names those that should be",
		"proxy_listen 0.0.0.0:8000 transparent: nothing is diverted to it; intercept says what should be",
	}
	if diff := cmp.Diff(want, p.Notes); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// What an operator writes may stand in comments, which it does not end.
func TestPlan_comments(t *testing.T) {
	p := mustPlan(t, Settings{Intercept: []string{"tcp dport 80\niifname \"eth0\""}}, "proxy_listen 0.0.0.0:8000 transparent")
	for _, text := range []string{p.NFT(), p.IP6Tables()} {
		if !strings.Contains(text, `"no IPv6 listener for tcp dport 80 iifname eth0"`) {
			t.Errorf("got\n%s", text)
		}
	}
	if text, err := p.PF(true); err != nil || !strings.Contains(text, "# no IPv6 listener for tcp dport 80 iifname eth0\n") {
		t.Errorf("got %v\n%s", err, text)
	}
}

func TestTidy(t *testing.T) {
	got, err := parsePrefixes("x", []string{"10.1.2.3", "::/0", "10.0.0.0/8", "192.0.2.9/24", "10.0.0.0/8", "::ffff:10.2.0.1", "fd00::1"})
	if err != nil {
		t.Fatal(err)
	}
	if texts := strings.Join(prefixTexts(ofFamily(got, ip4)), " "); texts != "10.0.0.0/8 192.0.2.0/24" {
		t.Errorf("got %s", texts)
	}
	if six := ofFamily(got, ip6); len(six) != 1 || six[0].Bits() != 0 {
		t.Errorf("got %v", six)
	}
}

// What is read, whatever it is, makes words that keep within their places.
func FuzzParseIntercept(f *testing.F) {
	f.Add("tcp dport { 80, 443 } iifname eth0 saddr 10.0.0.0/8 by redirect to :8000")
	f.Add("udp dport 53-54 daddr { ::1, fd00::/8 } to [::1]:53")
	f.Fuzz(func(t *testing.T, text string) {
		i, err := ParseIntercept(text)
		if err != nil {
			return
		}
		in := intake{family: ip4, proto: i.proto, ports: i.ports, interfaces: i.interfaces, from: ofFamily(i.from, ip4), to: ofFamily(i.to, ip4)}
		for _, rule := range append(in.xtMatches(), in.nftMatch(), in.pfMatch("any"), comment(intake{text: text}.why())) {
			if strings.ContainsAny(rule, "\n;#$`\\") {
				t.Errorf("%q becomes %q", text, rule)
			}
		}
		if len(i.ports) == 0 {
			t.Errorf("%q has no port", text)
		}
	})
}
