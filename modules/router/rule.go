package router

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// A rule is the part of a route that has one priority. A route with paths of
// several lengths, or with prefixes and regular expressions, is several rules.
type rule[V any] struct {
	priority   Priority
	route      *entity.Route
	conditions *conditions // nil: none
	length     uint32      // of its paths, 0 if they are regular expressions
	methods    methods
	id         uuid.UUID // of the route, or made from it; for ties
	value      V
}

// outranks reports whether a route is tried before another.
func (r *rule[V]) outranks(other *rule[V]) bool { return compareRules(r, other) < 0 }

// compareRules orders rules as they are tried.
func compareRules[V any](a, b *rule[V]) int {
	switch {
	case a.priority > b.priority:
		return -1
	case a.priority < b.priority:
		return 1
	}
	return bytes.Compare(b.id[:], a.id[:])
}

// holds reports whether the rule's own conditions hold for a request and its
// method; host and prefix are those by which the rule was found.
func (r *rule[V]) holds(req *Request, method methods) bool {
	return r.takes(req, method) && (r.conditions == nil || r.conditions.hold(req))
}

func (r *rule[V]) takes(req *Request, method methods) bool {
	switch {
	case r.methods == 0:
		return true
	case r.methods&method == 0:
		return false
	}
	return method != otherMethod || slices.Contains(r.route.Methods, req.Method)
}

// found answers what the rule found in a path that it matches.
func (r *rule[V]) found(path string) Path {
	if r.conditions == nil || r.conditions.patterns == nil {
		return Path{Prefix: path[:r.length]}
	}
	return r.conditions.pattern(path).find(path)
}

// A placed rule is a rule with the keys of the path index that lead to it.
type placed[V any] struct {
	rule rule[V]
	keys []string
	kept *rule[V] // as the index has it; nil: not yet
}

// compile makes the rules of a route. The error names the field that it is
// about.
func compile[V any](r *entity.Route, v V) ([]placed[V], error) {
	shared, err := newConditions(r)
	if err != nil {
		return nil, err
	}
	var list []placed[V]
	for _, s := range split(r) {
		p := placed[V]{keys: s.paths, rule: rule[V]{
			priority:   priority(r, s.regex, s.length),
			id:         s.id,
			route:      r,
			value:      v,
			conditions: shared,
			length:     uint32(s.length),
			methods:    newMethods(r.Methods),
		}}
		if s.regex {
			c := &conditions{}
			if shared != nil {
				*c = *shared
			}
			for i, path := range s.paths {
				pattern, err := newPattern(path[1:])
				if err != nil {
					return nil, fmt.Errorf("paths[%d]: %w", s.places[i], regexError(err))
				}
				c.patterns = append(c.patterns, pattern)
			}
			p.rule.conditions = c
			p.keys = literals(c.patterns)
		}
		list = append(list, p)
	}
	return list, nil
}

// literals answers the texts that the patterns' paths start with, each once
// and none that another one covers.
func literals(patterns []*pattern) []string {
	var all []string
	for _, p := range patterns {
		all = append(all, p.literal)
	}
	slices.Sort(all)
	var keys []string
	for _, l := range all {
		if n := len(keys); n == 0 || !strings.HasPrefix(l, keys[n-1]) {
			keys = append(keys, l)
		}
	}
	return keys
}

// A section is a group of a route's paths that share a priority.
type section struct {
	id     uuid.UUID
	regex  bool
	length int
	paths  []string
	places []int // of the paths in the route
}

// sectionSpace is the namespace of the ids of sections, as in Kong's
// kong/router/transform.lua.
var sectionSpace = uuid.MustParse("7f145bf9-0dce-4f91-98eb-debbce4b9f6b")

// split groups the paths of a route: all regular expressions together, and the
// prefixes by their length. A route that comes to one group keeps its id;
// otherwise each gets one made from the route's id and its number, in the
// order in which the groups appear.
func split(r *entity.Route) []section {
	if len(r.Paths) == 0 {
		return []section{{id: r.ID, paths: []string{""}}}
	}
	var list []section
	for i, path := range r.Paths {
		regex, length := strings.HasPrefix(path, "~"), len(path)
		if regex {
			length = 0
		}
		at := slices.IndexFunc(list, func(s section) bool { return s.regex == regex && s.length == length })
		if at < 0 {
			at = len(list)
			list = append(list, section{id: r.ID, regex: regex, length: length})
		}
		list[at].paths = append(list[at].paths, path)
		list[at].places = append(list[at].places, i)
	}
	if len(list) > 1 {
		for i := range list {
			list[i].id = uuid.NewSHA1(sectionSpace, fmt.Appendf(nil, "%s#%d", r.ID, i+1))
		}
	}
	return list
}
