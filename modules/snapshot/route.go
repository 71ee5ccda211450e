package snapshot

import (
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// Route is a route that requests, connections or UDP sessions may take.
//
// What requests ask of it stands here once more, side by side: among very many
// routes each piece of memory that a request has to look at is one to wait for.
type Route struct {
	*entity.Route

	GRPC      bool // it is for gRPC, else for HTTP
	Encrypted bool // it is for encrypted connections only

	StripPath, PreserveHost             bool
	RequestBuffering, ResponseBuffering bool

	served  bool // it has a service
	service uuid.UUID
	plugins *plugin.Bindings
	cell    plugin.Cell
}

func newRoute(r *entity.Route, plugins *plugin.Bindings) Route {
	has := func(protocol string) bool { return slices.Contains(r.Protocols, protocol) }
	var service uuid.UUID
	if r.Service != nil {
		service = r.Service.ID
	}
	return Route{
		Route:            r,
		GRPC:             has("grpc") || has("grpcs"),
		Encrypted:        has("https") && !has("http") || has("grpcs") && !has("grpc"),
		StripPath:        r.StripPath,
		PreserveHost:     r.PreserveHost,
		RequestBuffering: r.RequestBuffering, ResponseBuffering: r.ResponseBuffering,
		served:  r.Service != nil,
		service: service,
		plugins: plugins,
	}
}

func (e *edit) changeRoute(c store.Change) {
	if c.Before != nil {
		if r, ok := view[entity.Route](e, "routes", c.Before); ok {
			e.removeRoute(r)
		}
	}
	if c.After != nil {
		e.addRoute(c.After)
	}
}

// addRoute puts a route into the index of its kind, unless its service is
// disabled.
func (e *edit) addRoute(row *store.Row) {
	r, ok := view[entity.Route](e, "routes", row)
	if !ok || !e.enabled(r.Service) {
		return
	}
	r.Protocols, r.Methods = shareWords(r.Protocols), shareWords(r.Methods)
	r.PathHandling = ""
	r.Tags = nil
	var err error
	if bound := e.bindings("route", row.ID); forHTTP(r.Protocols) {
		err = e.routes.Add(r, newRoute(r, bound))
	} else {
		err = e.streams.Add(r, new(newRoute(r, bound)))
	}
	if err != nil {
		e.problem("routes", row.ID, err)
	}
}

// removeRoute takes a route out of the index of its kind.
func (e *edit) removeRoute(r *entity.Route) {
	if forHTTP(r.Protocols) {
		e.routes.Remove(r)
	} else {
		e.streams.Remove(r)
	}
}

// enabled reports whether routes to the service are to be served.
func (e *edit) enabled(ref *entity.Ref) bool {
	if ref == nil {
		return true
	}
	row, ok := e.image.Get("services", ref.ID)
	if !ok {
		return true
	}
	s, ok := view[entity.Service](e, "services", row)
	return !ok || s.Enabled
}

func forHTTP(protocols []string) bool {
	return slices.ContainsFunc(protocols, func(p string) bool {
		return p == "http" || p == "https" || p == "grpc" || p == "grpcs"
	})
}

// shareWords answers a slice with the same words that is shared by all callers
// who have them: routes are many, the words of protocols and methods are few.
// Lists with words of somebody's own are left alone.
func shareWords(words []string) []string {
	if len(words) == 0 {
		return nil
	}
	for _, w := range words {
		if !slices.Contains(commonWords, w) {
			return words
		}
	}
	shared, _ := wordLists.LoadOrStore(strings.Join(words, " "), words)
	return shared.([]string)
}

var (
	commonWords = []string{"http", "https", "grpc", "grpcs", "tcp", "tls", "tls_passthrough", "udp", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
	wordLists   sync.Map // joined words to []string
)
