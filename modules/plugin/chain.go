package plugin

import (
	"cmp"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/trie"
)

// Bindings are the enabled instances of one scope: those of a route, of a
// service, or those that are bound to neither. They never change; nil has none.
type Bindings struct {
	list []*Instance
}

// Bind answers the bindings of the instances; nil if there are none.
func Bind(list []*Instance) *Bindings {
	if len(list) == 0 {
		return nil
	}
	return &Bindings{list: list}
}

func (b *Bindings) all() []*Instance {
	if b == nil {
		return nil
	}
	return b.list
}

// Globals are the instances that are bound to no route and no service: those for
// all requests, and those for all requests of one consumer. They never change.
type Globals struct {
	version   *version // the same as long as chains need not be compiled anew
	consumers map[string]trie.Map[*Instance]
}

type version struct {
	everyone  []*Instance
	personal  map[string]*Instance // names that some consumer has, with an example
	routeless *Chain               // of requests that no route matches
	unrouted  *Chain               // of sessions that no route matches
}

// NewGlobals answers globals without instances.
func NewGlobals() *Globals { return &Globals{version: new(version)} }

// With answers globals in which the instances before have given way to those
// after; one that is in both lists only by its id has changed.
func (g *Globals) With(before, after []*Instance) *Globals {
	if len(before) == 0 && len(after) == 0 {
		return g
	}
	next := &Globals{version: g.version, consumers: maps.Clone(g.consumers)}
	if next.consumers == nil {
		next.consumers = map[string]trie.Map[*Instance]{}
	}
	everyone := slices.Clone(g.version.everyone)
	owner := trie.NewOwner()
	stale := false
	for _, in := range before {
		if in.Consumer == nil {
			everyone = slices.DeleteFunc(everyone, func(o *Instance) bool { return o.ID == in.ID })
			stale = true
			continue
		}
		m := next.consumers[in.Name]
		m.Delete(owner, string(in.Consumer.ID[:]))
		next.consumers[in.Name] = m
		if m.Len() == 0 {
			delete(next.consumers, in.Name)
		}
	}
	for _, in := range after {
		if in.Consumer == nil {
			everyone = append(everyone, in)
			stale = true
			continue
		}
		m := next.consumers[in.Name]
		m.Put(owner, string(in.Consumer.ID[:]), in)
		next.consumers[in.Name] = m
	}
	for name := range next.consumers {
		stale = stale || g.version.personal[name] == nil
	}
	if !stale && len(next.consumers) == len(g.version.personal) {
		return next
	}
	v := &version{everyone: everyone, personal: map[string]*Instance{}}
	for name, m := range next.consumers {
		for in := range m.Values() {
			v.personal[name] = in
			break
		}
	}
	next.version = v
	v.routeless = compile(next, nil, nil, uuid.Nil, false)
	v.unrouted = compile(next, nil, nil, uuid.Nil, true)
	return next
}

// All yields the instances, in no order.
func (g *Globals) All(yield func(*Instance) bool) {
	for _, in := range g.version.everyone {
		if !yield(in) {
			return
		}
	}
	for _, m := range g.consumers {
		for in := range m.Values() {
			if !yield(in) {
				return
			}
		}
	}
}

// Routeless is the chain of requests that no route matches; nil: none.
func (g *Globals) Routeless() *Chain {
	if g == nil {
		return nil
	}
	return g.version.routeless
}

// Unrouted is the chain of sessions that no route matches; nil: none.
func (g *Globals) Unrouted() *Chain {
	if g == nil {
		return nil
	}
	return g.version.unrouted
}

// A Chain is all that may act on the requests or sessions of one route, in order. It never
// changes, and nil does nothing.
type Chain struct {
	steps    []step
	order    []int // of steps in the phase access, if it is another one
	wraps    bool  // something may look at the response: it is written through a Writer
	rewrites bool
	logs     bool
	stands   bool // something may stand between clients and services
	keeps    bool // something of a request may be in use when it is over
	texts    bool // so may a text of it
}

// A step is one plugin of a chain, in the configurations that a request may
// meet.
type step struct {
	name     string
	priority int
	fixed    *Instance               // for those that no other is for; nil: none
	personal map[uuid.UUID]*Instance // by consumer, levels 1 to 3
	global   bool                    // consumers may have one at level 5
}

// A Cell keeps the chain of a route. It belongs to one version of the route,
// and any number of goroutines may use it.
type Cell struct {
	memo atomic.Pointer[memo]
}

type memo struct {
	version *version
	service *Bindings
	chain   *Chain
}

// Chain answers the chain of the route, and compiles it at the first call after
// something changed that it depends on. It costs a few comparisons otherwise.
// The chain is nil if no plugin can act.
func (c *Cell) Chain(g *Globals, route, service *Bindings, serviceID uuid.UUID, stream bool) *Chain {
	if g == nil {
		return nil
	}
	if m := c.memo.Load(); m != nil && m.version == g.version && m.service == service {
		return m.chain
	}
	m := &memo{g.version, service, compile(g, route, service, serviceID, stream)}
	c.memo.Store(m)
	return m.chain
}

// compile makes the chain of a route with the bindings given.
func compile(g *Globals, route, service *Bindings, serviceID uuid.UUID, stream bool) *Chain {
	steps := map[string]*step{}
	add := func(in *Instance) {
		if stream && !in.streams() || !stream && !in.http {
			return
		}
		s := steps[in.Name]
		if s == nil {
			s = &step{name: in.Name, priority: in.priority}
			steps[in.Name] = s
		}
		if in.Consumer == nil {
			if s.fixed == nil || in.level() < s.fixed.level() {
				s.fixed = in
			}
			return
		}
		if s.personal == nil {
			s.personal = map[uuid.UUID]*Instance{}
		}
		if old := s.personal[in.Consumer.ID]; old == nil || in.level() < old.level() {
			s.personal[in.Consumer.ID] = in
		}
	}
	for _, in := range route.all() {
		if in.Service == nil || in.Service.ID == serviceID {
			add(in)
		}
	}
	for _, in := range service.all() {
		add(in)
	}
	for _, in := range g.version.everyone {
		add(in)
	}
	for name, example := range g.version.personal {
		s := steps[name]
		if s == nil {
			s = &step{name: name, priority: example.priority}
			steps[name] = s
		}
		s.global = true
	}
	if len(steps) == 0 {
		return nil
	}
	c := &Chain{steps: make([]step, 0, len(steps))}
	for _, s := range steps {
		c.steps = append(c.steps, *s)
	}
	slices.SortFunc(c.steps, func(a, b step) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(b.name, a.name))
	})
	for i := range c.steps {
		c.steps[i].each(g, func(in *Instance) {
			c.wraps = c.wraps || in.takes.header != nil || in.takes.body != nil || in.takes.middleware != nil || in.takes.log != nil
			c.stands = c.stands || in.takes.around != nil
			c.rewrites = c.rewrites || in.takes.rewrite != nil
			c.logs = c.logs || in.takes.log != nil
			c.keeps = c.keeps || in.takes.middleware != nil
			c.texts = c.texts || !in.forgets
		})
	}
	c.order = c.ordering()
	return c
}

// each yields an instance of each kind that the step may meet.
func (s *step) each(g *Globals, yield func(*Instance)) {
	if s.fixed != nil {
		yield(s.fixed)
	}
	for _, in := range s.personal {
		yield(in)
	}
	if s.global {
		yield(g.version.personal[s.name])
	}
}

// ordering sorts the steps so that their `ordering` is honoured and all else
// stays as it is. It answers nil if no step has one, or if they contradict each
// other; then priorities decide.
func (c *Chain) ordering() []int {
	at := map[string]int{}
	for i, s := range c.steps {
		at[s.name] = i
	}
	after := make([][]int, len(c.steps)) // what each step waits for
	wanted := false
	for i, s := range c.steps {
		if s.fixed == nil || s.fixed.Ordering == nil {
			continue
		}
		if before := s.fixed.Ordering.Before; before != nil {
			for _, name := range before.Access {
				if j, ok := at[name]; ok && j != i {
					after[j], wanted = append(after[j], i), true
				}
			}
		}
		if behind := s.fixed.Ordering.After; behind != nil {
			for _, name := range behind.Access {
				if j, ok := at[name]; ok && j != i {
					after[i], wanted = append(after[i], j), true
				}
			}
		}
	}
	if !wanted {
		return nil
	}
	order := make([]int, 0, len(c.steps))
	done := make([]bool, len(c.steps))
	for len(order) < len(c.steps) {
		next := -1
		for i := range c.steps {
			if !done[i] && !slices.ContainsFunc(after[i], func(j int) bool { return !done[j] }) {
				next = i
				break
			}
		}
		if next < 0 {
			return nil
		}
		done[next] = true
		order = append(order, next)
	}
	return order
}

// Len is the number of plugins that may act.
func (c *Chain) Len() int {
	if c == nil {
		return 0
	}
	return len(c.steps)
}

// Forgets reports whether no plugin knows anything of a request when it is over,
// so that its memory can serve the next. Middleware may have passed the request to
// anybody; what plugins keep in other phases is their own.
func (c *Chain) Forgets() bool { return c == nil || !c.keeps }

// ForgetsTexts reports whether they keep no text of it either.
func (c *Chain) ForgetsTexts() bool { return c == nil || !c.texts }

// choose answers the instance of a step for a consumer, who may be nil.
func (s *step) choose(g *Globals, consumer *uuid.UUID) *Instance {
	if consumer == nil || s.personal == nil && !s.global {
		return s.fixed
	}
	if in := s.personal[*consumer]; in != nil {
		return in
	}
	if s.global && (s.fixed == nil || s.fixed.level() > 5) {
		if in, ok := g.consumers[s.name].Get(string(consumer[:])); ok {
			return in
		}
	}
	return s.fixed
}
