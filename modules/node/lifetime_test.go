package node_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap/zaptest"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/node"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
	"github.com/portcullis-gateway/portcullis/modules/store/bolt"
)

// TestLifetime_rowsLeaveTheStore by themselves: while the node runs, and those that
// ended while it did not.
func TestLifetime_rowsLeaveTheStore(t *testing.T) {
	catalog := entity.NewCatalog(map[string]entity.PluginKind{"pass": {
		Config: &schema.Fields{},
		Tables: []*schema.Table{entity.Credential("passes", "passes", "pass", "key",
			schema.Field{Name: "key", Kind: schema.String, Unique: true}, entity.Lifetime())},
	}})
	file := filepath.Join(t.TempDir(), "gateway.db")
	start := func() *node.Node {
		t.Helper()
		module := &bolt.Store{Path: file}
		if err := module.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		n, err := node.Open(node.Config{Store: module, Catalog: catalog, Logger: zaptest.NewLogger(t)})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	// wait waits until there are so many passes, whether they are seen or not.
	wait := func(n *node.Node, count int) {
		t.Helper()
		changed, stop := n.Watch()
		defer stop()
		late := time.After(time.Minute)
		for n.View().Image.Len("passes") != count {
			select {
			case <-changed:
			case <-late:
				t.Fatalf("%d passes, want %d", n.View().Image.Len("passes"), count)
			}
		}
	}

	n := start()
	err := n.Write(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.Insert("consumers", schema.Object{"username": "anna"}); err != nil {
			return err
		}
		for key, ttl := range map[string]int64{"short": 1, "long": 3600, "none": 0} {
			o := schema.Object{"consumer": schema.Object{"username": "anna"}, "key": key, "ttl": ttl}
			if _, err := tx.Insert("passes", o); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wait(n, 2)

	// This one ends while nobody looks.
	err = n.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Update("passes", store.Key{Field: "key", Value: "long"}, schema.Object{"ttl": int64(1)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	end, some := n.View().Image.NextEnd()
	if !some {
		t.Fatal("no pass has an end")
	}
	stop(t, n)
	time.Sleep(time.Until(end))
	n = start()
	defer func() { stop(t, n) }()
	if _, ok := n.View().Image.ByKey("passes", "key", "long"); ok {
		t.Error("a pass is there after its time")
	}
	wait(n, 1)
	if _, ok := n.View().Image.ByKey("passes", "key", "none"); !ok {
		t.Error("the pass without an end is gone")
	}
}
