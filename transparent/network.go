package transparent

import (
	"context"
	"fmt"
	"net"
	"syscall"

	"github.com/caddyserver/caddy/v2"
)

// Network is the network type whose listeners receive connections that were
// addressed to others: `transparent/:8080` is to `tcp/:8080` as a bind with the
// flag `transparent` is to one without.
const Network = "transparent"

func init() { caddy.RegisterNetwork(Network, listenStream) }

// listenStream opens a listener for Caddy. It shares Caddy's sockets of the
// network tcp, so a reload overlaps as it does there.
func listenStream(ctx context.Context, network, host, portRange string, offset uint, cfg net.ListenConfig) (any, error) {
	na, err := caddy.ParseNetworkAddress("tcp/" + net.JoinHostPort(host, portRange))
	if err != nil {
		return nil, err
	}
	cfg.SetMultipathTCP(false) // it would hide what REDIRECT has rewritten
	cfg.Control = both(cfg.Control, AllModes.Control)
	address := network + "/" + na.JoinHostPort(offset)
	ln, err := na.Listen(ctx, offset, cfg)
	if err != nil {
		return nil, fmt.Errorf("listener %s: %w", address, unwrapControl(err))
	}
	stream, ok := ln.(net.Listener)
	if !ok {
		return nil, fmt.Errorf("listener %s: got a %T, which accepts no connections", address, ln)
	}
	return NewListener(stream, AllModes, false, caddy.Log().Named(Network)), nil
}

// both makes one control function of two, of which the first may be nil.
func both(first, second func(string, string, syscall.RawConn) error) func(string, string, syscall.RawConn) error {
	if first == nil {
		return second
	}
	return func(network, address string, c syscall.RawConn) error {
		if err := first(network, address, c); err != nil {
			return err
		}
		return second(network, address, c)
	}
}
