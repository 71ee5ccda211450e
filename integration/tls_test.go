package integration

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/selfsigned"
)

// pair makes a self-signed certificate and answers it as a body for the Admin
// API, with the names that it is for.
func pair(t *testing.T, subject string, names ...string) string {
	t.Helper()
	p := selfsigned.New(subject, "example.com")
	body, err := json.Marshal(map[string]any{"cert": p.Cert, "key": p.Key, "snis": names})
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// shake connects to the TLS listener with the server name and answers the
// state of the connection. Suites limit what the client can do, up to TLS 1.2.
func (p *process) shake(name string, suites ...uint16) tls.ConnectionState {
	p.t.Helper()
	config := &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}}
	if suites != nil {
		config.CipherSuites, config.MaxVersion = suites, tls.VersionTLS12
	}
	conn, err := tls.Dial("tcp", p.addr("PROXY_SSL"), config)
	if err != nil {
		p.t.Fatalf("handshake with server name %q: %v", name, err)
	}
	defer conn.Close()
	return conn.ConnectionState()
}

// TestTLS_serverNames serves certificates of the Admin API by server name, in
// the moment in which they are written, and after a restart.
func TestTLS_serverNames(t *testing.T) {
	t.Parallel()
	h := newHome(t, usual)
	p := h.start()
	served := func(name string) string { return p.shake(name).PeerCertificates[0].Subject.CommonName }
	standard := served("a.example.com")

	exact := p.admin("POST", "/certificates", pair(t, "exact", "a.example.com"), 201)
	p.admin("POST", "/certificates", pair(t, "leftmost", "*.example.com"), 201)
	p.admin("POST", "/certificates", pair(t, "rightmost", "a.example.*"), 201)

	expect := func(want map[string]string) {
		t.Helper()
		for name, subject := range want {
			if got := served(name); got != subject {
				t.Errorf("server name %q: got the certificate %q, want %q", name, got, subject)
			}
		}
	}
	expect(map[string]string{
		"a.example.com": "exact", "b.example.com": "leftmost", "a.example.org": "rightmost",
		"other.org": standard, "": standard,
	})
	p.admin("POST", "/certificates", pair(t, "star", "*"), 201)
	expect(map[string]string{"a.example.com": "exact", "other.org": "star"})

	p.admin("PUT", "/certificates/"+id(t, exact.body), pair(t, "renewed", "a.example.com"), 200)
	expect(map[string]string{"a.example.com": "renewed"})
	p.admin("DELETE", "/snis/a.example.com", "", 204)
	expect(map[string]string{"a.example.com": "leftmost"})

	p.kill()
	p = h.start()
	expect(map[string]string{"a.example.com": "leftmost", "a.example.org": "rightmost", "other.org": "star"})
}

// TestTLS_defaults looks at the certificates that are made once: one of each
// kind, for clients of each kind, and the same after a restart.
func TestTLS_defaults(t *testing.T) {
	t.Parallel()
	h := newHome(t, usual)
	p := h.start()
	kinds := []struct {
		algorithm x509.PublicKeyAlgorithm
		suite     uint16
	}{
		{x509.RSA, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
		{x509.ECDSA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	}
	var before [][]byte
	for _, kind := range kinds {
		cert := p.shake("", kind.suite).PeerCertificates[0]
		if cert.PublicKeyAlgorithm != kind.algorithm {
			t.Errorf("a client with %s got a certificate with %s", tls.CipherSuiteName(kind.suite), cert.PublicKeyAlgorithm)
		}
		before = append(before, cert.Raw)
	}
	if got := p.shake("").NegotiatedProtocol; got != "h2" {
		t.Errorf("negotiated %q, want h2", got)
	}
	p.stop()
	p = h.start()
	for i, kind := range kinds {
		if !bytes.Equal(p.shake("", kind.suite).PeerCertificates[0].Raw, before[i]) {
			t.Errorf("the certificate with %s is another after a restart", kind.algorithm)
		}
	}
}
