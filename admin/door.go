package admin

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/certs"
	"github.com/portcullis-gateway/portcullis/modules/listen"
	"github.com/portcullis-gateway/portcullis/modules/serve"
)

// Listeners is what the Admin API and the Status API have in common: where
// they listen, and whom they let in.
type Listeners struct {
	serve.Listeners
	Access

	access *access
	cas    *x509.CertPool // of client_auth
}

const defaultGracePeriod = 10 * time.Second

// provision fills in defaults and reads what the settings name. The usual
// binds are those of a list that is not there.
func (l *Listeners) provision(ctx caddy.Context, option, usual string) error {
	if err := l.Provision(ctx, option, usual, listen.HTTP); err != nil {
		return err
	}
	if l.GracePeriod == 0 {
		l.GracePeriod = caddy.Duration(defaultGracePeriod)
	}
	var err error
	if l.access, err = l.Access.parse(); err != nil {
		return fmt.Errorf("%s: %w", option, err)
	}
	if l.ClientAuth != nil {
		if l.cas, err = l.ClientAuth.pool(); err != nil {
			return fmt.Errorf("%s: client_auth: %w", option, err)
		}
	}
	return nil
}

// pool reads the authorities of clients' certificates.
func (a *ClientAuth) pool() (*x509.CertPool, error) {
	if len(a.TrustedCACerts) == 0 {
		return nil, errors.New("trusted_ca_certs: at least one file is required")
	}
	pool := x509.NewCertPool()
	for _, name := range a.TrustedCACerts {
		pem, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: there is no certificate in PEM form in it", name)
		}
	}
	return pool, nil
}

// validate reports the first thing that is wrong with the listeners of an app,
// also beside those of other apps.
func (l *Listeners) validate(ctx caddy.Context, app string) error {
	for _, b := range l.Listen {
		if b.Transparent != "" {
			return fmt.Errorf("%s: %q: flag \"transparent\": only for proxy_listen and stream_listen", l.Option(), b)
		}
	}
	return l.CheckListeners(ctx, app)
}

// open starts to serve the API on all listeners. If that fails, close gives
// back what was opened.
func (l *Listeners) open(ctx caddy.Context, api *API, rebinding func(listen.Bind) bool) error {
	api.readTimeout, api.writeTimeout = time.Duration(l.Timeouts.Body), time.Duration(l.Timeouts.Send)
	var tlsConfig *tls.Config
	err := l.Open(ctx, func(b listen.Bind, cfg *serve.Config, g *serve.Generation) error {
		if b.SSL && tlsConfig == nil {
			pair, err := certs.Default(ctx, ctx.Storage())
			if err != nil {
				return fmt.Errorf("%s: %w", l.Option(), err)
			}
			tlsConfig = l.tlsConfig(pair)
		}
		cfg.ReadTimeout, cfg.Private = time.Duration(l.Timeouts.Body), true
		g.Handler = &guard{
			access:    l.access,
			api:       api,
			rebinding: rebinding(b),
			clients:   l.clients(b),
		}
		g.TLS = func(*tls.ClientHelloInfo) (*tls.Config, error) { return tlsConfig, nil }
		return nil
	})
	if err != nil {
		return err
	}
	ctx.Logger().Info("serving", zap.String("option", l.Option()), zap.Stringers("listeners", l.Addrs()))
	return nil
}

// clients are the authorities that a bind asks certificates of, nil if it asks
// for none.
func (l *Listeners) clients(b listen.Bind) *x509.CertPool {
	if !b.SSL {
		return nil
	}
	return l.cas
}

func (l *Listeners) tlsConfig(pair *certs.Pair) *tls.Config {
	config := &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return pair.For(hello), nil
		},
	}
	if l.cas != nil {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, l.cas
	}
	return config
}
