package snapshot

import (
	"maps"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/certs"
	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/router"
	"github.com/portcullis-gateway/portcullis/modules/store"
	"github.com/portcullis-gateway/portcullis/modules/trie"
)

// edit collects what a batch of changes touches, then compiles each touched
// part once, from the new image.
type edit struct {
	base  *Snapshot
	image *store.Image

	routes    *router.Edit[Route]
	streams   *router.StreamEdit[*Route]
	services  *trie.Edit[*Service]
	upstreams *trie.Edit[*Upstream]
	trusting  *trie.Edit[uuid.UUID]
	certs     *certs.Edit
	instances *trie.Edit[*plugin.Instance]
	names     []*entity.SNI // to be set when all names that are given up are gone

	dirtyServices  map[uuid.UUID]bool
	dirtyUpstreams map[uuid.UUID]string // the name it had before, "" if none
	authorities    bool                 // a ca_certificate changed
	toggled        map[uuid.UUID]bool   // services whose enabled changed, to what
	regroup        map[uuid.UUID]bool   // routes whose plugins changed

	globalsBefore, globalsAfter []*plugin.Instance // what changed among the global plugins
	turnover                    *plugin.Turnover

	changed  map[rowKey]bool
	problems map[rowKey]Problem
	plans    map[uuid.UUID]*balancer.Plan
}

func (s *Snapshot) edit(im *store.Image) *edit {
	return &edit{
		base:           s,
		image:          im,
		routes:         s.routes.Edit(),
		streams:        s.streams.Edit(),
		services:       s.services.Edit(),
		upstreams:      s.upstreams.Edit(),
		trusting:       s.trusting.Edit(),
		certs:          s.certs.Edit(),
		dirtyServices:  map[uuid.UUID]bool{},
		dirtyUpstreams: map[uuid.UUID]string{},
		toggled:        map[uuid.UUID]bool{},
		regroup:        map[uuid.UUID]bool{},
		instances:      s.instances.Edit(),
		turnover:       plugin.NewTurnover(s.epoch),
		changed:        map[rowKey]bool{},
		problems:       maps.Clone(s.problems),
		plans:          map[uuid.UUID]*balancer.Plan{},
	}
}

func (e *edit) change(c store.Change) {
	k := rowKey{c.Table, c.ID()}
	e.changed[k] = true
	delete(e.problems, k)

	switch c.Table {
	case "routes":
		e.changeRoute(c)
	case "services":
		e.changeService(c)
	case "upstreams":
		e.changeUpstream(c)
	case "targets":
		e.changeTarget(c)
	case "certificates":
		e.changeCertificate(k.id, c)
	case "snis":
		e.changeSNI(c)
	case "ca_certificates":
		e.authorities = true
	case "plugins":
		e.changePlugin(c)
	}
}

func (e *edit) changeCertificate(id uuid.UUID, c store.Change) {
	if c.After == nil {
		e.certs.RemoveCertificate(id)
	} else if cert, ok := view[entity.Certificate](e, "certificates", c.After); ok {
		if err := e.certs.SetCertificate(cert); err != nil {
			e.problem("certificates", id, err)
		}
	}
	for r := range e.children("services", "client_certificate", id) {
		e.dirtyServices[r.ID] = true
	}
	for r := range e.children("upstreams", "client_certificate", id) {
		e.touchUpstream(r)
	}
}

func (e *edit) changeSNI(c store.Change) {
	if c.Before != nil {
		if sni, ok := view[entity.SNI](e, "snis", c.Before); ok {
			e.certs.RemoveSNI(sni)
		}
	}
	if c.After != nil {
		if sni, ok := view[entity.SNI](e, "snis", c.After); ok {
			e.names = append(e.names, sni) // rows may have exchanged their names
		}
	}
}

// finish compiles what was touched, in the order of dependence.
func (e *edit) finish() (*Snapshot, []Problem) {
	for _, sni := range e.names {
		e.certs.SetSNI(sni)
	}
	certs := e.certs.Set()
	if e.authorities {
		for _, id := range e.base.trusting.All() {
			e.dirtyServices[id] = true
		}
	}
	for id, before := range e.dirtyUpstreams {
		e.compileUpstream(id, before, certs)
	}
	for id := range e.dirtyServices {
		e.compileService(id, certs)
	}
	for id, on := range e.toggled {
		e.toggleRoutes(id, on)
	}
	e.regroupRoutes()
	next := &Snapshot{
		routes:    e.routes.Index(),
		streams:   e.streams.Index(),
		services:  e.services.Map(),
		upstreams: e.upstreams.Map(),
		trusting:  e.trusting.Map(),
		certs:     certs,
		problems:  e.problems,
		pools:     e.base.pools,
		plans:     e.plans,
	}
	e.finishPlugins(next)
	var refused []Problem
	for k, p := range e.problems {
		if e.changed[k] && !p.tolerated {
			refused = append(refused, p)
		}
	}
	return next, refused
}

// problem notes that a row does not compile.
func (e *edit) problem(table string, id uuid.UUID, err error) {
	e.note(Problem{Table: table, ID: id.String(), Reason: err.Error()}, id)
}

// tolerate notes that a row does not compile because of another row, which may
// still come: Kong accepts such a write, so it is not refused.
func (e *edit) tolerate(table string, id uuid.UUID, err error) {
	e.note(Problem{Table: table, ID: id.String(), Reason: err.Error(), tolerated: true}, id)
}

func (e *edit) note(p Problem, id uuid.UUID) {
	if e.problems == nil {
		e.problems = map[rowKey]Problem{}
	}
	e.problems[rowKey{p.Table, id}] = p
}

// children yields the rows of table whose foreign field refers to id.
func (e *edit) children(table, field string, id uuid.UUID) func(func(*store.Row) bool) {
	return func(yield func(*store.Row) bool) {
		e.image.AscendChildren(table, field, id, uuid.Nil, yield)
	}
}

// view decodes a row; one that does not decode becomes a problem.
func view[T any](e *edit, table string, r *store.Row) (*T, bool) {
	v, err := entity.Decode[T](r.Data)
	if err != nil {
		e.problem(table, r.ID, err)
		return nil, false
	}
	return v, true
}
