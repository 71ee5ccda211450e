package integration

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"

	"github.com/portcullis-gateway/portcullis/modules/patient"
)

// authority runs an ACME server that makes sure of names by asking the gateway of
// the home. It answers the server's directory, and writes the certificate by
// which it is known itself into the home's acme.pem.
func authority(t *testing.T, h *home) string {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	names := &nameServer{t: t, addr: h.addr("SITE"), places: map[string]*net.TCPAddr{}, addresses: true}
	for _, name := range []string{"shop.example.org.", "port.example.org.", "later.example.org."} {
		names.set(name, "http://127.0.0.1:1")
	}
	names.start()
	t.Cleanup(names.stop)

	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	issuer := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {Description: "default", ValidityPeriod: 86400}})
	checks := va.New(quiet, h.ports["PROXY"], h.ports["PROXY_SSL"], false, h.addr("SITE"), store)
	front := wfe.New(quiet, store, checks, issuer, nil, false, false, 1, 1)
	s := httptest.NewTLSServer(front.Handler())
	t.Cleanup(s.Close)
	h.write("acme.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	return s.URL + wfe.DirectoryPath
}

// TestAutoHTTPS_hostsOfRoutes lets an authority give certificates to hosts of
// routes: of those that are there at the start, and of one that comes later.
func TestAutoHTTPS_hostsOfRoutes(t *testing.T) {
	for _, tt := range []struct{ challenge, other string }{
		{"http-01", "disable_tlsalpn_challenge"},
		{"tls-alpn-01", "disable_http_challenge"},
	} {
		t.Run(tt.challenge, func(t *testing.T) {
			h := newHome(t, "")
			directory := authority(t, h)
			h.write("gateway.caddyfile", strings.NewReplacer(
				"DIRECTORY", directory, "OTHER", tt.other,
				"HTTP", strconv.Itoa(h.ports["PROXY"]), "TLS", strconv.Itoa(h.ports["PROXY_SSL"]),
			).Replace(`{
	skip_install_trust
	email admin@example.org
	cert_issuer acme {
		dir DIRECTORY
		trusted_roots {$HOME}/acme.pem
		alt_http_port HTTP
		alt_tlsalpn_port TLS
		OTHER
	}
	gateway {
		store bolt {$HOME}/gateway.db
	}
	proxy_listen 127.0.0.1:{$PROXY}, 127.0.0.1:{$PROXY_SSL} ssl http2 {
		auto_https
	}
	admin_listen 127.0.0.1:{$ADMIN}
	status_listen 127.0.0.1:{$STATUS}
}
`))
			p := h.start()
			up := upstream(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "here") })
			p.admin("POST", "/services", `{"name":"s","url":"`+up.URL+`"}`, 201)
			p.admin("POST", "/certificates", pair(t, "own", "own.example.org"), 201)
			p.admin("POST", "/services/s/routes", `{"hosts":["shop.example.org","own.example.org","*.example.org","port.example.org:8443"]}`, 201)
			p.admin("POST", "/services/s/routes", `{"hosts":["nobody.example.org"],"protocols":["http"]}`, 201)

			certified := func(name string) {
				t.Helper()
				var leaf *x509.Certificate
				patient.Until(t, "a certificate of the authority for "+name, func() bool {
					leaf = p.shake(name).PeerCertificates[0]
					return strings.HasPrefix(leaf.Issuer.CommonName, "Pebble")
				})
				if err := leaf.VerifyHostname(name); err != nil {
					t.Error(err)
				}
			}
			certified("shop.example.org")
			certified("port.example.org")
			p.admin("POST", "/services/s/routes", `{"hosts":["later.example.org"]}`, 201)
			certified("later.example.org")
			if got := p.shake("own.example.org").PeerCertificates[0].Subject.CommonName; got != "own" {
				t.Errorf("own.example.org: got the certificate of %s, want the gateway's own", got)
			}
			for _, name := range []string{"nobody.example.org", "x.example.org"} {
				if got := p.shake(name).PeerCertificates[0].Issuer.CommonName; got != "localhost" {
					t.Errorf("%s: got a certificate of %s, want the default one", name, got)
				}
			}
			p.reload() // what was obtained stays
			certified("shop.example.org")
		})
	}
}
