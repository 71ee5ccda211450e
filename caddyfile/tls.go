package caddyfile

import (
	"maps"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
)

// The words about TLS. What makes sense only together is judged when the
// configuration is loaded, as the words come in any order.
func init() {
	list := func(of func(s *gateway.Settings) *[]string, form string) func(*caddyfile.Dispenser, *gateway.App) error {
		return setting(func(s *gateway.Settings, d *caddyfile.Dispenser) error { return extend(of(s), d, form) })
	}
	text := func(of func(s *gateway.Settings) *string, form string) func(*caddyfile.Dispenser, *gateway.App) error {
		return setting(func(s *gateway.Settings, d *caddyfile.Dispenser) (err error) {
			*of(s), err = one(d, form)
			return err
		})
	}
	pointed := func(of func(s *gateway.Settings) **bool) func(*caddyfile.Dispenser, *gateway.App) error {
		return setting(func(s *gateway.Settings, d *caddyfile.Dispenser) error {
			on, err := onOff(d)
			*of(s) = &on
			return err
		})
	}
	maps.Copy(gatewayWords, words[gateway.App]{
		"ssl_cipher_suite":          text(func(s *gateway.Settings) *string { return &s.SSLCipherSuite }, "modern, intermediate, old, fips or custom"),
		"ssl_ciphers":               list(func(s *gateway.Settings) *[]string { return &s.SSLCiphers }, "OpenSSL's names of cipher suites, joined by colons"),
		"ssl_protocols":             list(func(s *gateway.Settings) *[]string { return &s.SSLProtocols }, "TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3"),
		"ssl_prefer_server_ciphers": pointed(func(s *gateway.Settings) **bool { return &s.SSLPreferServerCiphers }),
		"ssl_session_tickets":       pointed(func(s *gateway.Settings) **bool { return &s.SSLSessionTickets }),
		"ssl_session_timeout": setting(func(s *gateway.Settings, d *caddyfile.Dispenser) (err error) {
			s.SSLSessionTimeout, err = duration(d)
			return err
		}),
		"ssl_session_cache_size": text(func(s *gateway.Settings) *string { return &s.SSLSessionCacheSize }, "a size such as 10m"),
		"ssl_cert":               list(func(s *gateway.Settings) *[]string { return &s.SSLCert }, "PEM files"),
		"ssl_cert_key":           list(func(s *gateway.Settings) *[]string { return &s.SSLCertKey }, "PEM files"),
		"client_ssl": setting(func(s *gateway.Settings, d *caddyfile.Dispenser) (err error) {
			s.ClientSSL, err = onOff(d)
			return err
		}),
		"client_ssl_cert":     text(func(s *gateway.Settings) *string { return &s.ClientSSLCert }, "a PEM file"),
		"client_ssl_cert_key": text(func(s *gateway.Settings) *string { return &s.ClientSSLCertKey }, "a PEM file"),
	})
}
