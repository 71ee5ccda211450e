package plugin

import (
	"bytes"
	"slices"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// An Instance is one row of the table plugins, ready to run. It does not
// change.
type Instance struct {
	*entity.Plugin
	*module
	http, stream bool // which subsystems its protocols belong to
}

// A module is a loaded Caddy module. Instances share it when their rows differ
// only in what the module does not see.
type module struct {
	phases          // none if there is an error
	takes    phases // those of the plugin, for an example
	priority int
	forgets  bool  // see entity.PluginKind
	err      error // why the plugin cannot run; requests that need it get a 500
	value    any
	close    func() // nil: there is nothing to give back
}

// Err says why the plugin cannot run; nil if it can.
func (in *Instance) Err() error { return in.err }

// Module answers the plugin's Caddy module; nil if there is an error.
func (in *Instance) Module() any { return in.value }

// sameModule reports whether b can use the module of a.
func sameModule(a, b *entity.Plugin) bool {
	return a.Name == b.Name && bytes.Equal(a.Config, b.Config) &&
		refID(a.Route) == refID(b.Route) && refID(a.Service) == refID(b.Service) && refID(a.Consumer) == refID(b.Consumer)
}

func refID(r *entity.Ref) uuid.UUID {
	if r == nil {
		return uuid.Nil
	}
	return r.ID
}

func newInstance(p *entity.Plugin, m *module) *Instance {
	in := &Instance{Plugin: p, module: m}
	for _, name := range p.Protocols {
		if slices.Contains(entity.HTTPProtocols, name) {
			in.http = true
		} else {
			in.stream = true
		}
	}
	return in
}

// streams reports whether the plugin has a say in streams: it is for them, and
// takes part or ought to.
func (in *Instance) streams() bool {
	return in.stream && (in.err != nil || in.takes.preread != nil || in.takes.around != nil || in.takes.logSession != nil)
}

// level is Kong's order of scopes: 1 is the most specific one.
func (in *Instance) level() int {
	route, service, consumer := in.Route != nil, in.Service != nil, in.Consumer != nil
	switch {
	case route && service && consumer:
		return 1
	case route && consumer:
		return 2
	case service && consumer:
		return 3
	case route && service:
		return 4
	case consumer:
		return 5
	case route:
		return 6
	case service:
		return 7
	}
	return 8
}
