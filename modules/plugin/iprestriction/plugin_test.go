package iprestriction_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/plugin"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/iprestriction"
	"github.com/portcullis-gateway/portcullis/modules/plugin/plugintest"
)

func TestIPRestriction(t *testing.T) {
	const not = "IP address not allowed: "
	for _, tt := range []struct {
		name, config, from string
		status             int
		message            string
	}{
		{"allowed address", `{"allow": ["192.0.2.1"]}`, "192.0.2.1:1", 200, ""},
		{"another address", `{"allow": ["192.0.2.1"]}`, "192.0.2.2:1", 403, not + "192.0.2.2"},
		{"allowed range", `{"allow": ["192.0.2.0/24"]}`, "192.0.2.255:1", 200, ""},
		{"range with host bits", `{"allow": ["192.0.2.77/24"]}`, "192.0.2.1:1", 200, ""},
		{"outside of the range", `{"allow": ["192.0.2.0/25"]}`, "192.0.2.128:1", 403, not + "192.0.2.128"},
		{"denied address", `{"deny": ["192.0.2.1"]}`, "192.0.2.1:1", 403, not + "192.0.2.1"},
		{"not denied", `{"deny": ["192.0.2.1"]}`, "192.0.2.2:1", 200, ""},
		{"deny comes first", `{"allow": ["192.0.2.0/24"], "deny": ["192.0.2.1"]}`, "192.0.2.1:1", 403, not + "192.0.2.1"},
		{"both let it in", `{"allow": ["192.0.2.0/24"], "deny": ["192.0.2.1"]}`, "192.0.2.3:1", 200, ""},
		{"IPv6", `{"allow": ["2001:db8::/32"]}`, "[2001:db8::1]:1", 200, ""},
		{"IPv6 denied", `{"deny": ["2001:db8::1"]}`, "[2001:db8::1]:1", 403, not + "2001:db8::1"},
		{"no IPv6 in a list of IPv4", `{"allow": ["0.0.0.0/0"]}`, "[2001:db8::1]:1", 403, not + "2001:db8::1"},
		{"IPv4 in IPv6", `{"deny": ["::ffff:192.0.2.1"]}`, "192.0.2.1:1", 403, not + "192.0.2.1"},
		{"status", `{"deny": ["192.0.2.1"], "status": 404, "message": "nothing here"}`, "192.0.2.1:1", 404, "nothing here"},
		{"Unix socket", `{"deny": ["192.0.2.1"], "status": 404}`, "@", 403, "Cannot identify the client IP address, unix domain sockets are not supported."},
		{"empty allow does not count", `{"allow": [], "deny": ["192.0.2.1"]}`, "192.0.2.2:1", 200, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := plugintest.New(t)
			in := g.Add("ip-restriction", tt.config)
			resp := g.Get("/", plugintest.From(tt.from))
			if body := plugintest.Body(resp); resp.StatusCode != tt.status || !strings.Contains(body, tt.message) {
				t.Errorf("got %d %s, want %d %q", resp.StatusCode, body, tt.status, tt.message)
			}
			client, _ := netip.ParseAddrPort(tt.from)
			err := in.Module().(plugin.Prereader).Preread(&plugin.Session{Client: client})
			if a, _ := err.(*plugin.Answer); (err == nil) != (tt.status == 200) || err != nil && (a == nil || a.Status != tt.status || a.Message != tt.message) {
				t.Errorf("connection: %+v", err)
			}
		})
	}
}

func TestIPRestriction_refusals(t *testing.T) {
	for config, want := range map[string]string{
		``:                                   "at least one of these fields must be non-empty: 'config.allow', 'config.deny'",
		`{"allow": []}`:                      "at least one of these fields must be non-empty: 'config.allow', 'config.deny'",
		`{"allow": ["192.0.2.1/33"]}`:        "invalid ip or cidr range: '192.0.2.1/33'",
		`{"deny": ["example.com"]}`:          "invalid ip or cidr range: 'example.com'",
		`{"deny": ["::1"], "status": 99}`:    "config.status: value should be between 100 and 599",
		`{"deny": ["::1"], "status": 403.5}`: "status: expected a whole number, got 403.5",
	} {
		if _, err := plugintest.New(t).TryAdd("ip-restriction", config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
	}
}

func TestIPRestriction_protocols(t *testing.T) {
	in := plugintest.New(t).Add("ip-restriction", `{"deny": ["192.0.2.1"]}`)
	if got := strings.Join(in.Protocols, " "); got != "http https tcp tls grpc grpcs" {
		t.Errorf("by default it acts on %s", got)
	}
}

// How many ranges there are does not matter.
func BenchmarkIPRestriction(b *testing.B) {
	for _, n := range []int{1, 1000, 100000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var list []string
			for i := range n {
				list = append(list, fmt.Sprintf(`"10.%d.%d.%d"`, i>>16, i>>8&255, i&255))
			}
			g := plugintest.New(b)
			g.Add("ip-restriction", `{"deny": [`+strings.Join(list, ",")+`]}`)
			plugintest.Bench(b, g)
		})
	}
}
