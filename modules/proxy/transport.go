package proxy

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/modules/dial"
	"github.com/portcullis-gateway/portcullis/modules/http1"
)

// Kong's defaults for idle connections to upstreams (upstream_keepalive_pool_size,
// upstream_keepalive_idle_timeout, upstream_keepalive_max_requests).
const (
	maxRequests = 10000
	idlePerKey  = 512
	idleTotal   = 16384 // ours: Host headers can make many keys, see identity
	idleTimeout = 60 * time.Second
)

// maxResponseHeader is how long the head of an upstream's response may be, in
// bytes.
const maxResponseHeader = 256 << 10

// wire is what the engines of a process share: the connections to upstreams.
// It outlives every configuration.
//
// There is one transport for each protocol, not one for each TLS identity: the
// pool's key tells the identity, for net/http's transports as the authority of a
// request's URL. What is dialled, and how, the destination in the request's context
// says. So nothing has to be found, shared or dropped for a new identity, and
// idle connections of an old one end after a minute.
type wire struct {
	http1             *http1.Transport
	http2, clearHTTP2 *http.Transport

	senders map[string]sender // by the protocols of services
}

var wires = caddy.NewUsagePool()

func holdWire() *wire {
	w, _, _ := wires.LoadOrNew("wire", func() (caddy.Destructor, error) { return newWire(), nil })
	return w.(*wire)
}

func dropWire() { _, _ = wires.Delete("wire") }

func newWire() *wire {
	transport := func(enable func(*http.Protocols)) *http.Transport {
		p := new(http.Protocols)
		enable(p)
		return &http.Transport{
			Protocols:              p,
			DialContext:            dialPlain,
			DialTLSContext:         dialTLS,
			DisableCompression:     true,
			MaxIdleConns:           idleTotal,
			MaxIdleConnsPerHost:    idlePerKey,
			IdleConnTimeout:        idleTimeout,
			MaxResponseHeaderBytes: maxResponseHeader,
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
		}
	}
	w := &wire{
		http1: &http1.Transport{
			MaxIdle: idleTotal, MaxIdlePerKey: idlePerKey, IdleTimeout: idleTimeout,
			MaxRequests: maxRequests, MaxHeaderBytes: maxResponseHeader,
		},
		http2:      transport(func(p *http.Protocols) { p.SetHTTP2(true) }),
		clearHTTP2: transport(func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }),
	}
	w.senders = map[string]sender{
		"http": w.sendHTTP1, "https": w.sendHTTP1, "grpc": w.sendClearHTTP2, "grpcs": w.sendHTTP2,
	}
	return w
}

// Destruct ends idle connections. Caddy's pool calls it when
// the last engine is closed.
func (w *wire) Destruct() error {
	w.http1.CloseIdle()
	w.http2.CloseIdleConnections()
	w.clearHTTP2.CloseIdleConnections()
	return nil
}

// A sender sends the request of a try and answers the head of its response.
type sender func(*try, *http.Request) (*http.Response, error)

// sender sends requests to services of a protocol; nil if the protocol is not
// one of HTTP's.
func (w *wire) sender(protocol string) sender { return w.senders[protocol] }

func (w *wire) sendHTTP1(t *try, req *http.Request) (*http.Response, error) {
	return w.http1.RoundTrip(req, t.fields, t.dial.key(), t)
}

func (w *wire) sendHTTP2(t *try, req *http.Request) (*http.Response, error) {
	return viaURL(w.http2, "https", t, req)
}

func (w *wire) sendClearHTTP2(t *try, req *http.Request) (*http.Response, error) {
	return viaURL(w.clearHTTP2, "http", t, req)
}

// viaURL uses a transport of net/http, which wants a URL.
func viaURL(transport *http.Transport, scheme string, t *try, req *http.Request) (*http.Response, error) {
	path, query, asked := strings.Cut(req.RequestURI, "?")
	req.Header = headerOf(t.fields)
	req.URL = &url.URL{Scheme: scheme, Host: t.dial.authority(), Opaque: path, RawQuery: query, ForceQuery: asked}
	req.RequestURI = ""
	return transport.RoundTrip(t.trace(req))
}

// secure reports whether a service is spoken to over TLS.
func secure(protocol string) bool { return protocol == "https" || protocol == "grpcs" }

// A destination says where and how to connect for a try. Two destinations with equal identities may use
// each other's connections.
type destination struct {
	address string        // host:port
	connect time.Duration // for name resolution, TCP and TLS together
	guarded bool          // whether this process's private listeners are out of reach
	source  dial.Source   // where the connection comes from
	tls     *dial.TLS     // nil: plain
	http2   bool
}

// authority is the key under which connections are pooled, in the form of a
// URL's host. It is the address, unless there is more to tell.
func (d *destination) authority() string {
	if d.tls == nil && d.guarded && !d.source.Addr.IsValid() {
		return d.address
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q %t %s ", d.address, d.guarded, d.source.Addr)
	if t := d.tls; t != nil {
		fmt.Fprintf(h, "%q %t %d %q", t.ServerName, t.Verify, t.Depth, t.Key)
	}
	return hex.EncodeToString(h.Sum(nil)[:16]) + ":1"
}

// key is the same for transports that have one of their own.
func (d *destination) key() http1.Key {
	k := http1.Key{Address: d.address}
	if t := d.tls; t != nil {
		k.Identity = strconv.Itoa(t.Depth) + strconv.FormatBool(t.Verify) + t.ServerName + " " + t.Key
	}
	if !d.guarded {
		k.Identity += " unguarded"
	}
	if d.source.Addr.IsValid() {
		k.Identity += " from " + d.source.Addr.String()
	}
	return k
}

// dialKey is the key of the *destination in a request's context.
type dialKey struct{}

// dialPlain is the transports' DialContext.
func dialPlain(ctx context.Context, _, _ string) (net.Conn, error) {
	d := ctx.Value(dialKey{}).(*destination)
	ctx, cancel := context.WithTimeout(ctx, d.connect)
	defer cancel()
	return d.tcp(ctx)
}

// dialTLS is the transports' DialTLSContext.
func dialTLS(ctx context.Context, _, _ string) (net.Conn, error) {
	d := ctx.Value(dialKey{}).(*destination)
	ctx, cancel := context.WithTimeout(ctx, d.connect)
	defer cancel()
	conn, err := d.tcp(ctx)
	if err != nil {
		return nil, err
	}
	c := tls.Client(conn, d.tlsConfig())
	if err := c.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("tls handshake with %s: %w", d.address, err)
	}
	if d.http2 && c.ConnectionState().NegotiatedProtocol != "h2" {
		c.Close()
		return nil, fmt.Errorf("%s does not speak HTTP/2 over TLS (no ALPN h2)", d.address)
	}
	return c, nil
}

func (d *destination) tcp(ctx context.Context) (net.Conn, error) {
	return dial.Dialer{Guarded: d.guarded, Source: d.source}.TCP(ctx, d.address)
}

func (d *destination) tlsConfig() *tls.Config {
	c := d.tls.Config()
	if d.http2 {
		c.NextProtos = []string{"h2"}
	}
	return c
}

// Interface guards
var _ caddy.Destructor = (*wire)(nil)
