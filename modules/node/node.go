// Package node is this process's copy of the world: what the store holds, and
// what the data path reads, published together.
package node

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/balancer/health"
	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/router"
	"github.com/portcullis-gateway/portcullis/modules/snapshot"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// Config is what a node is opened with.
type Config struct {
	Store   store.Module
	Catalog *entity.Catalog
	Logger  *zap.Logger

	// Resolver finds the addresses of targets that are names. Without one,
	// such targets have none.
	Resolver balancer.Resolver

	// AllowAdminUpstream lets health checks probe this process's private
	// listeners.
	AllowAdminUpstream bool

	// Plugins loads the plugins; its Node and Pools are filled in. Nil: they
	// are not loaded.
	Plugins *plugin.Loader
}

// Node is one configuration generation's view of a world. All methods are safe
// for concurrent use.
type Node struct {
	world    *world
	store    store.Module
	resolver balancer.Resolver
	health   health.Settings
	logger   *zap.Logger
	plugins  *plugin.Loader // nil: plugins are not loaded

	view   atomic.Pointer[View] // written under the world's lock; read by all
	closed atomic.Bool

	mu       sync.Mutex
	watchers map[chan struct{}]struct{} // protected by mu
}

// View is the world at one moment. It never changes, and its parts agree with
// each other.
type View struct {
	Image    *store.Image
	Snapshot *snapshot.Snapshot

	// Hash is the MD5 sum, in hexadecimal, of the declarative configuration
	// that was loaded last; 32 zeros if there was none. It has a meaning only
	// without a database.
	Hash string

	unread []Problem // rows that the store could not read
}

// Problem is a row that could not be compiled. Requests that need it are
// answered with an error; everything else goes on.
type Problem = snapshot.Problem

// Open lends the world that cfg.Store names, opening it if no other generation
// holds it, and compiles it for this generation.
func Open(cfg Config) (*Node, error) {
	start := time.Now()
	w, shared, err := openWorld(cfg)
	if err != nil {
		return nil, err
	}
	n := &Node{world: w, store: cfg.Store, resolver: cfg.Resolver, logger: cfg.Logger, plugins: cfg.Plugins,
		health: health.Settings{Logger: cfg.Logger.Named("health"), Guarded: !cfg.AllowAdminUpstream}}
	if n.plugins != nil {
		n.plugins.World, n.plugins.Node, n.plugins.Pools = cfg.Store.Identity(), w.id, w.pools
		n.plugins.Counters, _ = w.driver.(store.Counters)
	}
	w.join(n)

	v := n.View()
	logger := cfg.Logger.With(zap.String("store", cfg.Store.Identity()))
	for _, p := range v.unread {
		logger.Error("row could not be read", zap.String("table", p.Table), zap.String("id", p.ID), zap.String("reason", p.Reason))
	}
	for p := range v.Snapshot.Problems() {
		logger.Error("row could not be compiled", zap.String("table", p.Table), zap.String("id", p.ID), zap.String("reason", p.Reason))
	}
	logger.Info("node is open",
		zap.Int("services", v.Image.Len("services")),
		zap.Int("routes", v.Image.Len("routes")),
		zap.Bool("kept_from_previous_config", shared),
		zap.Duration("duration", time.Since(start)))
	return n, nil
}

// Close gives the world back. The store closes with the last node that holds
// it. Views that were taken before stay valid.
func (n *Node) Close() error {
	if n.closed.Swap(true) {
		return nil
	}
	n.world.leave(n)
	return closeWorld(n.store)
}

// View answers the current world with one atomic load.
func (n *Node) View() *View { return n.view.Load() }

// Write runs fn in a transaction and, if neither fn nor a check refuses, makes
// the result durable and visible, in this order: it returns when the data path
// of this process sees the new world. Writes run one at a time; fn must not
// call Write.
//
// A refusal that a client can act on is a *schema.Error. After any error
// nothing has changed.
func (n *Node) Write(ctx context.Context, fn func(*store.Tx) error) error {
	return n.world.write(ctx, write{fn: fn})
}

// Try does all that Write does but keeps nothing: it answers whether Write
// would have been refused.
func (n *Node) Try(ctx context.Context, fn func(*store.Tx) error) error {
	return n.world.write(ctx, write{fn: fn, dry: true})
}

// Load is a Write that came from a declarative configuration with the hash
// given. See View.Hash.
func (n *Node) Load(ctx context.Context, hash string, fn func(*store.Tx) error) error {
	return n.world.write(ctx, write{fn: fn, hash: hash})
}

// Explain tells which route a request would take, and why others would not.
func (n *Node) Explain(req *router.Request, max int) router.Explanation {
	return n.View().Snapshot.Explain(req, max)
}

// ExplainStream does the same for a TCP connection or UDP session.
func (n *Node) ExplainStream(f *router.Flow, max int) router.Explanation {
	return n.View().Snapshot.ExplainStream(f, max)
}

// Problems lists the rows that the store could not read or that could not be
// compiled, at most max.
func (n *Node) Problems(max int) []Problem {
	v := n.View()
	list := append([]Problem{}, v.unread[:min(max, len(v.unread))]...)
	for p := range v.Snapshot.Problems() {
		if len(list) == max {
			break
		}
		list = append(list, p)
	}
	return list
}

// Pools answers the upstreams as they live: their addresses, and how these do.
func (n *Node) Pools() *balancer.Pools { return n.world.pools }

// Catalog answers the tables that the world is made of.
func (n *Node) Catalog() *entity.Catalog { return n.world.catalog }

// ReadOnly reports whether entities change only by loading a whole
// configuration (Kong's DB-less mode).
func (n *Node) ReadOnly() bool { return n.store.ReadOnly() }

// Database answers the word for the store in Kong's `configuration.database`:
// "off" without one.
func (n *Node) Database() string { return n.store.Name() }

// ID identifies this process to clients. It stays the same across reloads and
// differs after a restart.
func (n *Node) ID() uuid.UUID { return n.world.id }

// publish makes a view the current one.
func (n *Node) publish(v *View) {
	n.view.Store(v)
	v.Snapshot.Live()
	n.mu.Lock()
	defer n.mu.Unlock()
	for w := range n.watchers {
		select {
		case w <- struct{}{}:
		default: // it has not seen the last one yet
		}
	}
}

// Watch answers a channel in which a value waits when the view has changed since
// the last one was taken, until stop is called.
func (n *Node) Watch() (changed <-chan struct{}, stop func()) {
	w := make(chan struct{}, 1)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.watchers == nil {
		n.watchers = make(map[chan struct{}]struct{})
	}
	n.watchers[w] = struct{}{}
	return w, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.watchers, w)
	}
}

// Health tells how an upstream and its targets are. If a name was never looked up
// yet, it waits for that until ctx ends.
func (n *Node) Health(ctx context.Context, upstream uuid.UUID) health.Report {
	pool, ok := n.world.pools.Get(upstream)
	if !ok {
		return health.Report{}
	}
	return n.world.checks.Report(ctx, pool)
}

// SetHealth makes an address of a target healthy or unhealthy until checks find
// otherwise; the zero address means all that the target has. The error is
// health.ErrNoChecks or health.ErrNoAddress.
func (n *Node) SetHealth(upstream, target uuid.UUID, address netip.AddrPort, healthy bool) error {
	pool, ok := n.world.pools.Get(upstream)
	if !ok {
		return health.ErrNoChecks
	}
	return n.world.checks.Set(pool, target, address, healthy)
}
