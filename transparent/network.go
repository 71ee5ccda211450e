package transparent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/caddyserver/caddy/v2"
)

// Network is the network type whose listeners receive connections that were
// addressed to others: `transparent/:8080` is to `tcp/:8080` as a bind with the
// flag `transparent` is to one without. Options stand behind a plus sign, in
// this order:
//
//	transparent+tproxy       that one way of interception, or
//	transparent+redirect     the other, which needs no capability
//	transparent+udp          datagrams, as connections, for caddy-l4
//	transparent+intercepted  no direct connections; also behind the others
//
// Sites with TLS on one of the networks get their HTTP/3 by [QUICNetwork].
const Network = "transparent"

// QUICNetwork is the network type for the datagrams of HTTP/3; package
// transparent/sites tells Caddy's HTTP servers of it. With the option
// `+intercepted`, direct datagrams are dropped.
const QUICNetwork = Network + "+quic"

// Intercepted is the option of the networks that refuses what was addressed to
// the listener itself.
const Intercepted = "+intercepted"

func init() {
	for _, required := range []string{"", Intercepted} {
		for _, name := range []string{"", "+tproxy", "+redirect"} {
			caddy.RegisterNetwork(Network+name+required, listenStream)
		}
		caddy.RegisterNetwork(Network+"+udp"+required, listenFlows)
		caddy.RegisterNetwork(QUICNetwork+required, listenQUIC)
	}
}

// listenStream opens a listener for Caddy. It shares Caddy's sockets of the
// network tcp, so a reload overlaps as it does there.
func listenStream(ctx context.Context, network, host, portRange string, offset uint, cfg net.ListenConfig) (any, error) {
	modes := AllModes
	for _, option := range strings.Split(network, "+")[1:] {
		if m, err := ParseModes(option); err == nil {
			modes = m
		}
	}
	cfg.SetMultipathTCP(false) // it would hide what REDIRECT has rewritten
	ln, err := listen(ctx, network, "tcp", host, portRange, offset, cfg, modes.Control)
	if err != nil {
		return nil, err
	}
	stream, ok := ln.(net.Listener)
	if !ok {
		return nil, fmt.Errorf("listener %s: got a %T, which accepts no connections", network, ln)
	}
	return NewListener(stream, modes, required(network), caddy.Log().Named(Network)), nil
}

// listenFlows opens a listener for caddy-l4.
func listenFlows(ctx context.Context, network, host, portRange string, offset uint, cfg net.ListenConfig) (any, error) {
	c, owner, err := listenPackets(ctx, network, host, portRange, offset, cfg)
	if err != nil {
		return nil, err
	}
	return NewPacketListener(c, owner, required(network), caddy.Log().Named(Network)), nil
}

// listenQUIC opens a socket for HTTP/3.
func listenQUIC(ctx context.Context, network, host, portRange string, offset uint, cfg net.ListenConfig) (any, error) {
	c, owner, err := listenPackets(ctx, network, host, portRange, offset, cfg)
	if err != nil {
		return nil, err
	}
	return newQUICConn(c, owner, required(network)), nil
}

// listenPackets opens a socket of Caddy's network udp; owner is to be closed.
func listenPackets(ctx context.Context, network, host, portRange string, offset uint, cfg net.ListenConfig) (c *net.UDPConn, owner net.PacketConn, err error) {
	ln, err := listen(ctx, network, "udp", host, portRange, offset, cfg, ControlPackets)
	if err != nil {
		return nil, nil, err
	}
	owner = ln.(net.PacketConn) // of Caddy's network udp
	if err := CheckReplies(); err != nil {
		owner.Close()
		return nil, nil, fmt.Errorf("listener %s/%s: %w", network, net.JoinHostPort(host, portRange), err)
	}
	for at := owner; at != nil; {
		if c, ok := at.(*net.UDPConn); ok {
			return c, owner, nil
		}
		inner, ok := at.(interface{ Unwrap() net.PacketConn })
		if !ok {
			break
		}
		at = inner.Unwrap()
	}
	owner.Close()
	return nil, nil, fmt.Errorf("listener %s: %w: got a %T, not a UDP socket", network, errors.ErrUnsupported, ln)
}

// listen lets Caddy open a socket that control has prepared.
func listen(ctx context.Context, network, kernel, host, portRange string, offset uint, cfg net.ListenConfig,
	control func(string, string, syscall.RawConn) error,
) (any, error) {
	na, err := caddy.ParseNetworkAddress(kernel + "/" + net.JoinHostPort(host, portRange))
	if err != nil {
		return nil, err
	}
	cfg.Control = both(cfg.Control, control)
	ln, err := na.Listen(ctx, offset, cfg)
	if err != nil {
		return nil, fmt.Errorf("listener %s/%s: %w", network, na.JoinHostPort(offset), unwrapControl(err))
	}
	return ln, nil
}

// required reports whether a network refuses what was not intercepted.
func required(network string) bool { return strings.HasSuffix(network, Intercepted) }

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
