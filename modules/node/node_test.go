package node_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/uuid"
	"go.etcd.io/bbolt"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/node"
	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/modules/router"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
	"github.com/portcullis-gateway/portcullis/modules/store/bolt"
)

func TestMain(m *testing.M) { patient.NoLeaks(m) }

var catalog = entity.NewCatalog(nil)

// open opens the node of a file and closes it when the test ends.
func open(t testing.TB, path string) *node.Node {
	t.Helper()
	n := start(t, path)
	t.Cleanup(func() { stop(t, n) })
	return n
}

func start(t testing.TB, path string) *node.Node {
	t.Helper()
	return startLogging(t, path, zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel)))
}

func startLogging(t testing.TB, path string, logger *zap.Logger) *node.Node {
	t.Helper()
	module := &bolt.Store{Path: path}
	if err := module.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	n, err := node.Open(node.Config{
		Store:   module,
		Catalog: catalog,
		Logger:  logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func stop(t testing.TB, n *node.Node) {
	t.Helper()
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

func path(t testing.TB) string { return filepath.Join(t.TempDir(), "gateway.db") }

// insert writes one row and answers its id.
func insert(t testing.TB, n *node.Node, table string, o schema.Object) string {
	t.Helper()
	var id string
	err := n.Write(context.Background(), func(tx *store.Tx) error {
		got, err := tx.Insert(table, o)
		if err == nil {
			id = got["id"].(string)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func patch(t testing.TB, n *node.Node, table, name string, o schema.Object) {
	t.Helper()
	err := n.Write(context.Background(), func(tx *store.Tx) error {
		_, err := tx.Update(table, store.Key{Field: "name", Value: name}, o)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// match answers the name of the route and the host of the service that a GET
// of the path would take; empty strings if none.
func match(n *node.Node, path string) (route, host string) {
	m, ok := n.View().Snapshot.Match(&router.Request{Method: "GET", Host: "example.com", Path: path, Header: http.Header{}})
	if !ok {
		return "", ""
	}
	if m.Service != nil {
		host = m.Service.Host
	}
	return m.Route.Name, host
}

func wantMatch(t *testing.T, n *node.Node, path, route, host string) {
	t.Helper()
	if r, h := match(n, path); r != route || h != host {
		t.Errorf("%s: matched route %q with service host %q, want %q and %q", path, r, h, route, host)
	}
}

func TestWrite_isVisibleWhenItReturns(t *testing.T) {
	n := open(t, path(t))
	s := insert(t, n, "services", schema.Object{"name": "orders", "host": "a.internal"})
	insert(t, n, "routes", schema.Object{"name": "r1", "paths": []any{"/orders"}, "service": schema.Object{"id": s}})
	wantMatch(t, n, "/orders/1", "r1", "a.internal")
	wantMatch(t, n, "/other", "", "")

	patch(t, n, "services", "orders", schema.Object{"host": "b.internal"})
	wantMatch(t, n, "/orders/1", "r1", "b.internal")

	patch(t, n, "routes", "r1", schema.Object{"paths": []any{"/carts"}})
	wantMatch(t, n, "/orders/1", "", "")
	wantMatch(t, n, "/carts", "r1", "b.internal")
}

func TestWrite_viewsTakenBeforeDoNotChange(t *testing.T) {
	n := open(t, path(t))
	insert(t, n, "routes", schema.Object{"name": "r1", "paths": []any{"/a"}})
	before := n.View()
	patch(t, n, "routes", "r1", schema.Object{"paths": []any{"/b"}})
	if _, ok := before.Snapshot.Match(&router.Request{Method: "GET", Path: "/a", Header: http.Header{}}); !ok {
		t.Error("the old view lost its route")
	}
	if before.Image.Len("routes") != 1 {
		t.Error("the old image changed")
	}
}

func TestWrite_disabledServiceHidesItsRoutes(t *testing.T) {
	n := open(t, path(t))
	s := insert(t, n, "services", schema.Object{"name": "orders", "host": "a.internal"})
	insert(t, n, "routes", schema.Object{"name": "r1", "paths": []any{"/orders"}, "service": schema.Object{"id": s}})
	insert(t, n, "routes", schema.Object{"name": "all", "paths": []any{"/"}})

	patch(t, n, "services", "orders", schema.Object{"enabled": false})
	wantMatch(t, n, "/orders", "all", "")

	// A route that is added meanwhile stays hidden too, also when the same
	// transaction enables and disables.
	insert(t, n, "routes", schema.Object{"name": "r2", "paths": []any{"/orders/2"}, "service": schema.Object{"id": s}})
	wantMatch(t, n, "/orders/2", "all", "")

	err := n.Write(context.Background(), func(tx *store.Tx) error {
		if _, err := tx.Update("services", store.Key{Field: "name", Value: "orders"}, schema.Object{"enabled": true}); err != nil {
			return err
		}
		_, err := tx.Insert("routes", schema.Object{"name": "r3", "paths": []any{"/orders/3"}, "service": schema.Object{"id": s}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, route := range map[string]string{"/orders": "r1", "/orders/2": "r2", "/orders/3": "r3"} {
		wantMatch(t, n, path, route, "a.internal")
	}
}

func TestWrite_refusalLeavesNothing(t *testing.T) {
	file := path(t)
	n := open(t, file)
	before := n.View()
	boom := errors.New("boom")
	for name, fn := range map[string]func(*store.Tx) error{
		"the function's own error": func(tx *store.Tx) error {
			if _, err := tx.Insert("services", schema.Object{"host": "a.internal"}); err != nil {
				return err
			}
			return boom
		},
		"a schema violation": func(tx *store.Tx) error {
			if _, err := tx.Insert("services", schema.Object{"host": "a.internal"}); err != nil {
				return err
			}
			_, err := tx.Insert("services", schema.Object{"host": "a b"})
			return err
		},
	} {
		if err := n.Write(context.Background(), fn); err == nil {
			t.Errorf("%s: the write was accepted", name)
		}
		if n.View() != before {
			t.Errorf("%s: a refused write published a new view", name)
		}
	}
	if err := n.Try(context.Background(), func(tx *store.Tx) error {
		_, err := tx.Insert("services", schema.Object{"host": "a.internal"})
		return err
	}); err != nil {
		t.Error(err)
	}
	if n.View() != before {
		t.Error("Try published a new view")
	}
}

func TestWrite_waitsForEarlierWritesNoLongerThanItsContext(t *testing.T) {
	n := open(t, path(t))
	inside, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		n.Write(context.Background(), func(*store.Tx) error {
			close(inside)
			<-release
			return nil
		})
	})
	<-inside
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := n.Write(ctx, func(*store.Tx) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	close(release)
	wg.Wait()
}

func TestOpen_generationsShareOneWorld(t *testing.T) {
	file := path(t)
	old := open(t, file)
	insert(t, old, "routes", schema.Object{"name": "r1", "paths": []any{"/a"}})

	next := open(t, file)
	wantMatch(t, next, "/a", "r1", "")
	if old.ID() != next.ID() {
		t.Error("the node's id changed with the generation")
	}

	insert(t, next, "routes", schema.Object{"name": "r2", "paths": []any{"/b"}})
	wantMatch(t, old, "/b", "r2", "")

	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	insert(t, next, "routes", schema.Object{"name": "r3", "paths": []any{"/c"}})
	wantMatch(t, next, "/c", "r3", "")
	if r, _ := match(old, "/c"); r != "" {
		t.Error("a closed generation still follows the world")
	}
}

// What is known of an upstream's addresses belongs to the world, not to the
// generation that learned it; a write that is refused leaves nothing there.
func TestOpen_generationsShareTheUpstreams(t *testing.T) {
	file := path(t)
	old := open(t, file)
	u := insert(t, old, "upstreams", schema.Object{"name": "pool.internal"})
	insert(t, old, "targets", schema.Object{"upstream": schema.Object{"id": u}, "target": "10.0.0.1:80"})
	pool := func(n *node.Node) *balancer.Pool {
		up, ok := n.View().Snapshot.Upstream("pool.internal")
		if !ok {
			t.Fatal("no upstream")
		}
		return up.Pool
	}
	peer := pool(old).Addresses()[0].Peer
	peer.SetAvailable(false)

	next := open(t, file)
	insert(t, next, "targets", schema.Object{"upstream": schema.Object{"id": u}, "target": "10.0.0.2:80"})
	if pool(next) != pool(old) || len(pool(old).Addresses()) != 2 {
		t.Error("the generations do not share the pool")
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	for _, a := range pool(next).Addresses() {
		if first := a.Text == "10.0.0.1:80"; (a.Peer == peer) != first || a.Peer.Available() == first {
			t.Errorf("%s: what was known of the addresses is lost", a.Text)
		}
	}

	id := uuid.New()
	fn := func(tx *store.Tx) error {
		_, err := tx.Insert("upstreams", schema.Object{"id": id.String(), "name": "other.internal"})
		return err
	}
	if err := next.Try(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
	if _, ok := next.Pools().Get(id); ok {
		t.Error("a trial left a pool")
	}
	if err := next.Write(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
	if _, ok := next.Pools().Get(id); !ok {
		t.Error("a write made no pool")
	}
	err := next.Write(context.Background(), func(tx *store.Tx) error {
		_, err := tx.Delete("upstreams", store.Key{ID: id})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := next.Pools().Get(id); ok {
		t.Error("a deleted upstream keeps its pool")
	}
}

func TestOpen_afterClosingFindsWhatWasWritten(t *testing.T) {
	file := path(t)
	n := open(t, file)
	s := insert(t, n, "services", schema.Object{"name": "orders", "host": "a.internal"})
	insert(t, n, "routes", schema.Object{"name": "r1", "paths": []any{"/orders"}, "service": schema.Object{"id": s}})
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	wantMatch(t, open(t, file), "/orders", "r1", "a.internal")
}

func TestWrite_concurrentWritersAllLand(t *testing.T) {
	n := open(t, path(t))
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			err := n.Write(context.Background(), func(tx *store.Tx) error {
				_, err := tx.Insert("routes", schema.Object{"name": fmt.Sprint("r", i), "paths": []any{fmt.Sprintf("/r%d", i)}})
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range 20 {
		wantMatch(t, n, fmt.Sprintf("/r%d", i), fmt.Sprint("r", i), "")
	}
}

func TestUpstream_followsItsTargetsAndItsName(t *testing.T) {
	n := open(t, path(t))
	u := insert(t, n, "upstreams", schema.Object{"name": "pool.internal"})
	target := insert(t, n, "targets", schema.Object{"upstream": schema.Object{"id": u}, "target": "10.0.0.1:80"})

	addresses := func(name string) []string {
		up, ok := n.View().Snapshot.Upstream(name)
		if !ok {
			return nil
		}
		list := []string{}
		for _, t := range up.Pool.Addresses() {
			list = append(list, t.Text)
		}
		return list
	}
	if got := fmt.Sprint(addresses("pool.internal")); got != "[10.0.0.1:80]" {
		t.Errorf("targets are %s", got)
	}

	patch(t, n, "upstreams", "pool.internal", schema.Object{"name": "other.internal"})
	if addresses("pool.internal") != nil {
		t.Error("the old name still stands")
	}
	if got := fmt.Sprint(addresses("other.internal")); got != "[10.0.0.1:80]" {
		t.Errorf("after renaming, targets are %s", got)
	}

	err := n.Write(context.Background(), func(tx *store.Tx) error {
		_, err := tx.Delete("targets", store.Key{ID: uuid.MustParse(target)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(addresses("other.internal")); got != "[]" {
		t.Errorf("after deleting, targets are %s", got)
	}
}

func TestProblems_endWhenTheRowIsMended(t *testing.T) {
	file := path(t)
	n := start(t, file)
	id := insert(t, n, "services", schema.Object{"name": "orders", "host": "a.internal"})
	insert(t, n, "routes", schema.Object{"name": "r1", "paths": []any{"/"}})
	stop(t, n)
	damage(t, file, id)

	n = startLogging(t, file, zap.NewNop())
	defer stop(t, n)
	if got := n.Problems(10); len(got) != 1 || got[0].ID != id {
		t.Fatalf("problems are %v, want one about %s", got, id)
	}
	if r, _ := match(n, "/"); r != "r1" {
		t.Error("the other rows are not served")
	}
	err := n.Write(context.Background(), func(tx *store.Tx) error {
		_, _, err := tx.Upsert("services", store.Key{ID: uuid.MustParse(id)}, schema.Object{"name": "orders", "host": "a.internal"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := n.Problems(10); len(got) != 0 {
		t.Errorf("after it was written anew, problems are %v", got)
	}
}

// damage overwrites a service's row in a file that nobody has open.
func damage(t *testing.T, file, id string) {
	t.Helper()
	db, err := bbolt.Open(file, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	key := uuid.MustParse(id)
	err = db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("services")).Put(key[:], []byte("rubbish"))
	})
	if err != nil {
		t.Fatal(err)
	}
}
