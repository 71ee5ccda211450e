package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/certmagic"
)

func init() { caddy.RegisterModule(new(CertGetter)) }

// CertGetter serves the certificates that the gateway keeps from ordinary Caddy
// sites: by server name, as the gateway's own listeners do, live, and also
// those of a database that other nodes have written. For names that the
// gateway has no SNI for, the site goes on to its other ways of getting a
// certificate.
type CertGetter struct {
	ctx caddy.Context
}

// CaddyModule returns the Caddy module information.
func (*CertGetter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.get_certificate.gateway", New: func() caddy.Module { return new(CertGetter) }}
}

// Provision remembers the configuration. The app `gateway` is looked for when
// a client comes: it may need Caddy's app `tls` itself.
func (g *CertGetter) Provision(ctx caddy.Context) error {
	g.ctx = ctx
	return nil
}

// GetCertificate answers the certificate for a handshake, or nil.
func (g *CertGetter) GetCertificate(_ context.Context, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	app, err := g.ctx.AppIfConfigured("gateway")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, errors.New("get_certificate gateway: the configuration has no app gateway; give the global option gateway")
	}
	if err != nil {
		return nil, fmt.Errorf("get_certificate gateway: %w", err)
	}
	n, err := app.(*App).Node()
	if err != nil {
		return nil, fmt.Errorf("get_certificate gateway: %w", err)
	}
	if p, ok := n.View().Snapshot.Certificates().Lookup(hello.ServerName); ok {
		return p.For(hello), nil
	}
	return nil, nil
}

// UnmarshalCaddyfile reads the module's name, which is all there is. Syntax:
//
//	get_certificate gateway
func (g *CertGetter) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if d.NextArg() {
		return d.Errf("get_certificate gateway takes no argument, got %q", d.Val())
	}
	for d.NextBlock(0) {
		return d.Errf("get_certificate gateway takes no option, got %q", d.Val())
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*CertGetter)(nil)
	_ certmagic.Manager     = (*CertGetter)(nil)
	_ caddyfile.Unmarshaler = (*CertGetter)(nil)
)
