package stream

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/mholt/caddy-l4/layer4"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/transparent"
)

func init() { caddy.RegisterModule(new(Handler)) }

// Handler hands the connections of a caddy-l4 route to the gateway: its routes
// and services take them, beside whatever else the server does.
//
// If TLS was ended by the handler `tls` before, the routes see the server name
// that was asked for and the protocol `tls`. Otherwise connections are plain
// TCP, or UDP, unless `ssl` says that each begins with a ClientHello. It is the
// last handler of its route. Bytes do not go through the kernel alone here, since
// caddy-l4 may have read some of them.
type Handler struct {
	// Whether connections begin with a ClientHello, as on a listener with the
	// flag `ssl`: TLS is ended or passed through, as the gateway's route says.
	// Default: false.
	SSL bool `json:"ssl,omitempty"`

	ctx    caddy.Context
	app    *gateway.App
	logger *zap.Logger

	mu     sync.Mutex
	engine *Engine // protected by mu; made for the first connection
	closed bool    // protected by mu
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "layer4.handlers.gateway", New: func() caddy.Module { return new(Handler) }}
}

// Provision finds the app whose node it will use.
func (h *Handler) Provision(ctx caddy.Context) (err error) {
	h.ctx, h.logger = ctx, ctx.Logger()
	if h.app, err = gateway.From(ctx); err != nil {
		return err
	}
	h.app.Require()
	return nil
}

// UnmarshalCaddyfile reads the handler. Syntax:
//
//	gateway {
//		ssl
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the handler's name
	if d.NextArg() {
		return d.Errf("gateway takes no argument, got %q", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "ssl" {
			return d.Errf("unrecognized option %q; expected ssl", d.Val())
		}
		if d.NextArg() {
			return d.Errf("ssl takes no argument, got %q", d.Val())
		}
		h.SSL = true
	}
	return nil
}

// Handle passes the connection to the gateway, and returns when it has ended.
func (h *Handler) Handle(cx *layer4.Connection, _ layer4.Handler) error {
	e, err := h.open()
	if err != nil {
		return err
	}
	defer e.drop()
	in, protocol := intake{conn: handedOver(cx), tls: h.SSL}, "tcp"
	if _, ok := cx.LocalAddr().(*net.UDPAddr); ok {
		protocol, in.tls = "udp", false
	}
	if states, _ := cx.GetVar(layer4.TLSConnectionStatesVarName).([]*tls.ConnectionState); len(states) > 0 {
		in.terminated, in.tls = states[len(states)-1], false
	}
	f := e.newFlow("layer4 "+cx.LocalAddr().String(), protocol, transparent.AddrPort(cx.RemoteAddr()), transparent.AddrPort(cx.LocalAddr()))
	if a, ok := transparent.ArrivalOf(cx); ok {
		f.arrive(a)
	}
	e.serve(f, in, nil)
	return nil
}

// handedOver is the connection as caddy-l4 has it, with a way to end each
// direction of its own.
func handedOver(cx *layer4.Connection) net.Conn {
	base := cx.Conn
	for {
		inner, ok := base.(*layer4.Connection)
		if !ok {
			return &innermost{Conn: cx, base: &outermost{Conn: base}}
		}
		base = inner.Conn
	}
}

// open answers the engine, held, and makes it at first.
func (h *Handler) open() (*Engine, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, errors.New("the configuration of this handler has been replaced")
	}
	if h.engine == nil {
		n, err := h.app.Node()
		if err != nil {
			return nil, err
		}
		e := &Engine{node: n, options: h.app.Options(), resolver: h.app.Resolver(), logger: h.logger, hello: defaultHelloTimeout}
		if h.SSL {
			if e.tls, err = h.app.ServerTLS(h.ctx, "layer4"); err != nil {
				return nil, err
			}
		}
		e.open(h.app.Hold())
		h.engine = e
	}
	h.engine.hold()
	return h.engine, nil
}

// Cleanup gives the node back when the last connection has ended.
func (h *Handler) Cleanup() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	if h.engine != nil {
		h.engine.drop()
		h.engine = nil
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Handler)(nil)
	_ caddy.CleanerUpper    = (*Handler)(nil)
	_ caddyfile.Unmarshaler = (*Handler)(nil)
	_ layer4.NextHandler    = (*Handler)(nil)
)
