package admin

import (
	"net/http"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/declarative"
)

// drains keeps, by node, what has to survive a reload: that someone has said
// the node is about to go.
var drains = caddy.NewUsagePool()

// readiness answers whether the node should get traffic.
type readiness struct {
	*drain
}

// drain tells that load balancers should send no more traffic.
type drain struct {
	node  uuid.UUID
	began atomic.Bool
}

// openReadiness answers the readiness of a node. The caller closes it.
func openReadiness(node uuid.UUID) *readiness {
	d, _ := drains.LoadOrStore(node, &drain{node: node})
	return &readiness{d.(*drain)}
}

func (r *readiness) close() { _, _ = drains.Delete(r.node) }

func (r *readiness) get(c *call) (*answer, error) {
	unready := func(why string) (*answer, error) {
		return nil, &refusal{http.StatusServiceUnavailable, why}
	}
	if r.began.Load() {
		return unready("draining")
	}
	if c.world.ReadOnly() && c.world.View().Hash == declarative.EmptyHash {
		return unready("no configuration available (empty configuration present)")
	}
	return reply(http.StatusOK, message("ready"))
}

// post begins to drain, which ends with the process.
func (r *readiness) post(c *call) (*answer, error) {
	if c.body["status"] != "draining" {
		return nil, &refusal{status: http.StatusBadRequest}
	}
	r.began.Store(true)
	return reply(http.StatusNoContent, nil)
}
