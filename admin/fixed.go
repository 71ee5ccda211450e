package admin

import "net/http"

// addFixed adds the endpoints of Kong whose answer is always the same here,
// since what they are about does not exist: a cache in front of the database,
// a cluster of control and data planes, WebAssembly filters, a DNS client.
func addFixed(t *endpoints) {
	none := func(*call) (*answer, error) { return nil, errNotFound }
	done := func(*call) (*answer, error) { return reply(http.StatusNoContent, nil) }
	t.add(endpoint{pattern: "/cache", verbs: verbs{"DELETE": done}})
	t.add(endpoint{pattern: "/cache/:key", verbs: verbs{"GET": none, "DELETE": done}})

	cluster := unavailable("this endpoint is only available when Kong is configured to run as Control Plane for the cluster")
	t.add(endpoint{pattern: "/clustering/data-planes", verbs: verbs{"GET": cluster}})
	t.add(endpoint{pattern: "/clustering/status", verbs: verbs{"GET": cluster}})

	wasm := unavailable("this endpoint is only available when wasm is enabled")
	list := verbs{"GET": wasm, "POST": wasm}
	one := verbs{"GET": wasm, "PUT": wasm, "PATCH": wasm, "DELETE": wasm}
	for _, base := range []string{"/filter-chains", "/routes/:routes/filter-chains", "/services/:services/filter-chains"} {
		t.add(endpoint{pattern: base, verbs: list})
		t.add(endpoint{pattern: base + "/:filter_chains", verbs: one})
	}
	t.add(endpoint{pattern: "/filter-chains/:filter_chains/route", verbs: one})
	t.add(endpoint{pattern: "/filter-chains/:filter_chains/service", verbs: one})
	for _, which := range []string{"all", "enabled", "disabled"} {
		t.add(endpoint{pattern: "/routes/:routes/filters/" + which, verbs: verbs{"GET": wasm}})
	}
}

// unavailable answers that something is not there.
func unavailable(message string) handler {
	return func(*call) (*answer, error) { return nil, badRequest(message) }
}

// getDNS refuses the statistics of Kong's newer DNS client, in the words of
// the older one.
func getDNS(*call) (*answer, error) {
	return nil, &refusal{http.StatusNotImplemented, "not implemented with the legacy DNS client"}
}

// getRobots keeps search engines out of an API that someone has published.
func getRobots(*call) (*answer, error) {
	return &answer{
		status: http.StatusOK,
		body:   []byte("User-agent: *\nDisallow: /"),
		header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}},
	}, nil
}
