// Package dial makes connections to services: past this process's own private
// listeners, to destinations that clients chose only if they are harmless, from the
// source address and with the TLS that a service asks for.
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
	"github.com/portcullis-gateway/portcullis/transparent"
)

// A Dialer says how connections are made. The zero value makes ordinary ones.
//
// If this process receives connections that a firewall has intercepted, those
// that it makes itself have the mark [transparent.Mark], as far as it may set it,
// so that rules let them alone.
type Dialer struct {
	// Guarded puts this process's private listeners out of reach; see
	// ErrPrivate.
	Guarded bool

	// Source is the address that the connection comes from. It has to be of the
	// family of the address that is connected to.
	Source Source
}

// TCP connects to an address, which is "host:port". The connection is never one
// of Multipath TCP.
func (d Dialer) TCP(ctx context.Context, address string) (net.Conn, error) {
	return d.connect(ctx, address, 30*time.Second)
}

// Stream does the same for a connection that others limit the silence of: it
// has no keep-alive, as nginx's to services.
func (d Dialer) Stream(ctx context.Context, address string) (net.Conn, error) {
	return d.connect(ctx, address, -1)
}

func (d Dialer) connect(ctx context.Context, address string, keepAlive time.Duration) (net.Conn, error) {
	nd := net.Dialer{KeepAlive: keepAlive, LocalAddr: d.Source.tcp(), Control: d.control()}
	nd.SetMultipathTCP(false)
	c, err := nd.DialContext(ctx, "tcp", address)
	if err != nil && d.Source.Addr.IsValid() {
		err = d.Source.failed(address, err)
	}
	return c, err
}

// UDP makes a socket that sends to an address, which is "host:port", and hears
// nobody else. Nothing is guarded: private listeners are of TCP.
func (d Dialer) UDP(ctx context.Context, address string) (*net.UDPConn, error) {
	d.Guarded = false
	nd := net.Dialer{LocalAddr: d.Source.udp(), Control: d.control()}
	c, err := nd.DialContext(ctx, "udp", address)
	if err != nil {
		if d.Source.Addr.IsValid() {
			err = d.Source.failed(address, err)
		}
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// control answers what is done with a socket before it is bound; nil: nothing.
func (d Dialer) control() func(network, address string, c syscall.RawConn) error {
	marks, source := transparent.Marks(), d.Source
	if !marks && !source.Addr.IsValid() {
		if d.Guarded {
			return guard
		}
		return nil
	}
	guarded := d.Guarded
	return func(network, address string, c syscall.RawConn) error {
		if guarded {
			if err := guard(network, address, c); err != nil {
				return err
			}
		}
		if marks {
			transparent.MarkSocket(c)
		}
		if source.Addr.IsValid() {
			return transparent.Outgoing(c, source.Foreign)
		}
		return nil
	}
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
