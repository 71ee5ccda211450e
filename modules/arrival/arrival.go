// Package arrival tells Caddy's sites and caddy-l4's servers how a connection
// came to them: whether a firewall diverted it, and where it wanted to go.
//
// Their listeners have to be transparent: by the network type, as in
// `bind transparent/[::]`, or by the listener wrapper. Placeholders are set by the
// handler and by the matchers:
//
// Placeholder | Meaning
// ------------|--------
// `{http.transparent.arrived}` | `tproxy`, `redirect`, `direct` or `unknown`
// `{http.transparent.destination}` | where the client wanted to go, with its port
// `{l4.transparent.arrived}`, `{l4.transparent.destination}` | the same for connections of caddy-l4
package arrival

import (
	"context"
	"fmt"
	"net"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/portcullis-gateway/portcullis/transparent"
)

type arrivalKey struct{}

// Watch makes the site's server remember how its connections arrive, for [Of]. It
// is for the Provision of modules inside of a server; elsewhere it does nothing.
func Watch(ctx caddy.Context) {
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server == nil {
		return
	}
	server.RegisterConnContext(func(ctx context.Context, c net.Conn) context.Context {
		if _, known := ctx.Value(arrivalKey{}).(transparent.Arrival); known {
			return ctx
		}
		if a, ok := transparent.ArrivalOf(c); ok {
			return context.WithValue(ctx, arrivalKey{}, a)
		}
		return ctx
	})
}

// Of answers how a request's connection arrived. It is not ok if no transparent
// listener has accepted it, or nobody on the server watches.
func Of(ctx context.Context) (transparent.Arrival, bool) {
	a, ok := ctx.Value(arrivalKey{}).(transparent.Arrival)
	return a, ok
}

// note sets the placeholders.
func note(repl *caddy.Replacer, prefix string, a transparent.Arrival) {
	if repl == nil {
		return
	}
	repl.Set(prefix+".transparent.arrived", a.How.String())
	destination := ""
	if a.Destination.IsValid() {
		destination = a.Destination.String()
	}
	repl.Set(prefix+".transparent.destination", destination)
}

// Words are ways of arrival, as matchers name them.
type Words []string

// known are the words, with what they mean.
var known = map[string][]transparent.How{
	"intercepted": {transparent.TPROXY, transparent.Redirect},
	"tproxy":      {transparent.TPROXY},
	"redirect":    {transparent.Redirect},
	"direct":      {transparent.Direct},
	"unknown":     {transparent.Unknown},
}

const expected = "expected intercepted, tproxy, redirect, direct or unknown"

// check reports the first word that is not one, or that there is none.
func (w Words) check() error {
	if len(w) == 0 {
		return fmt.Errorf("arrived: %s", expected)
	}
	for _, word := range w {
		if known[word] == nil {
			return fmt.Errorf("arrived: unknown way %q; %s", word, expected)
		}
	}
	return nil
}

// match reports whether one of the words means h.
func (w Words) match(h transparent.How) bool {
	return slices.ContainsFunc(w, func(word string) bool { return slices.Contains(known[word], h) })
}

// unmarshal reads the words of a matcher, which may be given more than once.
func (w *Words) unmarshal(d *caddyfile.Dispenser) error {
	for d.Next() {
		*w = append(*w, d.RemainingArgs()...)
		if err := w.check(); err != nil {
			return d.WrapErr(err)
		}
		if d.NextBlock(0) {
			return d.Err("arrived takes no block")
		}
	}
	return nil
}
