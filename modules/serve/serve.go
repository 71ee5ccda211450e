// Package serve keeps HTTP servers alive across config reloads.
//
// Caddy starts a new config beside the old one and then stops the old. A
// server that both have in common should not notice: [Open] finds the running
// server with the same [Config], or starts one, and puts a [Generation] (the
// handler, the certificates, the logger of one config) on top of it. Requests
// go to the newest generation; connections, idle or busy, stay as they are.
// When a generation is closed, the one below serves again, so a config that
// fails to start leaves the old one at work. When the last one is closed, the
// server drains and ends.
//
// A changed Config makes a second server on the same address, and the first
// drains. See [Lease.Close] for what clients notice of that.
package serve

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/listen"
)

// Config is all that shapes a running server. Two generations whose Configs
// are equal share one; with port 0, which asks for a port of one's own, or with
// listener wrappers, none are.
//
// A duration of zero means the default, a negative one no limit.
type Config struct {
	// Option is the listen option the server belongs to, such as
	// "proxy_listen". It begins errors, and keeps the doors apart.
	Option string

	// Bind is the address with its flags; all of them take effect.
	Bind listen.Bind

	// ReadHeaderTimeout bounds the time a client may take to send a request's
	// header, and before that its PROXY protocol header and TLS handshake.
	// Default: 60 seconds, as nginx's client_header_timeout.
	ReadHeaderTimeout time.Duration

	// ReadTimeout bounds the time to read a whole request. Default: no limit.
	ReadTimeout time.Duration

	// WriteTimeout bounds the time from the end of a request's header to the
	// end of its response. Default: no limit.
	WriteTimeout time.Duration

	// IdleTimeout bounds the time a connection may wait for its next request.
	// Default: 75 seconds, as nginx's keepalive_timeout.
	IdleTimeout time.Duration

	// MaxHeaderBytes bounds the size of a request's header; net/http grants
	// 4 KiB more. Default: 32 KiB, as nginx's large_client_header_buffers.
	MaxHeaderBytes int

	// Private tells that the server must not be reached through this process's
	// own proxy; see listen.MarkPrivate. Default: false.
	Private bool
}

// What the zero values of a Config mean.
const (
	DefaultReadHeaderTimeout = 60 * time.Second
	DefaultIdleTimeout       = 75 * time.Second
	DefaultMaxHeaderBytes    = 32 << 10
)

// Generation is what one config brings to a server.
type Generation struct {
	// Handler answers the requests. A request that has begun stays with its
	// handler, whatever comes on top meanwhile.
	Handler http.Handler

	// Lists tells that the handler can do without the Header of requests; see
	// http1.Server.
	Lists bool

	// TLS answers a ClientHello on a bind with `ssl`, and is not called on
	// others. It should return the same *tls.Config as long as nothing
	// changes, with a GetCertificate that is live. The server's own
	// protocols stand before its NextProtos. Session tickets outlive the generation unless the config brings
	// its own keys.
	TLS func(*tls.ClientHelloInfo) (*tls.Config, error)

	// Usual says that nobody wrote the bind. What the system does not grant it is
	// then no reason for a warning.
	Usual bool

	// Trusted says whether a peer's PROXY protocol header is believed; see
	// [Conn.Proxied]. Default: every peer's.
	Trusted func(netip.Addr) bool

	// Wrap, if it is set, stands between the sockets and everything else, TLS
	// included. What it returns belongs to this generation, so the server is
	// not shared with others: the next one opens a server beside it. See
	// [LoadWrappers].
	Wrap func(net.Listener) net.Listener

	// Refusal is the answer to what is not a request of HTTP/1: the type and
	// the text of the body for a status. Default: the status in words.
	Refusal func(status int) (contentType, body string)

	// PublicPort says which port clients know a port of the bind by, for the
	// header Alt-Svc. Default: the port itself.
	PublicPort func(uint16) uint16

	// Logger gets the server's own messages. Default: none.
	Logger *zap.Logger

	// GracePeriod is how long requests and upgraded connections may go on when
	// the server ends. Default: without limit.
	GracePeriod time.Duration
}

// pool holds the running servers by key. Those that drain are in it no more.
var pool = caddy.NewUsagePool()

// A key is what makes two servers different.
type key struct {
	Config
	serial uint64 // of a server that is never shared
}

var serial atomic.Uint64

// Open puts g on top of the server that cfg describes, and starts the server if
// there is none. From then on g serves. The context limits the lookup of a
// hostname. The error begins with cfg.Option.
//
// Flags that this system cannot honour are logged as warnings when a server
// starts.
func Open(ctx context.Context, cfg Config, g Generation) (*Lease, error) {
	if g.Logger == nil {
		g.Logger = zap.NewNop()
	}
	if cfg.Bind.SSL && g.TLS == nil {
		return nil, fmt.Errorf("%s: %q: flag \"ssl\" needs a source of certificates", cfg.Option, cfg.Bind)
	}
	k := key{Config: cfg.withDefaults()}
	if cfg.Bind.Port == 0 && !cfg.Bind.Passed() || g.Wrap != nil {
		k.serial = serial.Add(1)
	}
	value, _, err := pool.LoadOrNew(k, func() (caddy.Destructor, error) { return newServer(ctx, k.Config, g) })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cfg.Option, err)
	}
	return value.(*server).push(k, g), nil
}

func (c Config) withDefaults() Config {
	if c.ReadHeaderTimeout == 0 {
		c.ReadHeaderTimeout = DefaultReadHeaderTimeout
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = DefaultIdleTimeout
	}
	if c.MaxHeaderBytes == 0 {
		c.MaxHeaderBytes = DefaultMaxHeaderBytes
	}
	return c
}
