package gateway

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/portcullis-gateway/portcullis/modules/dial"
	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/modules/selfsigned"
	_ "github.com/portcullis-gateway/portcullis/modules/store/memory"
)

// load provisions a configuration with apps in JSON, the first of which is the
// gateway's.
func load(t *testing.T, gateway string, apps caddy.ModuleMap) (caddy.Context, *App) {
	t.Helper()
	all := caddy.ModuleMap{"gateway": json.RawMessage(gateway)}
	for name, raw := range apps {
		all[name] = raw
	}
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Admin:      &caddy.AdminConfig{Disabled: true},
		StorageRaw: json.RawMessage(fmt.Sprintf(`{"module":"file_system","root":%q}`, t.TempDir())),
		AppsRaw:    all,
	})
	if err != nil {
		t.Fatal(err)
	}
	app, err := From(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { app.Cleanup() })
	return ctx, app
}

// serveTLS answers handshakes with a config, and shows a word to each client.
func serveTLS(t *testing.T, config *tls.Config) string {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { io.WriteString(c, "hello"); c.Close() }()
		}
	}()
	return ln.Addr().String()
}

func (a *App) mustServe(t *testing.T, ctx caddy.Context, door string) string {
	t.Helper()
	config, err := a.ServerTLS(ctx, door)
	if err != nil {
		t.Fatal(err)
	}
	return serveTLS(t, config)
}

// shake makes one connection, and reads the word, behind which the tickets are.
func shake(addr string, config *tls.Config) (tls.ConnectionState, error) {
	config.InsecureSkipVerify = true
	d := &net.Dialer{Timeout: patient.Limit}
	c, err := tls.DialWithDialer(d, "tcp", addr, config)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patient.Limit))
	_, err = io.ReadAll(c)
	return c.ConnectionState(), err
}

func TestServerTLS_cipherSuites(t *testing.T) {
	const (
		gcm    = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
		chacha = tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
		cbc    = tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA
		rsa    = tls.TLS_RSA_WITH_AES_128_GCM_SHA256
	)
	for _, tt := range []struct {
		name, settings string
		version, suite uint16 // of the client; suite 0: its usual ones
		want           bool
	}{
		{"intermediate is the default", ``, tls.VersionTLS12, gcm, true},
		{"intermediate", `"ssl_cipher_suite":"intermediate"`, tls.VersionTLS12, chacha, true},
		{"intermediate without forward secrecy", ``, tls.VersionTLS12, rsa, false},
		{"intermediate with CBC", ``, tls.VersionTLS12, cbc, false},
		{"intermediate and TLS 1.1", ``, tls.VersionTLS11, cbc, false},
		{"intermediate and TLS 1.3", ``, tls.VersionTLS13, 0, true},
		{"modern", `"ssl_cipher_suite":"modern"`, tls.VersionTLS13, 0, true},
		{"modern and TLS 1.2", `"ssl_cipher_suite":"modern"`, tls.VersionTLS12, gcm, false},
		{"old", `"ssl_cipher_suite":"old"`, tls.VersionTLS12, rsa, true},
		{"old and TLS 1.0", `"ssl_cipher_suite":"old"`, tls.VersionTLS10, cbc, true},
		{"fips", `"ssl_cipher_suite":"fips"`, tls.VersionTLS12, gcm, true},
		{"fips and ChaCha", `"ssl_cipher_suite":"fips"`, tls.VersionTLS12, chacha, false},
		{"fips and TLS 1.3", `"ssl_cipher_suite":"fips"`, tls.VersionTLS13, 0, false},
		{"custom", `"ssl_cipher_suite":"custom","ssl_ciphers":["ECDHE-RSA-AES128-SHA:AES128-GCM-SHA256"]`, tls.VersionTLS12, cbc, true},
		{"custom without the suite", `"ssl_cipher_suite":"custom","ssl_ciphers":["ECDHE-RSA-AES128-SHA"]`, tls.VersionTLS12, gcm, false},
		{"custom versions", `"ssl_cipher_suite":"custom","ssl_ciphers":["ECDHE-RSA-AES128-SHA"],"ssl_protocols":["TLSv1.2","TLSv1.1"]`, tls.VersionTLS11, cbc, true},
		{"custom without TLS 1.3", `"ssl_cipher_suite":"custom","ssl_ciphers":["ECDHE-RSA-AES128-SHA"],"ssl_protocols":["TLSv1.2"]`, tls.VersionTLS13, 0, false},
		{"protocols do not count without custom", `"ssl_protocols":["TLSv1.1"]`, tls.VersionTLS11, cbc, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sep := ""
			if tt.settings != "" {
				sep = ","
			}
			ctx, app := load(t, `{"store":{"driver":"memory"}`+sep+tt.settings+`}`, nil)
			config := &tls.Config{MinVersion: tt.version, MaxVersion: tt.version}
			if tt.suite != 0 {
				config.CipherSuites = []uint16{tt.suite}
			}
			_, err := shake(app.mustServe(t, ctx, t.Name()), config)
			if (err == nil) != tt.want {
				t.Errorf("handshake: %v, want success %t", err, tt.want)
			}
		})
	}
}

// TestServerTLS_sessionsGoOn resumes a session on another listener, and in
// another configuration, but not at another door, nor when it is too old.
func TestServerTLS_sessionsGoOn(t *testing.T) {
	const settings = `{"store":{"driver":"memory"}}`
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		door := t.Name() + tls.VersionName(version)
		ctx, app := load(t, settings, nil)
		first, second := app.mustServe(t, ctx, door), app.mustServe(t, ctx, door)
		other := app.mustServe(t, ctx, door+"other")
		ctx2, app2 := load(t, settings, nil)
		reloaded := app2.mustServe(t, ctx2, door)
		ctx3, app3 := load(t, `{"store":{"driver":"memory"},"ssl_session_timeout":1}`, nil)
		impatient := app3.mustServe(t, ctx3, door)
		ctx4, app4 := load(t, `{"store":{"driver":"memory"},"ssl_session_tickets":false}`, nil)
		without := app4.mustServe(t, ctx4, door)

		cache := tls.NewLRUClientSessionCache(8)
		for _, step := range []struct {
			name, addr string
			resumes    bool
		}{
			{"at first", first, false}, {"again", first, true}, {"another listener", second, true}, {"after a reload", reloaded, true},
			{"too old", impatient, false}, {"no tickets", without, false}, {"another door", other, false},
		} {
			config := &tls.Config{ServerName: "example.com", ClientSessionCache: cache, MinVersion: version, MaxVersion: version}
			state, err := shake(step.addr, config)
			if err != nil || state.DidResume != step.resumes {
				t.Errorf("%s, %s: resumed %t, %v; want %t", tls.VersionName(version), step.name, state.DidResume, err, step.resumes)
			}
		}
	}
}

// TestServerTLS_caddysCertificates: what Caddy's own app has is served where
// the gateway has nothing, before the default pair.
func TestServerTLS_caddysCertificates(t *testing.T) {
	cert, key := selfsigned.New("site.example.com", "site.example.com").Write(t.TempDir())
	def, defKey := selfsigned.New("default", "default").Write(t.TempDir())
	ctx, app := load(t, fmt.Sprintf(`{"store":{"driver":"memory"},"ssl_cert":[%q],"ssl_cert_key":[%q]}`, def, defKey), caddy.ModuleMap{
		"tls": json.RawMessage(fmt.Sprintf(`{"certificates":{"load_files":[{"certificate":%q,"key":%q}]}}`, cert, key)),
	})
	addr := app.mustServe(t, ctx, t.Name())
	for name, want := range map[string]string{"site.example.com": "site.example.com", "other.example.com": "default", "": "default"} {
		state, err := shake(addr, &tls.Config{ServerName: name})
		if err != nil {
			t.Fatal(err)
		}
		if got := state.PeerCertificates[0].Subject.CommonName; got != want {
			t.Errorf("name %q: got the certificate of %q, want %q", name, got, want)
		}
	}
}

func TestTLSSettings_errors(t *testing.T) {
	cert, key := selfsigned.New("x", "x").Write(t.TempDir())
	for _, tt := range []struct{ in, want string }{
		{`"ssl_cipher_suite":"strong"`, `ssl_cipher_suite: unknown suite "strong"; expected one of fips, intermediate, modern, old, custom`},
		{`"ssl_cipher_suite":"custom"`, `ssl_cipher_suite custom needs at least one suite`},
		{`"ssl_ciphers":["HIGH:!aNULL"]`, `ssl_ciphers: unknown suite "HIGH"; expected OpenSSL's names`},
		{`"ssl_protocols":["SSLv3"]`, `ssl_protocols: unknown version "SSLv3"; expected TLSv1, TLSv1.1, TLSv1.2, TLSv1.3`},
		{`"ssl_protocols":["TLSv1.3","TLSv1.1"]`, `without a gap`},
		{`"ssl_session_timeout":-1`, `ssl_session_timeout`},
		{`"ssl_cert":["a.pem"]`, `expected as many keys as certificates, got 1 certificates and 0 keys`},
		{`"ssl_cert":["nowhere.pem"],"ssl_cert_key":["nowhere.pem"]`, `ssl_cert: nowhere.pem`},
		{fmt.Sprintf(`"ssl_cert":[%q,%q],"ssl_cert_key":[%q,%q]`, cert, cert, key, key), `expected keys of two kinds, both are ECDSA`},
		{`"client_ssl":true`, `client_ssl: expected client_ssl_cert and client_ssl_cert_key`},
		{`"client_ssl":true,"client_ssl_cert":"nowhere.pem","client_ssl_cert_key":"nowhere.pem"`, `client_ssl_cert`},
	} {
		t.Run(tt.in, func(t *testing.T) {
			_, err := caddy.ProvisionContext(&caddy.Config{
				Admin:   &caddy.AdminConfig{Disabled: true},
				AppsRaw: caddy.ModuleMap{"gateway": json.RawMessage(`{"store":{"driver":"memory"},` + tt.in + `}`)},
			})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestTLSSettings_whatHasNoEffectIsLogged(t *testing.T) {
	on := true
	core, logs := observer.New(zap.WarnLevel)
	s := Settings{TLSSettings: TLSSettings{
		SSLPreferServerCiphers: &on, SSLSessionCacheSize: "10m", SSLProtocols: []string{"TLSv1.2"}, SSLCiphers: []string{"DHE-RSA-AES128-GCM-SHA256"},
	}}
	if _, err := s.parse(zap.New(core)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range logs.All() {
		got = append(got, fmt.Sprint(e.ContextMap()["option"]))
	}
	if want := "[ssl_prefer_server_ciphers ssl_session_cache_size ssl_ciphers ssl_ciphers ssl_protocols]"; fmt.Sprint(got) != want {
		t.Errorf("got warnings about %v, want %s", got, want)
	}
}

func TestIdentify(t *testing.T) {
	cert, key := selfsigned.New("node", "node").Write(t.TempDir())
	_, app := load(t, fmt.Sprintf(`{"store":{"driver":"memory"},"client_ssl":true,"client_ssl_cert":%q,"client_ssl_cert_key":%q}`, cert, key), nil)
	own := new(tls.Certificate)
	service := &dial.TLS{Client: own, Key: "service"}
	app.Options().Identify(service)
	if service.Client != own || service.Key != "service" {
		t.Error("the service's own certificate is replaced")
	}
	other := &dial.TLS{Key: "other"}
	app.Options().Identify(other)
	if other.Client == nil || other.Client.Leaf.Subject.CommonName != "node" || other.Key == "other" {
		t.Errorf("got %+v, want the node's certificate, and another key", other)
	}
}
