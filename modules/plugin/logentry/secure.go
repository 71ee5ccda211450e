package logentry

import (
	"crypto/tls"
	"strings"
)

// secure is what was agreed on with a client that speaks TLS.
type secure struct {
	version      string
	cipher       string
	clientVerify string
}

func secureOf(s *tls.ConnectionState) *secure {
	if s == nil {
		return nil
	}
	verified := "NONE"
	switch {
	case len(s.VerifiedChains) > 0:
		verified = "SUCCESS"
	case len(s.PeerCertificates) > 0:
		verified = "FAILED"
	}
	version := strings.ReplaceAll(tls.VersionName(s.Version), " ", "v") // "TLS 1.3"
	return &secure{version: strings.ReplaceAll(version, "TLSv1.0", "TLSv1"), cipher: cipher(s.CipherSuite), clientVerify: verified}
}

// cipher is a suite's name in OpenSSL, which nginx tells. Those of TLS 1.3 have
// the same name everywhere.
func cipher(id uint16) string {
	name := tls.CipherSuiteName(id)
	exchange, bulk, ok := strings.Cut(strings.TrimPrefix(name, "TLS_"), "_WITH_")
	if !ok {
		return name
	}
	if exchange != "RSA" {
		exchange = strings.ReplaceAll(exchange, "_", "-") + "-"
	} else {
		exchange = ""
	}
	if strings.HasPrefix(bulk, "CHACHA20_POLY1305") {
		return exchange + "CHACHA20-POLY1305"
	}
	bulk = strings.NewReplacer("AES_128", "AES128", "AES_256", "AES256", "_CBC_SHA", "_SHA", "3DES_EDE_CBC", "DES_CBC3").Replace(bulk)
	return exchange + strings.ReplaceAll(bulk, "_", "-")
}
