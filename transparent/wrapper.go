package transparent

import (
	"fmt"
	"net"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
)

func init() { caddy.RegisterModule(new(Wrapper)) }

// Wrapper lets a site's listener receive connections that were addressed to
// someone else, and that a firewall has diverted to it by TPROXY, REDIRECT or
// DNAT. The local address of such a connection is where its client wanted to go,
// for everything that asks: the placeholders `{http.request.local}` and its
// parts, the choice of a certificate for clients without SNI, matchers.
//
// It has to be the first of the wrappers, next to the socket, and before `tls`.
//
// Where the site has no other wrapper, the network type does the same and is the
// better vehicle: `bind transparent/[::]`. There the socket is made transparent
// before it is bound, so not even the first connection after a reload is missed,
// and addresses that are not the host's can be bound.
type Wrapper struct {
	// What is accepted: `intercepted` refuses direct connections, and those of
	// which the kernel does not tell. Default: all connections.
	Require string `json:"require,omitempty"`

	// The ways of interception that are served: `tproxy`, `redirect`. Without
	// `tproxy` the process needs no capability. Default: both.
	Modes []string `json:"modes,omitempty"`

	modes  Modes
	logger *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (*Wrapper) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.listeners.transparent", New: func() caddy.Module { return new(Wrapper) }}
}

// Provision makes sure that the process may do what is asked for: once the
// listener is open, nobody would hear of it.
func (w *Wrapper) Provision(ctx caddy.Context) (err error) {
	w.logger = ctx.Logger()
	if w.Require != "" && w.Require != "intercepted" {
		return fmt.Errorf("require: expected intercepted, got %q", w.Require)
	}
	if w.modes, err = ParseModes(w.Modes...); err != nil {
		return fmt.Errorf("modes: %w", err)
	}
	return w.modes.Check()
}

// WrapListener prepares the socket inside of ln. If it cannot, the listener that
// it answers says why, instead of accepting.
func (w *Wrapper) WrapListener(ln net.Listener) net.Listener {
	socket, err := socketOf(ln)
	if err != nil {
		return w.broken(ln, fmt.Errorf("the wrapper transparent has to be the first, and to stand before tls: %w", err))
	}
	raw, err := socket.SyscallConn()
	if err == nil {
		err = w.modes.Control("tcp", socket.Addr().String(), raw)
	}
	if err != nil {
		return w.broken(ln, err)
	}
	return NewListener(ln, w.modes, w.Require != "", w.logger)
}

func (w *Wrapper) broken(ln net.Listener, err error) net.Listener {
	err = fmt.Errorf("listener %s: %w", ln.Addr(), err)
	w.logger.Error("listener receives no connections", zap.Error(err))
	return brokenListener{ln, err}
}

// UnmarshalCaddyfile reads the wrapper. Syntax:
//
//	transparent {
//		require intercepted
//		modes   tproxy redirect
//	}
func (w *Wrapper) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the wrapper's name
	if d.NextArg() {
		return d.Errf("transparent takes no argument, got %q", d.Val())
	}
	for d.NextBlock(0) {
		switch word := d.Val(); word {
		case "require":
			args := d.RemainingArgs()
			if len(args) != 1 || args[0] != "intercepted" {
				return d.Err("require: expected intercepted")
			}
			w.Require = args[0]
		case "modes":
			args := d.RemainingArgs()
			if len(args) == 0 {
				return d.Err("modes: expected tproxy, redirect or both")
			}
			if _, err := ParseModes(args...); err != nil {
				return d.Errf("modes: %w", err)
			}
			w.Modes = append(w.Modes, args...)
		default:
			return d.Errf("unrecognized option %q; expected one of: modes, require", word)
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Wrapper)(nil)
	_ caddy.ListenerWrapper = (*Wrapper)(nil)
	_ caddyfile.Unmarshaler = (*Wrapper)(nil)
)
