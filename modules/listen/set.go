package listen

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
)

// Set is where an app listens. Apps embed it.
type Set struct {
	// The addresses to listen on, with their flags. An empty list is Kong's
	// `off`. Default: Kong's for the option of the app's name.
	Listen []Bind `json:"listen,omitzero"`

	usual bool // Fill put them there
}

// doors are the apps that listen, and their options.
var doors = []struct{ app, option string }{
	{"gateway_proxy", "proxy_listen"}, {"gateway_stream", "stream_listen"},
	{"gateway_admin", "admin_listen"}, {"gateway_status", "status_listen"},
}

// Fill puts in the binds of a line if the set says nothing. The line is usually
// Kong's default for the option.
func (s *Set) Fill(option, line string, flags FlagSet) (err error) {
	if s.Listen == nil {
		s.usual = true
		s.Listen, err = Parse(option, line, flags)
	}
	return err
}

// CheckBinds reports the first bind that makes no sense, or cannot be opened beside
// the others of the set or of the configuration's other doors. App is the name
// of the app that the set belongs to.
func (s *Set) CheckBinds(ctx caddy.Context, app, option string, flags FlagSet) error {
	for _, b := range s.Listen {
		if err := b.Validate(option, flags); err != nil {
			return err
		}
	}
	if err := Conflicts(s.Listen...); err != nil {
		return fmt.Errorf("%s: %w", option, err)
	}
	for _, door := range doors {
		if door.app == app {
			continue
		}
		for _, a := range BindsOf(ctx, door.app) {
			for _, b := range s.Listen {
				if a.sameAddress(b) {
					return fmt.Errorf("%s: %q asks for the same address as %q of %s", option, b, a, door.option)
				}
			}
		}
	}
	return nil
}

// Usual reports whether the binds are those of a configuration that names none:
// what the system does not grant them is nothing that anybody asked for.
func (s *Set) Usual() bool { return s.usual }

// Binds are the addresses to listen on.
func (s *Set) Binds() []Bind { return s.Listen }

// BindsOf are the addresses that an app of the configuration listens on, none
// if it is not there or does not listen.
func BindsOf(ctx caddy.Context, app string) []Bind {
	a, err := ctx.AppIfConfigured(app)
	if err != nil {
		return nil // it is not there, or will be reported by itself
	}
	if door, is := a.(interface{ Binds() []Bind }); is {
		return door.Binds()
	}
	return nil
}
