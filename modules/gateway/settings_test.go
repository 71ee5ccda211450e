package gateway

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/portcullis-gateway/portcullis/modules/dns"
)

func parse(t *testing.T, s Settings) *Options {
	t.Helper()
	o, err := s.parse(zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestTrusts(t *testing.T) {
	o := parse(t, Settings{TrustedIPs: []string{"10.0.0.0/8", "192.168.1.7", "2001:db8::/32", "::ffff:172.16.0.1", "unix:"}})
	for addr, want := range map[string]bool{
		"10.200.3.4":        true,
		"11.0.0.1":          false,
		"192.168.1.7":       true,
		"192.168.1.8":       false,
		"::ffff:10.0.0.1":   true, // as a listener for both families sees it
		"172.16.0.1":        true,
		"2001:db8:1::1":     true,
		"2001:db9::1":       false,
		"::ffff:11.0.0.1":   false,
		"fe80::1%eth0":      false,
		"::ffff:172.16.0.1": true,
	} {
		if got := o.Trusts(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Trusts(%s) = %t, want %t", addr, got, want)
		}
	}
	if !o.TrustUnix {
		t.Error("unix: is not trusted")
	}
	if parse(t, Settings{}).Trusts(netip.MustParseAddr("127.0.0.1")) {
		t.Error("loopback is trusted though nobody said so")
	}
}

func TestPublicPort(t *testing.T) {
	o := parse(t, Settings{PortMaps: []string{"80:8000", "443:8443"}})
	for listened, want := range map[uint16]uint16{8000: 80, 8443: 443, 9000: 9000, 80: 80} {
		if got := o.PublicPort(listened); got != want {
			t.Errorf("PublicPort(%d) = %d, want %d", listened, got, want)
		}
	}
}

func TestHeaders(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   []string
		want Header
	}{
		{"Kong's default", nil, HeaderServer | HeaderVia | HeaderUpstreamLatency | HeaderProxyLatency | HeaderResponseLatency | HeaderAdminLatency | HeaderRequestID},
		{"off", []string{"off"}, 0},
		{"tokens", []string{"server_tokens"}, HeaderServer | HeaderVia},
		{"by name, in any case", []string{"VIA", "x-kong-upstream-status"}, HeaderVia | HeaderUpstreamStatus},
	} {
		if got := parse(t, Settings{Headers: tt.in}).Headers; got != tt.want {
			t.Errorf("%s: %b, want %b", tt.name, got, tt.want)
		}
	}
	if !parse(t, Settings{}).UpstreamRequestID || parse(t, Settings{HeadersUpstream: []string{"off"}}).UpstreamRequestID {
		t.Error("headers_upstream: expected the request id by default, and not with off")
	}
}

func TestDNS_settingsReplaceKongsDefaults(t *testing.T) {
	kong := dns.NewConfig()
	if got := parse(t, Settings{}).DNS; !reflect.DeepEqual(got, kong) {
		t.Errorf("without settings: got %+v, want %+v", got, kong)
	}
	want := kong
	want.Servers, want.Hosts, want.Order = []string{"10.0.0.2:53", "[::1]:5353"}, "/hosts", []string{"A", "AAAA"}
	want.ValidTTL, want.StaleTTL, want.NotFoundTTL, want.ErrorTTL, want.CacheSize = time.Minute, 0, time.Hour, time.Second/2, 7
	got := parse(t, Settings{
		DNSResolver: []string{"10.0.0.2", "[::1]:5353"}, DNSHostsFile: "/hosts", DNSOrder: []string{"a", "aaaa"},
		DNSValidTTL: caddy.Duration(time.Minute), DNSStaleTTL: new(caddy.Duration(0)), DNSNotFoundTTL: new(caddy.Duration(time.Hour)),
		DNSErrorTTL: new(caddy.Duration(time.Second / 2)), DNSCacheSize: 7,
	}).DNS
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestSettings_errorsNameTheOption(t *testing.T) {
	for _, tt := range []struct {
		in   Settings
		want string
	}{
		{Settings{TrustedIPs: []string{"10.0.0.0/33"}}, "trusted_ips must be a comma separated list in the form of IPv4 or IPv6 address or CIDR block or 'unix:', got '10.0.0.0/33'"},
		{Settings{TrustedIPs: []string{"example.com"}}, "trusted_ips must be"},
		{Settings{PortMaps: []string{"80"}}, "invalid port mapping (`port_maps`): 80"},
		{Settings{PortMaps: []string{"0:8000"}}, "invalid port mapping (`port_maps`): 0:8000"},
		{Settings{PortMaps: []string{"80:65536"}}, "invalid port mapping"},
		{Settings{Headers: []string{"X-Other"}}, "headers: invalid entry 'X-Other'"},
		{Settings{HeadersUpstream: []string{"server_tokens"}}, "headers_upstream: expected X-Kong-Request-Id or off"},
		{Settings{HeadersUpstream: []string{"X-Other"}}, "headers_upstream: expected X-Kong-Request-Id or off"},
		{Settings{RealIPHeader: "X Real"}, `real_ip_header: "X Real" is not the name of a header`},
		{Settings{RouterFlavor: "expressions"}, `router_flavor: "expressions" is not supported`},
		{Settings{DNSResolver: []string{"10.0.0.2", "ns1"}}, `dns_resolver: "ns1" is not the address of a name server`},
		{Settings{DNSOrder: []string{"PTR"}}, `dns_order: unknown kind of record "PTR"`},
		{Settings{DNSValidTTL: -1}, "dns_valid_ttl: -1ns: expected a duration that is not negative"},
		{Settings{DNSErrorTTL: new(caddy.Duration(-1))}, "dns_error_ttl: -1ns"},
		{Settings{DNSCacheSize: -1}, "dns_cache_size: -1: expected a number of names above 0"},
		{Settings{ErrorDefaultType: "text/rtf"}, `error_default_type: unknown type "text/rtf"`},
	} {
		err := tt.in.Check()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: error is %v, want one with %q", tt.in, err, tt.want)
		}
	}
}

func TestSettings_pluginsThatAreNotBuiltAreWarnedOfByName(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	s := Settings{Plugins: []string{"bundled", "http.handlers.*", "oauth3"}}
	if _, err := s.parse(zap.New(core)); err != nil {
		t.Fatal(err)
	}
	got := logs.All()
	if len(got) != 1 || got[0].ContextMap()["plugin"] != "oauth3" {
		t.Errorf("logged %v, want one warning about oauth3", got)
	}
}
