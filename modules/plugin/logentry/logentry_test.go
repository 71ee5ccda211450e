package logentry

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/catalog"
	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// world has a service and a route of it.
func world(t testing.TB, protocol string) (*store.Image, *entity.Route, *entity.Service) {
	t.Helper()
	tx := store.Begin(store.NewImage(catalog.Of()), store.Options{})
	insert := func(table string, o schema.Object) uuid.UUID {
		row, err := tx.Insert(table, o)
		if err != nil {
			t.Fatal(err)
		}
		return uuid.MustParse(row["id"].(string))
	}
	service := insert("services", schema.Object{"name": "s", "host": "s.test", "protocol": protocol})
	o := schema.Object{"name": "r", "protocols": []any{protocol}, "service": schema.Object{"id": service.String()}}
	if protocol == "tcp" {
		o["destinations"] = []any{schema.Object{"port": int64(9000)}}
	} else {
		o["paths"] = []any{"/"}
	}
	route := insert("routes", o)
	return tx.Image(), &entity.Route{ID: route, Name: "r"}, &entity.Service{ID: service, Name: "s"}
}

func TestOfSession(t *testing.T) {
	image, route, service := world(t, "tcp")
	start := time.UnixMilli(1_700_000_000_000)
	s := &plugin.Session{
		Protocol: "tcp", Client: netip.MustParseAddrPort("[::ffff:192.0.2.1]:5000"), Destination: netip.MustParseAddrPort("192.0.2.2:9000"),
		Route: route, Service: service, Start: start, Directory: image,
		TLS: &tls.ConnectionState{Version: tls.VersionTLS12, CipherSuite: tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
		Outcome: plugin.SessionOutcome{Status: 200, Received: 5, Sent: 7, Duration: 1500 * time.Millisecond, Tries: []plugin.Try{
			{Address: "10.0.0.1:80", Start: start.Add(2 * time.Millisecond), State: "failed", Code: 502},
			{Address: "[2001:db8::1]:81", Start: start.Add(4 * time.Millisecond), Duration: time.Millisecond},
		}},
	}
	got := string(OfSession(s))
	var e map[string]any
	if err := json.Unmarshal([]byte(got), &e); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if e["route"].(map[string]any)["name"] != "r" || e["service"].(map[string]any)["host"] != "s.test" {
		t.Errorf("got %s", got)
	}
	delete(e, "route")
	delete(e, "service")
	rest, _ := json.Marshal(e)
	const want = `{"client_ip":"192.0.2.1","latencies":{"kong":4,"session":1500},` +
		`"session":{"received":5,"sent":7,"server_port":9000,"status":200,"tls":{"cipher":"ECDHE-RSA-AES128-GCM-SHA256","client_verify":"NONE","version":"TLSv1.2"}},` +
		`"started_at":1700000000000,` +
		`"tries":[{"balancer_latency":0,"balancer_latency_ns":0,"balancer_start":1700000000002,"balancer_start_ns":1700000000002000000,"code":502,"ip":"10.0.0.1","port":80,"state":"failed"},` +
		`{"balancer_latency":1,"balancer_latency_ns":1000000,"balancer_start":1700000000004,"balancer_start_ns":1700000000004000000,"ip":"2001:db8::1","port":81}],` +
		`"upstream":{"received":7,"sent":5},"workspace":"0dc6f45b-8f8d-40d2-a504-473544ee190b","workspace_name":"default"}`
	if string(rest) != want {
		t.Errorf("got\n%s\nwant\n%s", rest, want)
	}

	s.Route, s.Service, s.TLS, s.Outcome.Tries = nil, nil, nil, nil
	if got := string(OfSession(s)); strings.Contains(got, "route") || strings.Contains(got, "tries") || strings.Contains(got, "tls") {
		t.Errorf("without a route: %s", got)
	}
}

func TestArguments(t *testing.T) {
	for query, want := range map[string]string{
		"":                `{}`,
		"a=1&b=2&a=3":     `{"a":["1","3"],"b":"2"}`,
		"a&b=&c=x=y&&=z":  `{"a":true,"b":"","c":"x=y"}`,
		"a%20b=c+d&e=%zz": `{"a b":"c d","e":"%zz"}`,
		"a=<&>":           `{">":true,"a":"<"}`,
	} {
		w := begin()
		w.strs("q", arguments(query))
		if got := string(w.b); got != `{"q":`+want {
			t.Errorf("%q: got %s, want %s", query, got, want)
		}
	}
	if n := len(arguments(strings.Repeat("&", 10) + many(150))); n != maxArguments {
		t.Errorf("%d arguments", n)
	}
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("&a" + strings.Repeat("b", i) + "=1")
	}
	return b.String()
}

func TestSecureOf(t *testing.T) {
	chain := []*x509.Certificate{{}}
	for _, tt := range []struct {
		state tls.ConnectionState
		want  secure
	}{
		{tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_256_GCM_SHA384, PeerCertificates: chain, VerifiedChains: [][]*x509.Certificate{chain}},
			secure{"TLSv1.3", "TLS_AES_256_GCM_SHA384", "SUCCESS"}},
		{tls.ConnectionState{Version: tls.VersionTLS12, CipherSuite: tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, PeerCertificates: chain},
			secure{"TLSv1.2", "ECDHE-ECDSA-CHACHA20-POLY1305", "FAILED"}},
		{tls.ConnectionState{Version: tls.VersionTLS11, CipherSuite: tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA},
			secure{"TLSv1.1", "ECDHE-RSA-AES256-SHA", "NONE"}},
		{tls.ConnectionState{Version: tls.VersionTLS10, CipherSuite: tls.TLS_RSA_WITH_AES_128_GCM_SHA256},
			secure{"TLSv1", "AES128-GCM-SHA256", "NONE"}},
	} {
		if got := secureOf(&tt.state); *got != tt.want {
			t.Errorf("got %v, want %v", *got, tt.want)
		}
	}
}

func exchange(t testing.TB) *plugin.Exchange {
	image, route, service := world(t, "http")
	r, _ := http.NewRequest("GET", "http://example.com/a?b=c", nil)
	r.RequestURI = "/a?b=c"
	r.Header.Set("User-Agent", "test")
	x := plugin.Begin(gateway{}, nil)
	x.Accept(r, nil)
	x.ID, x.Start, x.Hostname, x.Port = "0123456789abcdef0123456789abcdef", time.Now(), "example.com", "8000"
	x.Route, x.Service, x.Directory = route, service, image
	x.Outcome = plugin.Outcome{Status: 200, FromUpstream: true, UpstreamStatus: 200,
		Tries: []plugin.Try{{Address: "10.0.0.1:80", Start: time.Now()}}}
	return x
}

// gateway is where the exchange is in.
type gateway struct{ plugin.Host }

func (gateway) UpstreamURI() string { return "/a?b=c" }

func TestOf_whatPluginsNote(t *testing.T) {
	x := exchange(t)
	x.Note("correlation_id", "first")
	x.Note("more", map[string]any{"a": []int{1}, "<": nil})
	x.Note("correlation_id", "second")
	x.Note("never", func() {}) // JSON cannot tell it
	got := string(Of(x))
	if !json.Valid([]byte(got)) || !strings.Contains(got, `,"more":{"\u003c":null,"a":[1]},"correlation_id":"second","never":null,`) {
		t.Errorf("got %s", got)
	}
	if strings.ContainsAny(got, "\n") {
		t.Errorf("it is no line: %q", got)
	}
}

// TestOf_textThatIsNoUTF8 has bytes in a header that JSON cannot have.
func TestOf_textThatIsNoUTF8(t *testing.T) {
	x := exchange(t)
	x.Request().Header["X-Raw"] = []string{"a\xff\nb"}
	if got := string(Of(x)); !json.Valid([]byte(got)) || !strings.Contains(got, `"x-raw":"a`+"\ufffd"+`\nb"`) && !strings.Contains(got, `"x-raw":"a\ufffd\nb"`) {
		t.Errorf("got %s", got)
	}
}

func BenchmarkOf(b *testing.B) {
	x := exchange(b)
	b.ReportAllocs()
	for b.Loop() {
		Of(x)
	}
}
