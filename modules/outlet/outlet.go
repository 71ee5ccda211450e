// Package outlet is a transport for Caddy's `reverse_proxy` whose connections
// come from addresses of choice, and go only where they may.
package outlet

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/portcullis-gateway/portcullis/modules/dial"
	"github.com/portcullis-gateway/portcullis/transparent"
)

func init() { caddy.RegisterModule(new(Transport)) }

// Transport is the transport `http` of `reverse_proxy`, with two additions:
// connections to upstreams can have the client's own address, or certain ones of
// this host; and where clients choose the destination, as with the upstream
// `{http.request.local}` on a transparent listener, it is judged before.
//
// The client is the one that Caddy's `trusted_proxies` tell. Idle connections are
// used again for the same source address only. Kernel and routes have to bring the
// answers back here; see the page on transparent proxying.
//
// Environment variables with proxies are not read.
type Transport struct {
	// Where connections come from: `client` for the client's address, IP
	// addresses of this host, or ranges of such. Those of the upstream's family
	// count; of several, the client's address decides which. The connections of
	// health checks come from wherever the system chooses. Default: the system
	// chooses.
	Source []string `json:"source,omitempty"`

	// Whether destinations are judged: loopback, unspecified, link-local and
	// multicast addresses, those of this host and the listeners of this process
	// are refused. Default: false, unless `allow` or `deny` is set.
	Guard bool `json:"guard,omitempty"`

	// IP addresses or CIDR ranges that are dialled although they would be
	// refused. A range has to lie within what is refused, an address of this
	// host has to be named itself. Default: none.
	Allow []string `json:"allow,omitempty"`

	// IP addresses or CIDR ranges that are refused. Where both lists have an
	// address, the longer range decides. Default: none.
	Deny []string `json:"deny,omitempty"`

	// The settings of the transport `http`. Of these, `proxy_protocol`,
	// `network_proxy`, `forward_proxy_url`, `local_address`, `resolver`, version
	// 3 and placeholders in the name of the TLS server are refused. Default: that
	// transport's.
	HTTP reverseproxy.HTTPTransport `json:"http,omitzero"`

	sources *dial.Sources
	guard   *dial.Guard // nil: none
}

// CaddyModule returns the Caddy module information.
func (*Transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport.gateway_outlet",
		New: func() caddy.Module { return new(Transport) },
	}
}

// Provision prepares the transport, and makes sure that the process may use the
// addresses of others if it is to.
func (t *Transport) Provision(ctx caddy.Context) error {
	if err := t.parse(); err != nil {
		return err
	}
	if t.sources.Foreign() {
		if err := transparent.CheckOutgoing(); err != nil {
			return fmt.Errorf("source: client: %w", err)
		}
	}
	if err := t.HTTP.Provision(ctx); err != nil {
		return err
	}
	rt := t.HTTP.Transport
	rt.Proxy = nil
	rt.DialContext = t.dial
	if rt.TLSClientConfig != nil {
		rt.DialTLSContext = t.dialTLS
	}
	return nil
}

// parse reads what Caddy's decoder cannot judge.
func (t *Transport) parse() (err error) {
	if t.sources, err = dial.ParseSources(t.Source); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if t.Guard || len(t.Allow) > 0 || len(t.Deny) > 0 {
		t.guard = new(dial.Guard)
	}
	for _, list := range []struct {
		name string
		from []string
		to   func(netip.Prefix)
	}{
		{"allow", t.Allow, func(p netip.Prefix) { t.guard.Allow = append(t.guard.Allow, p) }},
		{"deny", t.Deny, func(p netip.Prefix) { t.guard.Deny = append(t.guard.Deny, p) }},
	} {
		for _, item := range list.from {
			p, err := dial.ParseRange(item)
			if err != nil {
				return fmt.Errorf("%s: %w", list.name, err)
			}
			list.to(p)
		}
	}
	h := &t.HTTP
	for name, set := range map[string]bool{
		"proxy_protocol":    h.ProxyProtocol != "",
		"network_proxy":     len(h.NetworkProxyRaw) > 0,
		"forward_proxy_url": h.ForwardProxyURL != "",
		"local_address":     h.LocalAddress != "",
		"resolver":          h.Resolver != nil,
		"versions 3":        len(h.Versions) > 0 && h.Versions[0] == "3",
		"a placeholder in the name of the TLS server": h.TLS != nil && strings.Contains(h.TLS.ServerName, "{"),
	} {
		if set {
			return fmt.Errorf("http: %s cannot be combined with gateway_outlet", name)
		}
	}
	return nil
}

// A route is where a request goes, in the context of its dials. The URL names no
// more than the pool that its connections are in.
type route struct {
	address string // host:port
	client  netip.Addr
}

type routeKey struct{}

// RoundTrip sends a request on a connection from the right source.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.HTTP.SetScheme(r)
	to := route{address: r.URL.Host}
	if r.URL.Port() == "" {
		port := "80"
		if r.URL.Scheme == "https" {
			port = "443"
		}
		to.address = net.JoinHostPort(r.URL.Hostname(), port)
	}
	if text, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string); ok {
		to.client, _ = netip.ParseAddr(text)
	}
	if t.sources == nil { // one pool for all
		to.client = netip.Addr{}
	}
	r2 := r.WithContext(context.WithValue(r.Context(), routeKey{}, to))
	u := *r.URL
	u.Host = to.pool()
	r2.URL = &u
	if r2.Host == "" {
		r2.Host = r.URL.Host
	}
	return t.HTTP.RoundTrip(r2)
}

// pool is the authority of a URL under which connections for the route are kept.
func (to route) pool() string {
	if !to.client.IsValid() {
		return to.address
	}
	_, port, _ := net.SplitHostPort(to.address)
	sum := sha256.Sum256([]byte(to.address + " from " + to.client.String()))
	return hex.EncodeToString(sum[:16]) + ":" + port
}

// dial makes the connection for a request.
func (t *Transport) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	to, ok := ctx.Value(routeKey{}).(route)
	if !ok {
		return nil, errors.New("gateway_outlet: a connection that is for no request")
	}
	timeout := time.Duration(t.HTTP.DialTimeout)
	if timeout == 0 {
		timeout = 3 * time.Second // as the transport http
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if info, ok := reverseproxy.GetDialInfo(ctx); ok && info.Network != "" && !strings.HasPrefix(info.Network, "tcp") {
		if t.sources != nil || t.guard != nil {
			return nil, reverseproxy.NewDialError(fmt.Errorf("gateway_outlet: an upstream of the network %s has no IP address", info.Network))
		}
		return new(net.Dialer).DialContext(ctx, info.Network, info.Address)
	}
	c, err := t.connect(ctx, to)
	if err != nil {
		return nil, reverseproxy.NewDialError(err) // nothing was sent, so it may be tried elsewhere
	}
	return c, nil
}

// connect tries the addresses of a host, one after the other.
func (t *Transport) connect(ctx context.Context, to route) (net.Conn, error) {
	host, port, err := net.SplitHostPort(to.address)
	if err != nil {
		return nil, err
	}
	addrs := []netip.Addr{}
	if ip, err := netip.ParseAddr(host); err == nil {
		addrs = append(addrs, ip)
	} else if addrs, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host); err != nil {
		return nil, err
	}
	var failures []error
	for _, ip := range addrs {
		c, err := t.connectTo(ctx, net.JoinHostPort(ip.Unmap().String(), port), to.client)
		if err == nil {
			return c, nil
		}
		failures = append(failures, err)
	}
	return nil, errors.Join(failures...)
}

func (t *Transport) connectTo(ctx context.Context, address string, client netip.Addr) (net.Conn, error) {
	if t.guard != nil {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return nil, err
		}
		if err := t.guard.CheckFor(ap, client); err != nil {
			return nil, err
		}
	}
	var source dial.Source
	if client.IsValid() {
		var err error
		if source, err = t.sources.For(address, client, 0); err != nil {
			return nil, err
		}
	}
	return dial.Dialer{Source: source}.TCP(ctx, address)
}

// dialTLS adds the handshake. The name of the server is not in the URL any more.
func (t *Transport) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := t.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	config := t.HTTP.Transport.TLSClientConfig.Clone()
	if config.ServerName == "" {
		to := ctx.Value(routeKey{}).(route)
		config.ServerName, _, _ = net.SplitHostPort(to.address)
	}
	if limit := t.HTTP.Transport.TLSHandshakeTimeout; limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	c := tls.Client(conn, config)
	if err := c.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// The rest lets reverse_proxy see the transport http in this one.

// TLSEnabled reports whether upstreams are spoken to over TLS.
func (t *Transport) TLSEnabled() bool { return t.HTTP.TLSEnabled() }

// EnableTLS turns TLS on.
func (t *Transport) EnableTLS(base *reverseproxy.TLSConfig) error { return t.HTTP.EnableTLS(base) }

// EnableH2C turns HTTP/2 without TLS on.
func (t *Transport) EnableH2C() error { return t.HTTP.EnableH2C() }

// OverrideHealthCheckScheme makes health checks speak TLS, too.
func (t *Transport) OverrideHealthCheckScheme(base *url.URL, port string) {
	t.HTTP.OverrideHealthCheckScheme(base, port)
}

// RequestHeaderOps sets the Host for upstreams over TLS.
func (t *Transport) RequestHeaderOps() *headers.HeaderOps { return t.HTTP.RequestHeaderOps() }

// Cleanup closes idle connections.
func (t *Transport) Cleanup() error { return t.HTTP.Cleanup() }

// Interface guards
var (
	_ caddy.Provisioner  = (*Transport)(nil)
	_ caddy.CleanerUpper = (*Transport)(nil)
	_ http.RoundTripper  = (*Transport)(nil)

	_ reverseproxy.TLSTransport                        = (*Transport)(nil)
	_ reverseproxy.H2CTransport                        = (*Transport)(nil)
	_ reverseproxy.HealthCheckSchemeOverriderTransport = (*Transport)(nil)
	_ reverseproxy.RequestHeaderOpsTransport           = (*Transport)(nil)
)
