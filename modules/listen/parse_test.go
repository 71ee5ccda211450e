package listen

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParse_acceptsKongsLines(t *testing.T) {
	for _, tt := range []struct {
		name, line string
		set        FlagSet
		want       []Bind
		back       string // what Line gives; empty: the line itself
	}{
		{
			name: "kong's default proxy_listen",
			line: "0.0.0.0:8000 reuseport backlog=16384, 0.0.0.0:8443 http2 ssl reuseport backlog=16384",
			want: []Bind{
				{Address: "0.0.0.0", Port: 8000, ReusePort: true, Backlog: 16384},
				{Address: "0.0.0.0", Port: 8443, SSL: true, HTTP2: true, ReusePort: true, Backlog: 16384},
			},
			back: "0.0.0.0:8000 reuseport backlog=16384, 0.0.0.0:8443 ssl http2 reuseport backlog=16384",
		},
		{name: "off", line: "off", want: []Bind{}},
		{name: "blanks around off", line: "  off\t", want: []Bind{}, back: "off"},
		{name: "off first wins over the rest", line: "off, 0.0.0.0:8000", want: []Bind{}, back: "off"},
		{
			name: "blanks around entries and flags",
			line: "\t127.0.0.1:8001  ssl ,127.0.0.1:8002,  127.0.0.1:8003\tbind",
			want: []Bind{{Address: "127.0.0.1", Port: 8001, SSL: true}, {Address: "127.0.0.1", Port: 8002}, {Address: "127.0.0.1", Port: 8003, Bind: true}},
			back: "127.0.0.1:8001 ssl, 127.0.0.1:8002, 127.0.0.1:8003 bind",
		},
		{name: "ipv6 wildcard", line: "[::]:8000 ipv6only=off", want: []Bind{{Address: "::", Port: 8000, IPv6Only: "off"}}},
		{name: "ipv6 in a long spelling", line: "[0:0:0:0:0:0:0:1]:8000", want: []Bind{{Address: "::1", Port: 8000}}, back: "[::1]:8000"},
		{name: "ipv6 with a zone", line: "[fe80::1%eth0]:80", want: []Bind{{Address: "fe80::1%eth0", Port: 80}}},
		{name: "ipv4 written as ipv6", line: "[::ffff:10.0.0.1]:80", want: []Bind{{Address: "10.0.0.1", Port: 80}}, back: "10.0.0.1:80"},
		{name: "hostname", line: "Gateway_1.example.com:80", want: []Bind{{Address: "gateway_1.example.com", Port: 80}}, back: "gateway_1.example.com:80"},
		{name: "localhost", line: "localhost:8001", want: []Bind{{Address: "localhost", Port: 8001}}},
		{name: "any free port", line: "127.0.0.1:0, 127.0.0.1:0", want: []Bind{{Address: "127.0.0.1"}, {Address: "127.0.0.1"}}},
		{
			name: "every flag",
			line: "[::1]:1 so_keepalive=30m:10:5 ipv6only=on backlog=1 reuseport bind deferred proxy_protocol http2 ssl",
			want: []Bind{{
				Address: "::1", Port: 1, SSL: true, HTTP2: true, ProxyProtocol: true, Deferred: true, Bind: true, ReusePort: true,
				Backlog: 1, IPv6Only: "on", SoKeepalive: KeepAlive{Set: true, Idle: 1800e9, Interval: 10e9, Count: 5},
			}},
			back: "[::1]:1 ssl http2 proxy_protocol deferred bind reuseport backlog=1 ipv6only=on so_keepalive=1800:10:5",
		},
		{name: "stream with udp", line: "0.0.0.0:53 udp reuseport", set: Stream, want: []Bind{{Address: "0.0.0.0", Port: 53, UDP: true, ReusePort: true}}, back: "0.0.0.0:53 reuseport udp"},
		{name: "tcp and udp on one port", line: "0.0.0.0:53, 0.0.0.0:53 udp", set: Stream, want: []Bind{{Address: "0.0.0.0", Port: 53}, {Address: "0.0.0.0", Port: 53, UDP: true}}},
		{name: "a wildcard beside an address", line: "0.0.0.0:80, 127.0.0.1:80, [::]:80", want: []Bind{{Address: "0.0.0.0", Port: 80}, {Address: "127.0.0.1", Port: 80}, {Address: "::", Port: 80}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.set == 0 {
				tt.set = HTTP
			}
			got, err := Parse("proxy_listen", tt.line, tt.set)
			if err != nil {
				t.Fatalf("Parse(%q): %v", tt.line, err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Parse(%q), want -, got +:\n%s", tt.line, diff)
			}
			if tt.back == "" {
				tt.back = tt.line
			}
			if back := Line(got); back != tt.back {
				t.Errorf("Line = %q, want %q", back, tt.back)
			}
		})
	}
}

func TestParse_errorsSayWhatIsAccepted(t *testing.T) {
	const accepted = "accepted: ssl, http2, proxy_protocol, deferred, bind, reuseport, backlog=N, ipv6only=on|off, so_keepalive=on|off|[idle]:[intvl]:[cnt], transparent[=tproxy|redirect], intercepted"
	const forms = "want <IPv4>:<port>, [<IPv6>]:<port>, <hostname>:<port> or fd/<number or name>"
	for _, tt := range []struct {
		name, line string
		set        FlagSet
		want       string
	}{
		{"misspelt flag", "0.0.0.0:8000 reuzeport", HTTP, `proxy_listen: "0.0.0.0:8000 reuzeport": unknown flag "reuzeport"; ` + accepted},
		{"only the bad entry is quoted", "0.0.0.0:8000, 0.0.0.0:8443  ssl  SSL", HTTP, `proxy_listen: "0.0.0.0:8443 ssl SSL": unknown flag "SSL"; ` + accepted},
		{"a flag of streams", "0.0.0.0:53 udp", HTTP, `proxy_listen: "0.0.0.0:53 udp": unknown flag "udp"; ` + accepted},
		{"a flag of http", "0.0.0.0:53 http2", Stream, `proxy_listen: "0.0.0.0:53 http2": unknown flag "http2"; accepted: ssl, proxy_protocol, bind, reuseport, backlog=N, ipv6only=on|off, so_keepalive=on|off|[idle]:[intvl]:[cnt], udp, transparent[=tproxy|redirect], intercepted`},
		{"a value where none belongs", "0.0.0.0:80 ssl=on", HTTP, `proxy_listen: "0.0.0.0:80 ssl=on": unknown flag "ssl=on"; ` + accepted},
		{"a way of interception that is none", "0.0.0.0:80 transparent=nat", HTTP, `proxy_listen: "0.0.0.0:80 transparent=nat": flag "transparent=nat": want transparent, transparent=tproxy or transparent=redirect`},
		{"intercepted alone", "0.0.0.0:80 intercepted", HTTP, `proxy_listen: "0.0.0.0:80 intercepted": flag "intercepted": only together with "transparent"`},
		{"http3 without ssl", "0.0.0.0:80 http3", Proxy, `proxy_listen: "0.0.0.0:80 http3": flag "http3": only together with "ssl", as HTTP/3 has no form without TLS`},
		{"http3 is for the proxy", "0.0.0.0:443 ssl http3", HTTP, `proxy_listen: "0.0.0.0:443 ssl http3": unknown flag "http3"; ` + accepted},
		{"http3 behind a proxy that says who it is", "0.0.0.0:443 ssl http3 proxy_protocol", Proxy, `proxy_listen: "0.0.0.0:443 ssl http3 proxy_protocol": flags "http3" and "proxy_protocol" exclude each other`},
		{"http3 with redirection", "0.0.0.0:443 ssl http3 transparent=redirect", Proxy, `proxy_listen: "0.0.0.0:443 ssl http3 transparent=redirect": flags "http3" and "transparent=redirect" exclude each other, as REDIRECT and DNAT leave no trace of where a datagram was sent to; want transparent or transparent=tproxy`},
		{"a socket that was not passed", "fd/2", HTTP, `proxy_listen: "fd/2": address "fd/2": want the number of a socket that was passed to the process, from fd/3 on`},
		{"a name with a slash", "fd/a/b", HTTP, `proxy_listen: "fd/a/b": address "fd/a/b": want fd/<number> or fd/<name> (systemd: FileDescriptorName=)`},
		{"forgotten comma", "0.0.0.0:80 0.0.0.0:443 ssl", HTTP, `proxy_listen: "0.0.0.0:80 0.0.0.0:443 ssl": unknown flag "0.0.0.0:443"; entries are separated by commas`},
		{"repeated flag", "0.0.0.0:80 ssl bind ssl", HTTP, `proxy_listen: "0.0.0.0:80 ssl bind ssl": flag "ssl": given twice`},
		{"udp with ssl", "0.0.0.0:80 ssl udp", Stream, `proxy_listen: "0.0.0.0:80 ssl udp": flags "udp" and "ssl" exclude each other`},
		{"backlog without a number", "0.0.0.0:80 backlog", HTTP, `proxy_listen: "0.0.0.0:80 backlog": flag "backlog=": want backlog=N with N from 1 to 2147483647`},
		{"backlog of zero", "0.0.0.0:80 backlog=0", HTTP, `proxy_listen: "0.0.0.0:80 backlog=0": flag "backlog=0": want backlog=N with N from 1 to 2147483647`},
		{"backlog with a sign", "0.0.0.0:80 backlog=+1", HTTP, `proxy_listen: "0.0.0.0:80 backlog=+1": flag "backlog=+1": want backlog=N with N from 1 to 2147483647`},
		{"ipv6only without on or off", "[::]:80 ipv6only=yes", HTTP, `proxy_listen: "[::]:80 ipv6only=yes": flag "ipv6only=yes": want ipv6only=on or ipv6only=off`},
		{"so_keepalive with one part", "0.0.0.0:80 so_keepalive=30", HTTP, `proxy_listen: "0.0.0.0:80 so_keepalive=30": flag "so_keepalive=30": want on, off or [idle]:[intvl]:[cnt], for example 30m::10`},
		{"so_keepalive without any part", "0.0.0.0:80 so_keepalive=::", HTTP, `proxy_listen: "0.0.0.0:80 so_keepalive=::": flag "so_keepalive=::": want on, off or [idle]:[intvl]:[cnt], for example 30m::10`},
		{"so_keepalive beyond the kernel", "0.0.0.0:80 so_keepalive=10h::", HTTP, `proxy_listen: "0.0.0.0:80 so_keepalive=10h::": flag "so_keepalive=10h::": idle: time "10h": want 1 to 32767 seconds, for example 90, 30m or 1h30m`},
		{"so_keepalive with a bad count", "0.0.0.0:80 so_keepalive=::200", HTTP, `proxy_listen: "0.0.0.0:80 so_keepalive=::200": flag "so_keepalive=::200": cnt "200": want a number from 1 to 127`},
		{"no port", "0.0.0.0 ssl", HTTP, `proxy_listen: "0.0.0.0 ssl": the port is missing; ` + forms},
		{"no port behind ipv6", "[::1]", HTTP, `proxy_listen: "[::1]": the port is missing; ` + forms},
		{"no address", ":8000", HTTP, `proxy_listen: ":8000": the address is missing; ` + forms},
		{"port too large", "0.0.0.0:65536", HTTP, `proxy_listen: "0.0.0.0:65536": port "65536": want a number from 1 to 65535`},
		{"port by name", "0.0.0.0:http", HTTP, `proxy_listen: "0.0.0.0:http": port "http": want a number from 1 to 65535`},
		{"bare ipv6", "::1:8000", HTTP, `proxy_listen: "::1:8000": address "::1:8000": an IPv6 address must stand in brackets; ` + forms},
		{"brackets around a name", "[localhost]:80", HTTP, `proxy_listen: "[localhost]:80": address "[localhost]:80": what stands in brackets must be an IPv6 address; ` + forms},
		{"malformed ipv4", "10.0.0.256:80", HTTP, `proxy_listen: "10.0.0.256:80": address "10.0.0.256": neither an IP address nor a hostname; ` + forms},
		{"malformed name", "-x:80", HTTP, `proxy_listen: "-x:80": address "-x": neither an IP address nor a hostname; ` + forms},
		{"empty", "", HTTP, `proxy_listen: the list is empty; want "off" or one or more addresses`},
		{"trailing comma", "0.0.0.0:80,", HTTP, `proxy_listen: "0.0.0.0:80,": an entry between commas is empty`},
		{"off is no entry of its own", "0.0.0.0:80, off", HTTP, `proxy_listen: "off": the port is missing; ` + forms},
		{"one address twice", "0.0.0.0:80 ssl, 0.0.0.0:80", HTTP, `proxy_listen: "0.0.0.0:80 ssl" and "0.0.0.0:80" ask for the same address`},
		{"localhost is 127.0.0.1", "localhost:80, 127.0.0.1:80", HTTP, `proxy_listen: "localhost:80" and "127.0.0.1:80" ask for the same address`},
		{"ipv6 wildcard that takes ipv4 too", "0.0.0.0:80, [::]:80 ipv6only=off", HTTP, `proxy_listen: "0.0.0.0:80" and "[::]:80 ipv6only=off" ask for the same address`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			binds, err := Parse("proxy_listen", tt.line, tt.set)
			if err == nil {
				t.Fatalf("Parse(%q) = %v, want an error", tt.line, binds)
			}
			if err.Error() != tt.want {
				t.Errorf("Parse(%q):\n got %s\nwant %s", tt.line, err, tt.want)
			}
		})
	}
}

func TestValidate_checksBindsFromJSON(t *testing.T) {
	for _, tt := range []struct{ name, json, want string }{
		{"fine", `{"address":"::1","port":8000,"ipv6only":"off","so_keepalive":"on","backlog":5}`, ""},
		{"address in brackets", `{"address":"[::1]","port":8000}`, `address "[::1]": neither an IP address nor a hostname`},
		{"no address", `{"port":8000}`, `the address is missing`},
		{"ipv6only", `{"address":"::","port":1,"ipv6only":"yes"}`, `flag "ipv6only=yes": want ipv6only=on or ipv6only=off`},
		{"backlog", `{"address":"::","port":1,"backlog":-3}`, `flag "backlog=-3": want backlog=N`},
		{"udp is for streams", `{"address":"::","port":1,"udp":true}`, `unknown flag "udp"; accepted: ssl`},
		{"transparent", `{"address":"::","port":1,"transparent":"nat"}`, `flag "transparent=nat": want transparent`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b Bind
			if err := json.Unmarshal([]byte(tt.json), &b); err != nil {
				t.Fatal(err)
			}
			err := b.Validate("admin_listen", HTTP)
			if tt.want == "" {
				if err != nil {
					t.Errorf("Validate(%s) = %v", tt.json, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "admin_listen: ") {
				t.Errorf("Validate(%s) = %v, want admin_listen: … %s", tt.json, err, tt.want)
			}
		})
	}
	if err := json.Unmarshal([]byte(`{"so_keepalive":"maybe"}`), new(Bind)); err == nil || !strings.Contains(err.Error(), `so_keepalive "maybe": want on, off`) {
		t.Errorf("so_keepalive: maybe: %v", err)
	}
}

func TestShareHTTP2(t *testing.T) {
	plain, both := Bind{Address: "::", Port: 1}, Bind{Address: "::", Port: 2, SSL: true, HTTP2: true}
	in := []Bind{plain, both}
	out := ShareHTTP2(in)
	if !out[0].HTTP2 || in[0].HTTP2 {
		t.Errorf("ShareHTTP2: out %v, in %v; want the flag on all of out and in untouched", out, in)
	}
	if out := ShareHTTP2([]Bind{plain, plain}); out[0].HTTP2 {
		t.Errorf("ShareHTTP2 gave http2 to a list that has none: %v", out)
	}
}

func TestIsLoopback(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1": true, "127.9.9.9": true, "::1": true, "localhost": true, "LOCALHOST": true,
		"0.0.0.0": false, "::": false, "10.0.0.1": false, "localhost.example.com": false,
	} {
		if got := (Bind{Address: address}).IsLoopback(); got != want {
			t.Errorf("IsLoopback(%s) = %v, want %v", address, got, want)
		}
	}
}

// bindsOf draws any bind the grammar can express.
func bindsOf(set FlagSet) *rapid.Generator[Bind] {
	return rapid.Custom(func(t *rapid.T) Bind {
		b := Bind{
			Address:       rapid.SampledFrom([]string{"0.0.0.0", "127.0.0.1", "::", "2001:db8::1", "fe80::1%eth0", "localhost", "a.b-c.d_e"}).Draw(t, "address"),
			Port:          rapid.Uint16().Draw(t, "port"),
			SSL:           rapid.Bool().Draw(t, "ssl"),
			ProxyProtocol: rapid.Bool().Draw(t, "proxy_protocol"),
			Bind:          rapid.Bool().Draw(t, "bind"),
			ReusePort:     rapid.Bool().Draw(t, "reuseport"),
			Backlog:       rapid.IntRange(0, 1<<31-1).Draw(t, "backlog"),
			IPv6Only:      rapid.SampledFrom([]string{"", "on", "off"}).Draw(t, "ipv6only"),
		}
		switch rapid.IntRange(0, 3).Draw(t, "so_keepalive") {
		case 1:
			b.SoKeepalive = KeepAlive{Set: true}
		case 2:
			b.SoKeepalive = KeepAlive{Set: true, Off: true}
		case 3:
			seconds := func(t *rapid.T, label string) time.Duration {
				return time.Second * time.Duration(rapid.IntRange(0, 32767).Draw(t, label))
			}
			b.SoKeepalive = KeepAlive{
				Set: true, Idle: seconds(t, "idle"), Interval: seconds(t, "intvl"),
				Count: rapid.IntRange(0, 127).Draw(t, "cnt"),
			}
		}
		if set == Stream {
			b.UDP = !b.SSL && !b.ProxyProtocol && rapid.Bool().Draw(t, "udp")
			if b.Port > 0 && b.Port < 65535 && rapid.Bool().Draw(t, "range") {
				b.PortEnd = b.Port + 1
			}
		} else {
			b.HTTP2 = rapid.Bool().Draw(t, "http2")
			b.Deferred = rapid.Bool().Draw(t, "deferred")
		}
		return b
	})
}

func TestString_parsesBackToTheSameBind(t *testing.T) {
	for _, set := range []FlagSet{HTTP, Stream} {
		rapid.Check(t, func(t *rapid.T) {
			want := bindsOf(set).Draw(t, "bind")
			binds, err := Parse("x", want.String(), set)
			if err != nil || len(binds) != 1 || binds[0] != want {
				t.Fatalf("Parse(%q) = %+v, %v; want %+v", want, binds, err, want)
			}
			if err := want.Validate("x", set); err != nil {
				t.Fatal(err)
			}
			var decoded Bind
			encoded, err := json.Marshal(want)
			if err == nil {
				err = json.Unmarshal(encoded, &decoded)
			}
			if err != nil || decoded != want {
				t.Fatalf("JSON %s = %+v, %v; want %+v", encoded, decoded, err, want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, line := range []string{
		"off", "0.0.0.0:8000 reuseport backlog=16384, 0.0.0.0:8443 http2 ssl", "[::1%lo]:0 ipv6only=off",
		"localhost:1 so_keepalive=1h30m:5s:3", "a:1 transparent", "[::ffff:0.0.0.0]:1", "1.2.3:4", " , ", "[]:1", "[::]]:1 udp", "fd/3 ssl", "fd/name udp transparent",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		for _, set := range []FlagSet{HTTP, Stream} {
			binds, err := Parse("x", line, set)
			if err != nil {
				continue
			}
			again, err := Parse("x", Line(binds), set)
			if err != nil || !cmp.Equal(binds, again) {
				t.Errorf("Parse(%q) = %+v, but Parse(%q) = %+v, %v", line, binds, Line(binds), again, err)
			}
		}
	})
}

func TestParse_portRanges(t *testing.T) {
	binds, err := Parse("stream_listen", "0.0.0.0:4000-4002 udp, [::1]:5000-5001", Stream)
	if err != nil {
		t.Fatal(err)
	}
	if got := Line(binds); got != "0.0.0.0:4000-4002 udp, [::1]:5000-5001" {
		t.Errorf("got %q back", got)
	}
	var each []string
	for b := range binds[0].Each {
		each = append(each, b.String())
	}
	if got := strings.Join(each, ", "); got != "0.0.0.0:4000 udp, 0.0.0.0:4001 udp, 0.0.0.0:4002 udp" {
		t.Errorf("each: %q", got)
	}
	for _, tt := range []struct {
		line string
		set  FlagSet
		want string
	}{
		{"0.0.0.0:4000-4002", HTTP, `"0.0.0.0:4000-4002": ports 4000-4002: ranges are only for stream_listen`},
		{"0.0.0.0:4002-4000", Stream, "ports 4002-4000: want the lower port first, from 1 on"},
		{"0.0.0.0:0-10", Stream, "ports 0-10: want the lower port first, from 1 on"},
		{"0.0.0.0:4000-70000", Stream, `port "70000": want a number from 1 to 65535`},
		{"0.0.0.0:4000-", Stream, `port "": want a number from 1 to 65535`},
		{"0.0.0.0:4000-4010, 0.0.0.0:4010", Stream, `"0.0.0.0:4000-4010" and "0.0.0.0:4010" ask for the same address`},
	} {
		if _, err := Parse("x", tt.line, tt.set); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q in it", tt.line, err, tt.want)
		}
	}
}
