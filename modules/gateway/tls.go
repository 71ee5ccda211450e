package gateway

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/portcullis-gateway/portcullis/modules/certs"
	"github.com/portcullis-gateway/portcullis/modules/dial"
)

// acmeALPN is the protocol of a handshake by which an authority makes sure that
// a server speaks for a name (RFC 8737).
const acmeALPN = "acme-tls/1"

// ServerTLS answers the TLS of a door's listeners. The certificate is the one
// whose SNI fits, live; else what Caddy's own app `tls` has for the name, be it
// loaded, managed or obtained on demand, if the configuration has that app;
// else the default ones. Sessions go on across the listeners of a door, and
// across reloads. Call it in Start.
func (a *App) ServerTLS(ctx caddy.Context, door string) (*tls.Config, error) {
	n, err := a.Node()
	if err != nil {
		return nil, err
	}
	def := a.defaultPair
	if def == nil {
		if def, err = certs.Default(ctx, ctx.Storage()); err != nil {
			return nil, err
		}
	}
	caddys, err := caddyCertificates(ctx)
	if err != nil {
		return nil, err
	}
	o := &a.options.tls
	config := &tls.Config{
		MinVersion:   o.min,
		MaxVersion:   o.max,
		CipherSuites: o.suites,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if caddys != nil && slices.Equal(hello.SupportedProtos, []string{acmeALPN}) {
				return caddys(hello)
			}
			if p, ok := n.View().Snapshot.Certificates().Lookup(hello.ServerName); ok {
				return p.For(hello), nil
			}
			if caddys != nil {
				if c, err := caddys(hello); err == nil && c != nil {
					return c, nil
				}
			}
			return def.For(hello), nil
		},
	}
	if caddys != nil {
		config.NextProtos = []string{acmeALPN}
	}
	if o.tickets {
		t := ticketsOf(door)
		config.WrapSession, config.UnwrapSession = t.seal, t.opener(o.timeout)
	} else {
		config.SessionTicketsDisabled = true
	}
	return config, nil
}

// TLS13 reports whether the listeners speak TLS 1.3.
func (a *App) TLS13() bool { return a.options.tls.max == tls.VersionTLS13 }

// caddyCertificates makes the function that asks Caddy's own app `tls`; it is
// nil if the configuration has no such app.
func caddyCertificates(ctx caddy.Context) (func(*tls.ClientHelloInfo) (*tls.Certificate, error), error) {
	if _, err := ctx.AppIfConfigured("tls"); errors.Is(err, caddy.ErrNotConfigured) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	policies := caddytls.ConnectionPolicies{new(caddytls.ConnectionPolicy)}
	if err := policies.Provision(ctx); err != nil {
		return nil, err
	}
	return policies[0].TLSConfig.GetCertificate, nil
}

// loadFiles reads the certificates that the settings name.
func (a *App) loadFiles() (err error) {
	if len(a.SSLCert) > 0 {
		if a.defaultPair, err = certs.Files(a.SSLCert, a.SSLCertKey); err != nil {
			return fmt.Errorf("ssl_cert: %w", err)
		}
	}
	if !a.ClientSSL {
		return nil
	}
	c, err := tls.LoadX509KeyPair(a.ClientSSLCert, a.ClientSSLCertKey)
	if err != nil {
		return fmt.Errorf("client_ssl_cert: %w", err)
	}
	sum := sha256.Sum256(bytes.Join(c.Certificate, nil))
	a.options.client, a.options.clientKey = &c, "/"+hex.EncodeToString(sum[:])
	return nil
}

// Identify completes what connections to a service show of this side: the
// certificate of `client_ssl`, if there is none of the service's own.
func (o *Options) Identify(t *dial.TLS) {
	if t.Client == nil && o.client != nil {
		t.Client, t.Key = o.client, t.Key+o.clientKey
	}
}

// tickets are what seals the sessions of a door's clients, with keys that
// crypto/tls makes and changes. They live as long as the process.
type tickets struct{ keys tls.Config }

var doors = struct {
	mu      sync.Mutex
	tickets map[string]*tickets // protected by mu
}{tickets: make(map[string]*tickets)}

func ticketsOf(door string) *tickets {
	doors.mu.Lock()
	defer doors.mu.Unlock()
	t := doors.tickets[door]
	if t == nil {
		t = new(tickets)
		doors.tickets[door] = t
	}
	return t
}

// issued begins the part of a session's Extra that tells when it began.
var issued = []byte("gateway issued ")

// seal is a WrapSession.
func (t *tickets) seal(cs tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
	if _, known := issuedAt(s); !known { // else it goes on
		s.Extra = append(s.Extra, binary.BigEndian.AppendUint64(slices.Clone(issued), uint64(time.Now().Unix())))
	}
	return t.keys.EncryptTicket(cs, s)
}

// opener makes an UnwrapSession: sessions that are older than the timeout do
// not go on.
func (t *tickets) opener(timeout time.Duration) func([]byte, tls.ConnectionState) (*tls.SessionState, error) {
	return func(identity []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		s, err := t.keys.DecryptTicket(identity, cs)
		if err != nil || s == nil {
			return nil, err
		}
		if at, known := issuedAt(s); !known || time.Since(at) >= timeout {
			return nil, nil
		}
		return s, nil
	}
}

func issuedAt(s *tls.SessionState) (at time.Time, known bool) {
	for _, e := range s.Extra {
		if rest, ok := bytes.CutPrefix(e, issued); ok && len(rest) == 8 {
			return time.Unix(int64(binary.BigEndian.Uint64(rest)), 0), true
		}
	}
	return time.Time{}, false
}
