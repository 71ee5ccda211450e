package serve

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/modules/listen"
)

// Listeners are those of an app that speaks HTTP: where it listens, and what
// clients may take. Apps embed it.
type Listeners struct {
	listen.Set

	// How long clients may take.
	Timeouts Timeouts `json:"timeouts,omitzero"`

	// How long the head of a request may be, in bytes. Default: 32768.
	MaxHeaderSize int `json:"max_header_size,omitempty"`

	// How long requests, and on the proxy WebSocket connections, may go on when
	// their listener closes. Default: without limit on the proxy, else 10s.
	GracePeriod caddy.Duration `json:"grace_period,omitempty"`

	// What stands between the sockets and TLS, the first one next to the
	// socket. Listeners that have wrappers are opened anew by each reload,
	// beside the old ones, which then drain. Default: none.
	ListenerWrappersRaw []json.RawMessage `json:"listener_wrappers,omitempty" caddy:"namespace=caddy.listeners inline_key=wrapper"`

	option string
	flags  listen.FlagSet
	wrap   func(net.Listener) net.Listener
	leases []*Lease
}

// Provision fills in defaults and loads the wrappers; it opens nothing. The
// usual binds are those of a list that is not there.
func (l *Listeners) Provision(ctx caddy.Context, option, usual string, flags listen.FlagSet) (err error) {
	l.option, l.flags = option, flags
	if err := l.Fill(option, usual, flags); err != nil {
		return err
	}
	l.Listen = listen.ShareHTTP2(l.Listen)
	l.Timeouts = l.Timeouts.WithDefaults()
	if l.wrap, err = LoadWrappers(ctx, l, "ListenerWrappersRaw"); err != nil {
		return fmt.Errorf("%s: %w", option, err)
	}
	return nil
}

// CheckListeners reports the first thing that is wrong with the listeners of an
// app, also beside those of other apps.
func (l *Listeners) CheckListeners(ctx caddy.Context, app string) error {
	if err := l.CheckBinds(ctx, app, l.option, l.flags); err != nil {
		return err
	}
	return CheckLimits(l.option, l.Timeouts, l.GracePeriod, l.MaxHeaderSize)
}

// Option is the word for the listeners in the Caddyfile.
func (l *Listeners) Option() string { return l.option }

// Open serves on all listeners. Each says for its bind how, in a Config and a
// Generation; what the listeners know themselves is filled in before. If Open
// fails, Close gives back what was opened.
func (l *Listeners) Open(ctx caddy.Context, each func(listen.Bind, *Config, *Generation) error) error {
	for _, b := range l.Listen {
		cfg := Config{
			Option:            l.option,
			Bind:              b,
			ReadHeaderTimeout: time.Duration(l.Timeouts.Header),
			IdleTimeout:       time.Duration(l.Timeouts.Idle),
			MaxHeaderBytes:    l.MaxHeaderSize,
		}
		g := Generation{Wrap: l.wrap, Logger: ctx.Logger(), GracePeriod: time.Duration(l.GracePeriod), Usual: l.Usual()}
		if err := each(b, &cfg, &g); err != nil {
			return err
		}
		lease, err := Open(ctx, cfg, g)
		if err != nil {
			return err
		}
		l.leases = append(l.leases, lease)
	}
	return nil
}

// Addrs are the addresses of the open listeners, with the port that the system
// chose where the bind leaves it open.
func (l *Listeners) Addrs() []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, lease := range l.leases {
		addrs = append(addrs, lease.Addrs()...)
	}
	return addrs
}

// Close ends the listeners, as Stop does, and then calls ended when nothing uses
// them any more. It does no harm to call it twice.
func (l *Listeners) Close(ended func()) {
	leases := l.leases
	l.leases = nil
	Stop(leases...)
	if ended != nil {
		go func() {
			for _, lease := range leases {
				<-lease.Done()
			}
			ended()
		}()
	}
}
