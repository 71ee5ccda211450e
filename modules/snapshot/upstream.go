package snapshot

import (
	"crypto/tls"
	"encoding/hex"
	"fmt"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/certs"
	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// Upstream is an upstream with the pool of its addresses.
type Upstream struct {
	*entity.Upstream
	Plan *balancer.Plan // what the pool follows since the snapshot was published
	Pool *balancer.Pool

	// ClientCertificate is shown to targets if the service has none; nil:
	// none. TLSKey identifies it.
	ClientCertificate *tls.Certificate
	TLSKey            string

	// Err says why the upstream cannot be used; requests for it are answered
	// with an error.
	Err error
}

func (e *edit) changeUpstream(c store.Change) {
	before := ""
	if c.Before != nil {
		if u, ok := view[entity.Upstream](e, "upstreams", c.Before); ok {
			before = u.Name
		}
	}
	e.dirtyUpstreams[c.ID()] = before
}

// touchUpstream marks an upstream for compiling that did not change itself.
func (e *edit) touchUpstream(r *store.Row) {
	if _, ok := e.dirtyUpstreams[r.ID]; !ok {
		e.dirtyUpstreams[r.ID] = ""
	}
}

func (e *edit) changeTarget(c store.Change) {
	for _, row := range []*store.Row{c.Before, c.After} {
		if row == nil {
			continue
		}
		t, ok := view[entity.Target](e, "targets", row)
		if !ok {
			continue
		}
		if u, ok := e.image.Get("upstreams", t.Upstream.ID); ok {
			e.touchUpstream(u)
		}
	}
}

// compileUpstream makes the plan of an upstream, which may be gone or have
// another name than before.
func (e *edit) compileUpstream(id uuid.UUID, before string, set *certs.Set) {
	delete(e.problems, rowKey{"upstreams", id})
	e.plans[id] = nil
	row, ok := e.image.Get("upstreams", id)
	var v *entity.Upstream
	if ok {
		v, ok = view[entity.Upstream](e, "upstreams", row)
	}
	if before != "" && (v == nil || v.Name != before) {
		// another upstream may have taken the name in the same batch
		if u, ok := e.upstreams.Get(before); ok && u.ID == id {
			e.upstreams.Delete(before)
		}
	}
	if !ok {
		return
	}

	var targets []*entity.Target
	for r := range e.children("targets", "upstream", id) {
		if t, ok := view[entity.Target](e, "targets", r); ok {
			targets = append(targets, t)
		}
	}
	u := &Upstream{Upstream: v}
	var err error
	if u.Plan, err = balancer.NewPlan(v, targets); err != nil {
		e.problem("upstreams", id, err)
	}
	u.Pool = e.base.pools.Of(id)
	e.plans[id] = u.Plan
	if ref := v.ClientCertificate; ref != nil {
		if pair, ok := set.ByID(ref.ID); ok {
			u.ClientCertificate = pair.Certificate()
			u.Plan.Client = u.ClientCertificate
			digest := pair.Digest()
			u.TLSKey = hex.EncodeToString(digest[:16])
		} else {
			u.Err = fmt.Errorf("client_certificate %s cannot be used", ref.ID)
			e.problem("upstreams", id, u.Err)
		}
	}
	e.upstreams.Put(v.Name, u)
}
