package admin

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
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
	// The addresses to listen on, with their flags. An empty list is Kong's
	// `off`. Default: Kong's addresses, see DefaultListen and
	// DefaultStatusListen.
	Listen []listen.Bind `json:"listen,omitzero"`

	Access

	// How long clients may take.
	Timeouts serve.Timeouts `json:"timeouts,omitzero"`

	// The largest header of a request, in bytes. Default: 32 KiB.
	MaxHeaderSize int `json:"max_header_size,omitempty"`

	// How long requests may go on when a listener closes. Default: 10s.
	GracePeriod caddy.Duration `json:"grace_period,omitempty"`

	// What stands between the sockets and TLS, the first one next to the
	// socket. Listeners that have wrappers are opened anew by each reload,
	// beside the old ones, which then drain. Default: none.
	ListenerWrappersRaw []json.RawMessage `json:"listener_wrappers,omitempty" caddy:"namespace=caddy.listeners inline_key=wrapper"`

	option string
	access *access
	cas    *x509.CertPool // of client_auth
	wrap   func(net.Listener) net.Listener
	leases []*serve.Lease
}

const defaultGracePeriod = 10 * time.Second

// provision fills in defaults and reads what the settings name. The usual
// binds are those of a list that is not there.
func (l *Listeners) provision(ctx caddy.Context, option, usual string) error {
	l.option = option
	if l.Listen == nil {
		binds, err := listen.Parse(option, usual, listen.HTTP)
		if err != nil {
			return err
		}
		l.Listen = binds
	}
	l.Listen = listen.ShareHTTP2(l.Listen)
	l.Timeouts = l.Timeouts.WithDefaults()
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
	if l.wrap, err = serve.LoadWrappers(ctx, l, "ListenerWrappersRaw"); err != nil {
		return fmt.Errorf("%s: %w", option, err)
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

// Binds are the addresses to listen on.
func (l *Listeners) Binds() []listen.Bind { return l.Listen }

// validate reports the first thing that is wrong with the listeners of an app,
// also beside those of other apps.
func (l *Listeners) validate(ctx caddy.Context, app string) error {
	for _, b := range l.Listen {
		if err := b.Validate(l.option, listen.HTTP); err != nil {
			return err
		}
		if b.Transparent != "" {
			return fmt.Errorf("%s: %q: flag \"transparent\": only for proxy_listen and stream_listen", l.option, b)
		}
	}
	if err := listen.Conflicts(append(othersBinds(ctx, app), l.Listen...)...); err != nil {
		return fmt.Errorf("%s: %w", l.option, err)
	}
	return serve.CheckLimits(l.option, l.Timeouts, l.GracePeriod, l.MaxHeaderSize)
}

// doors are the apps that listen.
var doors = []string{"gateway_proxy", "gateway_admin", "gateway_status"}

// othersBinds are the addresses that the configuration's other apps listen on.
func othersBinds(ctx caddy.Context, self string) []listen.Bind {
	var binds []listen.Bind
	for _, name := range doors {
		if name != self {
			binds = append(binds, bindsOf(ctx, name)...)
		}
	}
	return binds
}

// bindsOf are the addresses that an app of the configuration listens on, none
// if it is not there or does not listen.
func bindsOf(ctx caddy.Context, app string) []listen.Bind {
	a, err := ctx.AppIfConfigured(app)
	if err != nil {
		return nil // it is not there, or will be reported by itself
	}
	if door, is := a.(interface{ Binds() []listen.Bind }); is {
		return door.Binds()
	}
	return nil
}

// open starts to serve the API on all listeners. If that fails, close gives
// back what was opened.
func (l *Listeners) open(ctx caddy.Context, api *API, rebinding func(listen.Bind) bool) error {
	logger := ctx.Logger()
	api.readTimeout, api.writeTimeout = time.Duration(l.Timeouts.Body), time.Duration(l.Timeouts.Send)
	var tlsConfig *tls.Config
	for _, b := range l.Listen {
		if b.SSL && tlsConfig == nil {
			pair, err := certs.Default(ctx, ctx.Storage())
			if err != nil {
				return fmt.Errorf("%s: %w", l.option, err)
			}
			tlsConfig = l.tlsConfig(pair)
		}
		lease, err := serve.Open(ctx, serve.Config{
			Option:            l.option,
			Bind:              b,
			ReadHeaderTimeout: time.Duration(l.Timeouts.Header),
			ReadTimeout:       time.Duration(l.Timeouts.Body),
			IdleTimeout:       time.Duration(l.Timeouts.Idle),
			MaxHeaderBytes:    l.MaxHeaderSize,
			Private:           true,
		}, serve.Generation{
			Handler: &guard{
				access:    l.access,
				api:       api,
				rebinding: rebinding(b),
				clients:   l.clients(b),
			},
			TLS:         func(*tls.ClientHelloInfo) (*tls.Config, error) { return tlsConfig, nil },
			Wrap:        l.wrap,
			Logger:      logger,
			GracePeriod: time.Duration(l.GracePeriod),
		})
		if err != nil {
			return err
		}
		l.leases = append(l.leases, lease)
	}
	logger.Info("serving", zap.String("option", l.option), zap.Stringers("listeners", l.addrs()))
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

// addrs are the addresses of the open listeners.
func (l *Listeners) addrs() []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, lease := range l.leases {
		addrs = append(addrs, lease.Addrs()...)
	}
	return addrs
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

// close ends the listeners. It does no harm to call it twice.
func (l *Listeners) close() {
	serve.Stop(l.leases...)
	l.leases = nil
}
