package snapshot

import (
	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// NewWithPlugins does what New does, and loads the plugins. What they hold is
// given back by Close, or by Discard if the snapshot is not to be used.
func NewWithPlugins(im *store.Image, pools *balancer.Pools, loader *plugin.Loader) *Snapshot {
	return build(im, pools, loader)
}

// Chain is what acts on requests that take the match; nil: nothing.
func (s *Snapshot) Chain(m *Match) *plugin.Chain { return s.chain(m, false) }

// StreamChain is what acts on connections that take the match; nil: nothing.
func (s *Snapshot) StreamChain(m *Match) *plugin.Chain { return s.chain(m, true) }

func (s *Snapshot) chain(m *Match, stream bool) *plugin.Chain {
	if s.globals == nil {
		return nil
	}
	if m.Service == nil {
		return m.Route.cell.Chain(s.globals, m.Route.plugins, nil, uuid.Nil, stream)
	}
	return m.Route.cell.Chain(s.globals, m.Route.plugins, m.Service.plugins, m.Service.ID, stream)
}

// Globals are the plugins that are bound to no route or service; nil if there is
// no plugin at all.
func (s *Snapshot) Globals() *plugin.Globals { return s.globals }

// Epoch is what requests enter while plugins act on them; nil if there is no
// plugin at all.
func (s *Snapshot) Epoch() *plugin.Epoch { return s.epoch }

// Live is called when requests see the snapshot. What only those before needed is
// released when their last request is over.
func (s *Snapshot) Live() {
	if s.turnover != nil {
		s.turnover.Keep()
	}
}

// Close releases what the plugins of the last snapshot hold, when the last
// request is over.
func (s *Snapshot) Close() {
	if s.epoch != nil {
		s.epoch.End(func(yield func(*plugin.Instance) bool) {
			for in := range s.instances.Values() {
				if !yield(in) {
					return
				}
			}
		})
	}
}

func (e *edit) changePlugin(c store.Change) {
	id := c.ID()
	key := string(id[:])
	old, _ := e.instances.Get(key)
	now := e.loadPlugin(c, old)
	if now == nil {
		e.instances.Delete(key)
	} else {
		e.instances.Put(key, now)
	}
	e.turnover.Replaced(old, now)
	for _, in := range []*plugin.Instance{old, now} {
		switch {
		case in == nil:
		case in.Route != nil:
			e.regroup[in.Route.ID] = true
		case in.Service != nil:
			e.dirtyServices[in.Service.ID] = true
		case in == old:
			e.globalsBefore = append(e.globalsBefore, in)
		default:
			e.globalsAfter = append(e.globalsAfter, in)
		}
	}
}

// loadPlugin answers the instance of the row as it is now; nil: none.
func (e *edit) loadPlugin(c store.Change, old *plugin.Instance) *plugin.Instance {
	if c.After == nil || e.base.loader == nil {
		return nil
	}
	p, ok := view[entity.Plugin](e, "plugins", c.After)
	if !ok || !p.Enabled {
		return nil
	}
	in, loaded := e.base.loader.Load(p, old)
	if loaded {
		e.turnover.Built(in)
	}
	if err := in.Err(); err != nil {
		e.problem("plugins", c.After.ID, err)
	}
	return in
}

// bindings are the plugins whose foreign field refers to id: all of a route, or
// those of a service that are bound to none of its routes.
func (e *edit) bindings(field string, id uuid.UUID) *plugin.Bindings {
	if e.instances.Len() == 0 {
		return nil
	}
	var list []*plugin.Instance
	for r := range e.children("plugins", field, id) {
		if in, ok := e.instances.Get(string(r.ID[:])); ok && (field == "route" || in.Route == nil) {
			list = append(list, in)
		}
	}
	return plugin.Bind(list)
}

// regroupRoutes gives routes whose plugins changed a new place in the index.
func (e *edit) regroupRoutes() {
	for id := range e.regroup {
		row, ok := e.image.Get("routes", id)
		if !ok {
			continue
		}
		if r, ok := view[entity.Route](e, "routes", row); ok {
			e.removeRoute(r)
			e.addRoute(row)
		}
	}
}

// finishPlugins fills what the snapshot knows of plugins.
func (e *edit) finishPlugins(next *Snapshot) {
	next.loader = e.base.loader
	next.instances = e.instances.Map()
	globals := e.base.globals
	if globals == nil && next.instances.Len() > 0 {
		globals = plugin.NewGlobals()
	}
	if globals != nil {
		next.globals = globals.With(e.globalsBefore, e.globalsAfter)
		next.epoch, next.turnover = e.turnover.Epoch(), e.turnover
	}
}
