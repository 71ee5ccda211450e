package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// A Loader makes instances of plugins for one configuration of Caddy. Only the
// node's writer uses it, one at a time.
type Loader struct {
	// Context is that of the app whose plugins these are.
	Context caddy.Context

	// Enabled reports whether a plugin may be used here; nil: all may.
	Enabled func(name string) bool

	// World names what the plugins' shared values belong to, such as the
	// identity of the store: they outlive a configuration in it.
	World string

	Node  uuid.UUID
	Pools *balancer.Pools

	// Counters are those of the store; nil: it has none.
	Counters store.Counters

	// Adapt makes a plugin of a module that is none by itself, such as a
	// handler of Caddy's, and Example answers what it would make, without
	// anything in it. Nil: there are no such plugins.
	Adapt   func(ctx caddy.Context, name string, config json.RawMessage) (any, error)
	Example func(name string) any

	kinds map[string]*kind
}

// A kind is what is known of a plugin without an instance.
type kind struct {
	takes    phases
	priority int
	forgets  bool
	adapt    bool
	err      error
}

func (l *Loader) kind(name string) *kind {
	if k := l.kinds[name]; k != nil {
		return k
	}
	if l.kinds == nil {
		l.kinds = map[string]*kind{}
	}
	k := new(kind)
	l.kinds[name] = k
	info, err := caddy.GetModule(ModuleID(name))
	if err != nil {
		k.err = errors.New("there is no such plugin in this build")
		return k
	}
	module := any(info.New())
	if d, ok := module.(Described); ok {
		described := d.Describe()
		k.priority, k.forgets, k.takes = described.Priority, described.Forgets, phasesOf(module)
	} else if l.Adapt != nil {
		k.takes, k.adapt = phasesOf(l.Example(name)), true
	} else {
		k.err = errors.New("it is no plugin")
	}
	return k
}

// Load answers the instance of a row. What was loaded for the row before is used
// again if it can be; before may be nil. An instance that could not be loaded
// says so in Err.
func (l *Loader) Load(p *entity.Plugin, before *Instance) (in *Instance, loaded bool) {
	if before != nil && before.err == nil && sameModule(before.Plugin, p) {
		return newInstance(p, before.module), false
	}
	k := l.kind(p.Name)
	m := &module{takes: k.takes, priority: k.priority, forgets: k.forgets, err: k.err}
	switch {
	case m.err != nil:
	case l.Enabled != nil && !l.Enabled(p.Name):
		m.err = fmt.Errorf("plugin '%s' not enabled; add it to the 'plugins' configuration property", p.Name)
	default:
		l.load(m, k, p)
	}
	return newInstance(p, m), m.close != nil
}

func (l *Loader) load(m *module, k *kind, p *entity.Plugin) {
	env := &Env{
		ID: p.ID, Name: p.Name, Route: refID(p.Route), Service: refID(p.Service), Consumer: refID(p.Consumer),
		Node: l.Node, Pools: l.Pools, Counters: l.Counters, world: l.World,
	}
	child, cancel := caddy.NewContext(l.Context)
	ctx := child.WithValue(envKey{}, env)
	m.close = sync.OnceFunc(func() {
		cancel()
		env.release()
	})
	load := l.Adapt
	if !k.adapt {
		load = func(ctx caddy.Context, name string, config json.RawMessage) (any, error) {
			return ctx.LoadModuleByID(ModuleID(name), config)
		}
	}
	value, err := load(ctx, p.Name, p.Config)
	if err != nil {
		m.close()
		m.close, m.err = nil, err
		return
	}
	m.value, m.phases = value, phasesOf(value)
}

// Env is what an instance may know of where it is. In Provision, [EnvOf] answers
// it.
type Env struct {
	ID   uuid.UUID // of the row in the table plugins
	Name string

	// The scope of the row; the nil UUID where it has none.
	Route, Service, Consumer uuid.UUID

	// Node identifies this process.
	Node uuid.UUID

	// Pools are the upstreams as they live; nil outside of a node.
	Pools *balancer.Pools

	// Counters are those of the store, which all nodes on it share; nil: it
	// has none.
	Counters store.Counters

	world  string
	shares []shareKey
}

type envKey struct{}

// EnvOf answers the environment of the instance that is provisioned with ctx. One
// that is not made for a row gets an environment of its own.
func EnvOf(ctx context.Context) *Env {
	if env, ok := ctx.Value(envKey{}).(*Env); ok {
		return env
	}
	return &Env{world: uuid.NewString()}
}

type shareKey struct {
	world  string
	plugin uuid.UUID
	name   string
}

var shares = caddy.NewUsagePool()

// Share answers the value of that name that belongs to the row and not to the
// instance: it outlives changes of the row's config, of all other rows, and
// reloads, and goes with the row. The first caller makes it. If it has a
// method Destruct() error, this is called at its end, and may stop goroutines
// and send what is queued. Call it in Provision; it gives the value back by
// itself.
func Share[T any](env *Env, name string, make func() (T, error)) (T, error) {
	key := shareKey{env.world, env.ID, env.Name + "/" + name}
	v, _, err := shares.LoadOrNew(key, func() (caddy.Destructor, error) {
		v, err := make()
		return &shared{v}, err
	})
	var none T
	if err != nil {
		return none, err
	}
	env.shares = append(env.shares, key)
	t, ok := v.(*shared).value.(T)
	if !ok {
		return none, fmt.Errorf("the shared value %q is a %T", name, v.(*shared).value)
	}
	return t, nil
}

type shared struct{ value any }

// Destruct ends the value.
func (s *shared) Destruct() error {
	if d, ok := s.value.(caddy.Destructor); ok {
		return d.Destruct()
	}
	return nil
}

func (e *Env) release() {
	for _, key := range e.shares {
		if _, err := shares.Delete(key); err != nil {
			caddy.Log().Error("ending what a plugin shares", zap.String("plugin", e.Name), zap.Error(err))
		}
	}
	e.shares = nil
}

// Release gives back what an instance holds that is part of no snapshot, as in
// tests.
func Release(in *Instance) {
	if in.close != nil {
		in.close()
	}
}
