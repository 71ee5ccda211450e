package admin

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// A handler answers one verb of an endpoint.
type handler func(*call) (*answer, error)

// verbs are the handlers of an endpoint by HTTP method.
type verbs map[string]handler

// An endpoint is one path with what it can do.
type endpoint struct {
	// pattern is the path; segments that start with a colon are parameters
	// ("/services/:services/routes").
	pattern string

	verbs verbs
	raw   bool     // the handlers read the body themselves
	types []string // beginnings of further content types that bodies may have
	allow string   // the verbs, for the Allow header
}

// endpoints is the table of all endpoints. Routing, OPTIONS, 405 and the
// listing at /endpoints all read it.
type endpoints struct {
	root branch
	list []*endpoint
}

// branch is one segment's place in the tree of patterns. A literal segment
// wins over a parameter.
type branch struct {
	literal map[string]*branch
	param   *branch
	here    *endpoint
}

// add puts an endpoint in the table. A pattern that is there already gets the
// further verbs, which replace those of the same name.
func (t *endpoints) add(e endpoint) {
	at := &t.root
	for segment := range strings.SplitSeq(strings.TrimPrefix(e.pattern, "/"), "/") {
		switch {
		case e.pattern == "/":
		case strings.HasPrefix(segment, ":"):
			if at.param == nil {
				at.param = new(branch)
			}
			at = at.param
		default:
			next := at.literal[segment]
			if next == nil {
				if at.literal == nil {
					at.literal = make(map[string]*branch)
				}
				next = new(branch)
				at.literal[segment] = next
			}
			at = next
		}
	}
	if at.here == nil {
		at.here = &endpoint{pattern: e.pattern, verbs: verbs{}}
		t.list = append(t.list, at.here)
	}
	if at.here.pattern != e.pattern {
		panic(fmt.Sprintf("admin: endpoints %s and %s are the same path", at.here.pattern, e.pattern))
	}
	maps.Copy(at.here.verbs, e.verbs)
	at.here.raw = at.here.raw || e.raw
	at.here.types = append(at.here.types, e.types...)
	at.here.allow = allowed(at.here.verbs)
}

// find answers the endpoint of an escaped URL path and the path's parameters,
// decoded. One slash at the end makes no difference.
func (t *endpoints) find(path string) (*endpoint, []string) {
	if !strings.HasPrefix(path, "/") {
		return nil, nil
	}
	path = strings.TrimSuffix(path[1:], "/")
	if path == "" {
		return t.root.here, nil
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if u, err := url.PathUnescape(s); err == nil {
			segments[i] = u
		}
		if segments[i] == "" {
			return nil, nil
		}
	}
	return t.root.find(segments, make([]string, 0, 3))
}

func (b *branch) find(segments, params []string) (*endpoint, []string) {
	if len(segments) == 0 {
		return b.here, params
	}
	if next := b.literal[segments[0]]; next != nil {
		if e, p := next.find(segments[1:], params); e != nil {
			return e, p
		}
	}
	if b.param != nil {
		return b.param.find(segments[1:], append(params, segments[0]))
	}
	return nil, nil
}

// paths lists the patterns in the form of Kong's /endpoints, sorted segment
// by segment.
func (t *endpoints) paths() []string {
	list := make([]string, 0, len(t.list))
	for _, e := range t.list {
		segments := strings.Split(e.pattern, "/")
		for i, s := range segments {
			if strings.HasPrefix(s, ":") {
				segments[i] = "{" + s[1:] + "}"
			}
		}
		list = append(list, strings.Join(segments, "/"))
	}
	slices.SortFunc(list, func(a, b string) int {
		return strings.Compare(strings.ReplaceAll(a, "/", "\x00"), strings.ReplaceAll(b, "/", "\x00"))
	})
	return list
}

// handler answers what serves the method; HEAD is served wherever GET is.
func (e *endpoint) handler(method string) handler {
	if method == "HEAD" {
		method = "GET"
	}
	return e.verbs[method]
}

// allowed writes the value of the Allow header.
func allowed(v verbs) string {
	list := slices.Collect(maps.Keys(v))
	if v["GET"] != nil {
		list = append(list, "HEAD")
	}
	list = append(list, "OPTIONS")
	slices.Sort(list)
	return strings.Join(list, ", ")
}
