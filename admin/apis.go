package admin

import (
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
)

// options are what an API is made with besides its world.
type options struct {
	logger        *zap.Logger
	headers       gateway.Header // those that answers may have
	configuration map[string]any // what `/` shows of the settings
	metrics       handler        // nil: there is no /metrics

	enabled func(plugin string) bool // which plugins may be used; nil: all
}

// newAPI answers an API with what both have.
func newAPI(w World, o options) *API {
	a := &API{
		world:         w,
		logger:        o.logger,
		configuration: o.configuration,
		enabled:       o.enabled,
		server:        o.headers&gateway.HeaderServer != 0,
		latency:       o.headers&gateway.HeaderAdminLatency != 0,
	}
	t := &a.endpoints
	t.add(endpoint{pattern: "/status", verbs: verbs{"GET": getStatus}})
	t.add(endpoint{pattern: "/status/dns", verbs: verbs{"GET": getDNS}})
	t.add(endpoint{pattern: "/robots.txt", verbs: verbs{"GET": getRobots}})
	if o.metrics != nil {
		t.add(endpoint{pattern: "/metrics", verbs: verbs{"GET": o.metrics}})
	}
	return a
}

// newAdminAPI answers the Admin API: all that Kong's has for the tables of the
// catalog, and what it has not.
func newAdminAPI(w World, o options) *API {
	a := newAPI(w, o)
	t := &a.endpoints
	t.generate(w.Catalog())
	t.add(endpoint{pattern: "/", verbs: verbs{"GET": getInfo}})
	t.add(endpoint{pattern: "/endpoints", verbs: verbs{"GET": getEndpoints}})
	t.add(endpoint{pattern: "/timers", verbs: verbs{"GET": getTimers}})
	t.add(endpoint{pattern: "/tags", verbs: verbs{"GET": allTags}})
	t.add(endpoint{pattern: "/tags/:tags", verbs: verbs{"GET": oneTag}})
	addSchemas(t)
	addConfig(t)
	addTransfer(t)
	addExplain(t)
	addFixed(t)
	return a
}

// newStatusAPI answers the Status API: how the node is, for those who watch
// it. Without a database it also shows the targets of upstreams.
func newStatusAPI(w World, o options, ready *readiness) *API {
	a := newAPI(w, o)
	t := &a.endpoints
	t.add(endpoint{pattern: "/status/ready", verbs: verbs{"GET": ready.get, "POST": ready.post}})
	if w.ReadOnly() {
		all := targets{w.Catalog().Table("targets"), w.Catalog().Table("upstreams")}
		all.addReading(t)
	}
	return a
}
