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
}

// doors are the apps that listen.
var doors = []string{"gateway_proxy", "gateway_stream", "gateway_admin", "gateway_status"}

// Fill puts in the binds of a line if the set says nothing. The line is usually
// Kong's default for the option.
func (s *Set) Fill(option, line string, flags FlagSet) (err error) {
	if s.Listen == nil {
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
	var binds []Bind
	for _, door := range doors {
		if door != app {
			binds = append(binds, BindsOf(ctx, door)...)
		}
	}
	if err := Conflicts(append(binds, s.Listen...)...); err != nil {
		return fmt.Errorf("%s: %w", option, err)
	}
	return nil
}

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
