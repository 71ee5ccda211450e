package gateway

import (
	"crypto/tls"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// TLSSettings say how the proxy's and the streams' listeners with `ssl` speak
// TLS, and what the gateway shows to upstreams, in Kong's words.
type TLSSettings struct {
	// Which versions and cipher suites clients may use: `modern` (TLS 1.3),
	// `intermediate` (1.2 and 1.3, forward secrecy), `old` (1.0 to 1.3), `fips`
	// (1.2 with AES-GCM) or `custom`, which is what `ssl_ciphers` and
	// `ssl_protocols` say. Default: `intermediate`.
	SSLCipherSuite string `json:"ssl_cipher_suite,omitempty"`

	// The cipher suites of `custom` up to TLS 1.2, by their names in OpenSSL.
	// Those of TLS 1.3 are always there. Default: none.
	SSLCiphers []string `json:"ssl_ciphers,omitempty"`

	// The versions of `custom`: `TLSv1`, `TLSv1.1`, `TLSv1.2`, `TLSv1.3`,
	// without a gap. Default: `TLSv1.2 TLSv1.3`.
	SSLProtocols []string `json:"ssl_protocols,omitempty"`

	// Understood, and without effect: Go chooses the suite by what the
	// hardware of both sides is good at. Default: unset.
	SSLPreferServerCiphers *bool `json:"ssl_prefer_server_ciphers,omitempty"`

	// Whether clients may resume sessions. Default: true.
	SSLSessionTickets *bool `json:"ssl_session_tickets,omitempty"`

	// For how long. Default: 24h.
	SSLSessionTimeout caddy.Duration `json:"ssl_session_timeout,omitempty"`

	// Understood, and without effect: sessions are kept by the clients, in
	// tickets. Default: unset.
	SSLSessionCacheSize string `json:"ssl_session_cache_size,omitempty"`

	// PEM files with the certificates for clients that ask for no name, or for
	// one that nothing else serves: one, or one of each kind of key. Default:
	// self-signed ones, made once.
	SSLCert []string `json:"ssl_cert,omitempty"`

	// PEM files with their keys, in the same order. Default: none.
	SSLCertKey []string `json:"ssl_cert_key,omitempty"`

	// Whether `client_ssl_cert` is shown to upstreams that ask for a
	// certificate, where neither the service nor its upstream names one.
	// Default: false.
	ClientSSL bool `json:"client_ssl,omitempty"`

	// The PEM file with that certificate. Default: none.
	ClientSSLCert string `json:"client_ssl_cert,omitempty"`

	// The PEM file with its key. Default: none.
	ClientSSLCertKey string `json:"client_ssl_cert_key,omitempty"`
}

// sessionTimeout is Kong's `ssl_session_timeout`.
const sessionTimeout = 24 * time.Hour

// tlsOptions are the settings as listeners read them.
type tlsOptions struct {
	min, max uint16
	suites   []uint16 // of TLS 1.2 and before
	tickets  bool
	timeout  time.Duration
}

// A cipherSuite is what a word of ssl_cipher_suite stands for (Kong's
// kong/conf_loader/constants.lua, as far as Go knows the suites).
type cipherSuite struct {
	min, max uint16
	ciphers  []string
}

var forwardSecret = []string{
	"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
	"ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
}

var cipherSuites = map[string]cipherSuite{
	"modern":       {tls.VersionTLS13, tls.VersionTLS13, nil},
	"intermediate": {tls.VersionTLS12, tls.VersionTLS13, forwardSecret},
	"old": {tls.VersionTLS10, tls.VersionTLS13, slices.Concat(forwardSecret, []string{
		"ECDHE-ECDSA-AES128-SHA256", "ECDHE-RSA-AES128-SHA256", "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA",
		"ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA",
		"AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA256", "AES128-SHA", "AES256-SHA", "DES-CBC3-SHA",
	})},
	"fips": {tls.VersionTLS12, tls.VersionTLS12, []string{
		"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
		"ECDHE-RSA-AES256-GCM-SHA384", "AES128-GCM-SHA256", "AES256-GCM-SHA384",
	}},
}

// ciphers are Go's suites up to TLS 1.2 by OpenSSL's names.
var ciphers = map[string]uint16{
	"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-ECDSA-CHACHA20-POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-RSA-CHACHA20-POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-ECDSA-AES128-SHA256":     tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256,
	"ECDHE-RSA-AES128-SHA256":       tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256,
	"ECDHE-ECDSA-AES128-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
	"ECDHE-RSA-AES128-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	"ECDHE-ECDSA-AES256-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	"ECDHE-RSA-AES256-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	"ECDHE-RSA-DES-CBC3-SHA":        tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA,
	"AES128-GCM-SHA256":             tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	"AES256-GCM-SHA384":             tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	"AES128-SHA256":                 tls.TLS_RSA_WITH_AES_128_CBC_SHA256,
	"AES128-SHA":                    tls.TLS_RSA_WITH_AES_128_CBC_SHA,
	"AES256-SHA":                    tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	"DES-CBC3-SHA":                  tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA,
}

// alwaysThere are the suites of TLS 1.3, which Go lets nobody choose from.
var alwaysThere = []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}

// parse reads the settings. What they say in vain is logged.
func (s *TLSSettings) parse(logger *zap.Logger) (o tlsOptions, err error) {
	o = tlsOptions{tickets: s.SSLSessionTickets == nil || *s.SSLSessionTickets, timeout: sessionTimeout}
	if s.SSLSessionTimeout < 0 {
		return o, fmt.Errorf("ssl_session_timeout: %s: expected a duration that is not negative", time.Duration(s.SSLSessionTimeout))
	}
	if s.SSLSessionTimeout > 0 {
		o.timeout = time.Duration(s.SSLSessionTimeout)
	}
	vain := func(option, reason string) {
		logger.Warn("option has no effect", zap.String("option", option), zap.String("reason", reason))
	}
	if s.SSLPreferServerCiphers != nil {
		vain("ssl_prefer_server_ciphers", "Go chooses the suite by what the hardware of both sides is good at")
	}
	if s.SSLSessionCacheSize != "" {
		vain("ssl_session_cache_size", "sessions are kept by the clients, in tickets")
	}
	if err := s.parseCustom(&o, vain); err != nil {
		return o, err
	}
	name := s.SSLCipherSuite
	if name == "" {
		name = "intermediate"
	}
	if name == "custom" {
		return o, nil
	}
	suite, ok := cipherSuites[name]
	if !ok {
		return o, fmt.Errorf("ssl_cipher_suite: unknown suite %q; expected one of %s, custom", name, strings.Join(slices.Sorted(maps.Keys(cipherSuites)), ", "))
	}
	for _, f := range []struct {
		option string
		set    bool
	}{{"ssl_ciphers", s.SSLCiphers != nil}, {"ssl_protocols", s.SSLProtocols != nil}} {
		if f.set {
			vain(f.option, "ssl_cipher_suite is not custom")
		}
	}
	o.min, o.max, o.suites = suite.min, suite.max, nil
	for _, cipher := range suite.ciphers {
		o.suites = append(o.suites, ciphers[cipher])
	}
	return o, nil
}

// complete reports settings that make sense only together with others.
func (s *TLSSettings) complete(o *tlsOptions) error {
	if len(o.suites) == 0 && o.min < tls.VersionTLS13 {
		return fmt.Errorf("ssl_ciphers: ssl_cipher_suite custom needs at least one suite for versions before TLSv1.3")
	}
	if len(s.SSLCert) != len(s.SSLCertKey) {
		return fmt.Errorf("ssl_cert, ssl_cert_key: expected as many keys as certificates, got %d certificates and %d keys", len(s.SSLCert), len(s.SSLCertKey))
	}
	if len(s.SSLCert) > 2 {
		return fmt.Errorf("ssl_cert: expected one certificate, or one for each kind of key (RSA, ECDSA), got %d", len(s.SSLCert))
	}
	if (s.ClientSSLCert == "") != (s.ClientSSLCertKey == "") || s.ClientSSL && s.ClientSSLCert == "" {
		return fmt.Errorf("client_ssl: expected client_ssl_cert and client_ssl_cert_key")
	}
	return nil
}

func (s *TLSSettings) parseCustom(o *tlsOptions, vain func(option, reason string)) error {
	o.min, o.max = tls.VersionTLS12, tls.VersionTLS13
	if s.SSLProtocols != nil {
		if err := o.parseProtocols(s.SSLProtocols); err != nil {
			return err
		}
	}
	for _, item := range s.SSLCiphers {
		for name := range strings.SplitSeq(item, ":") {
			id, known := ciphers[name]
			switch {
			case known:
				o.suites = append(o.suites, id)
			case slices.Contains(alwaysThere, name):
			case strings.HasPrefix(name, "DHE-"):
				vain("ssl_ciphers", name+" is a suite that Go lacks; it is left out")
			default:
				return fmt.Errorf("ssl_ciphers: unknown suite %q; expected OpenSSL's names, joined by colons: %s, %s",
					name, strings.Join(slices.Sorted(maps.Keys(ciphers)), ", "), strings.Join(alwaysThere, ", "))
			}
		}
	}
	return nil
}

// tlsVersions are the words of ssl_protocols, in order.
var tlsVersions = []struct {
	name string
	id   uint16
}{{"TLSv1", tls.VersionTLS10}, {"TLSv1.1", tls.VersionTLS11}, {"TLSv1.2", tls.VersionTLS12}, {"TLSv1.3", tls.VersionTLS13}}

func (o *tlsOptions) parseProtocols(list []string) error {
	for _, name := range list {
		known := false
		for _, v := range tlsVersions {
			known = known || v.name == name
		}
		if !known {
			return fmt.Errorf("ssl_protocols: unknown version %q; expected TLSv1, TLSv1.1, TLSv1.2, TLSv1.3", name)
		}
	}
	o.min, o.max = 0, 0
	for _, v := range tlsVersions {
		if !slices.Contains(list, v.name) {
			continue
		}
		if o.max != 0 && o.max != v.id-1 {
			return fmt.Errorf("ssl_protocols: %s: expected versions without a gap between them", strings.Join(list, " "))
		}
		if o.min == 0 {
			o.min = v.id
		}
		o.max = v.id
	}
	return nil
}
