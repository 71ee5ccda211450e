package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/balancer/health"
	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/snapshot"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// worlds keeps what survives a reload, by the identity of its store.
var worlds = caddy.NewUsagePool()

// noHash is the configuration hash of a world into which nothing was loaded
// (Kong's constant for an empty declarative configuration).
const noHash = "00000000000000000000000000000000"

// world is an open store, its image, the upstreams that live, and the
// generations that read it.
type world struct {
	id      uuid.UUID
	driver  store.Driver
	catalog *entity.Catalog
	pools   *balancer.Pools
	checks  *health.Checks

	writer chan struct{} // holds one token: whoever has it may touch what follows
	image  *store.Image
	hash   string
	unread []Problem // rows that the store could not read; never written in place
	nodes  []*Node
	burial *time.Timer // nil: no row will be gone
	ended  bool
}

// openWorld answers the world of cfg.Store and whether it was open before.
func openWorld(cfg Config) (*world, bool, error) {
	w, shared, err := worlds.LoadOrNew(cfg.Store.Identity(), func() (caddy.Destructor, error) {
		return newWorld(cfg)
	})
	if err != nil {
		return nil, false, err
	}
	return w.(*world), shared, nil
}

func closeWorld(m store.Module) error {
	_, err := worlds.Delete(m.Identity())
	return err
}

func newWorld(cfg Config) (*world, error) {
	ctx := context.Background()
	driver, err := cfg.Store.Open(ctx, cfg.Catalog, cfg.Logger)
	if err != nil {
		return nil, err
	}
	w := &world{
		id:      uuid.New(),
		driver:  driver,
		catalog: cfg.Catalog,
		pools:   balancer.NewPools(),
		checks:  health.New(),
		writer:  make(chan struct{}, 1),
		hash:    noHash,
	}
	w.pools.Watch(w.checks)
	image, problems, err := store.Load(ctx, cfg.Catalog, driver)
	if err != nil {
		w.checks.Close()
		driver.Close()
		return nil, err
	}
	w.image = image
	for _, p := range problems {
		w.unread = append(w.unread, Problem{Table: p.Table, ID: p.ID.String(), Reason: p.Reason.Error()})
	}
	if h, ok := driver.(interface{ Hash() string }); ok {
		w.hash = h.Hash()
	}
	w.wake(false)
	return w, nil
}

// Destruct closes the store. Caddy's pool calls it when the last node left.
func (w *world) Destruct() error {
	w.end()
	w.checks.Close()
	w.pools.Close()
	return w.driver.Close()
}

func (w *world) join(n *Node) {
	w.writer <- struct{}{}
	defer func() { <-w.writer }()
	s := snapshot.NewWithPlugins(w.image, w.pools, n.plugins)
	w.use(n)
	s.Publish()
	n.publish(&View{Image: w.image, Snapshot: s, Hash: w.hash, unread: w.unread})
	w.nodes = append(w.nodes, n)
}

func (w *world) leave(n *Node) {
	w.writer <- struct{}{}
	defer func() { <-w.writer }()
	w.nodes = slices.DeleteFunc(w.nodes, func(m *Node) bool { return m == n })
	n.View().Snapshot.Close()
	if len(w.nodes) > 0 { // the youngest that is left has the say
		w.use(w.nodes[len(w.nodes)-1])
	}
}

// use resolves names and checks health from now on as the node wants it.
func (w *world) use(n *Node) {
	w.checks.Use(n.health)
	if n.resolver != nil {
		w.pools.Use(n.resolver, n.logger)
	}
}

// write is one run of the write path.
type write struct {
	fn   func(*store.Tx) error
	dry  bool
	hash string // new configuration hash; empty keeps the present one
}

func (w *world) write(ctx context.Context, p write) error {
	select {
	case w.writer <- struct{}{}:
		defer func() { <-w.writer }()
	case <-ctx.Done():
		return fmt.Errorf("waiting for earlier writes: %w", context.Cause(ctx))
	}

	now := time.Now()
	tx := store.Begin(w.image, store.Options{Now: now})
	if err := tx.Bury(now, atOnce); err != nil {
		return err
	}
	if err := p.fn(tx); err != nil {
		return err
	}
	changes := tx.Changes()
	image := tx.Image()
	if err := w.allowed(changes); err != nil {
		return err
	}

	next := make([]*snapshot.Snapshot, len(w.nodes))
	for i, n := range w.nodes {
		s, problems := n.View().Snapshot.Apply(image, changes)
		defer s.Discard() // of what is not published
		if len(problems) > 0 {
			return refusal(problems)
		}
		next[i] = s
	}
	if p.dry {
		return nil
	}
	if len(changes) > 0 {
		if err := w.driver.Commit(ctx, changes); err != nil {
			return fmt.Errorf("writing to the store: %w", err)
		}
	}
	w.image = image
	w.wake(false)
	if p.hash != "" {
		w.hash = p.hash
	}
	w.unread = without(w.unread, changes)
	if len(changes) > 0 && len(next) > 0 {
		next[0].Publish() // they are of the same changes
	}
	for i, n := range w.nodes {
		n.publish(&View{Image: image, Snapshot: next[i], Hash: w.hash, unread: w.unread})
	}
	return nil
}

// allowed refuses plugins that a configuration does not let in, in the words of
// the table's own refusal.
func (w *world) allowed(changes []store.Change) error {
	for _, c := range changes {
		if c.Table != "plugins" || c.After == nil {
			continue
		}
		now, err := entity.Decode[entity.Plugin](c.After.Data)
		if err != nil {
			return err
		}
		for _, n := range w.nodes {
			if n.plugins != nil && n.plugins.Enabled != nil && !n.plugins.Enabled(now.Name) {
				return schema.Violation(schema.Object{"name": fmt.Sprintf(
					"plugin '%s' not enabled; add it to the 'plugins' configuration property", now.Name)})
			}
		}
	}
	return nil
}

// without answers the problems that rows still have after the changes: whoever
// wrote or deleted a row has mended it.
func without(problems []Problem, changes []store.Change) []Problem {
	if len(problems) == 0 {
		return nil
	}
	mended := make(map[[2]string]bool, len(changes))
	for _, c := range changes {
		mended[[2]string{c.Table, c.ID().String()}] = true
	}
	return slices.DeleteFunc(slices.Clone(problems), func(p Problem) bool { return mended[[2]string{p.Table, p.ID}] })
}

// refusal turns rows that do not compile into what a client reads. Most such
// rows were refused by their table's checks before they came here.
func refusal(problems []Problem) error {
	if len(problems) == 1 && problems[0].Table == "plugins" {
		return schema.Violation(schema.Object{"config": complaint(problems[0].Reason)})
	}
	reasons := make([]string, 0, 3)
	for _, p := range problems[:min(len(problems), cap(reasons))] {
		reasons = append(reasons, fmt.Sprintf("%s %s: %s", p.Table, p.ID, p.Reason))
	}
	return schema.Violation(schema.Object{"@entity": []any{strings.Join(reasons, "; ")}})
}

// complaint is what a module says of its config: about the field that it does not
// know, as far as it names one.
func complaint(reason string) any {
	if _, rest, found := strings.Cut(reason, `json: unknown field "`); found {
		if name, _, found := strings.Cut(rest, `"`); found && name != "" {
			return schema.Object{name: "unknown field"}
		}
	}
	return reason
}

// Interface guard
var _ caddy.Destructor = (*world)(nil)
