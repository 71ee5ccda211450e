// Package dial makes connections to services: over TCP, past this process's
// own private listeners, and with the TLS that a service asks for.
package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/listen"
)

// TCP connects to an address, which is "host:port". If it is guarded, this
// process's private listeners are out of reach; see ErrPrivate. The connection
// is never one of Multipath TCP.
func TCP(ctx context.Context, address string, guarded bool) (net.Conn, error) {
	return connect(ctx, address, guarded, 30*time.Second)
}

// Stream does the same for a connection that others limit the silence of: it
// has no keep-alive, as nginx's to services.
func Stream(ctx context.Context, address string, guarded bool) (net.Conn, error) {
	return connect(ctx, address, guarded, -1)
}

func connect(ctx context.Context, address string, guarded bool, keepAlive time.Duration) (net.Conn, error) {
	d := net.Dialer{KeepAlive: keepAlive}
	if guarded {
		d.Control = guard
	}
	d.SetMultipathTCP(false)
	return d.DialContext(ctx, "tcp", address)
}

// UDP makes a socket that sends to an address, which is "host:port", and hears
// nobody else.
func UDP(ctx context.Context, address string) (*net.UDPConn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// ErrPrivate is why a connection to this process's own private listeners is
// refused.
var ErrPrivate = errors.New("the address is this process's own Admin API, Status API or Caddy's admin endpoint (see allow_admin_upstream)")

// guard is a dialer's Control. It sees each address that a name resolved to,
// so a name cannot be pointed at a private listener behind our back.
func guard(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil // not TCP
	}
	if listen.IsPrivate(ap) {
		return ErrPrivate
	}
	return nil
}

// TLS is what makes two TLS connections to one address different.
type TLS struct {
	ServerName string
	Verify     bool           // the server's certificate
	Depth      int            // intermediate certificates at most, if Verify
	Roots      *x509.CertPool // nil: the system's
	Client     *tls.Certificate
	Key        string // names Roots and Client
}

// Config is for the client's side of a handshake.
func (t *TLS) Config() *tls.Config {
	c := &tls.Config{
		ServerName:         t.ServerName,
		RootCAs:            t.Roots,
		InsecureSkipVerify: !t.Verify,
	}
	if t.Client != nil {
		// What is configured is shown, as nginx does; the server judges.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return t.Client, nil }
	}
	if t.Verify {
		c.VerifyConnection = func(cs tls.ConnectionState) error {
			for _, chain := range cs.VerifiedChains {
				// OpenSSL's depth counts neither the server's certificate nor
				// the trust anchor.
				if len(chain) <= t.Depth+2 {
					return nil
				}
			}
			return fmt.Errorf("certificate chain is longer than tls_verify_depth %d allows", t.Depth)
		}
	}
	return c
}
