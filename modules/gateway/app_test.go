package gateway_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/modules/dns"
	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/store"
	_ "github.com/portcullis-gateway/portcullis/modules/store/bolt"
	_ "github.com/portcullis-gateway/portcullis/modules/store/memory"
)

// provision makes the app with a store in the file given.
func provision(t *testing.T, file string) *gateway.App {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	raw, err := json.Marshal(map[string]string{"driver": "bolt", "path": file})
	if err != nil {
		t.Fatal(err)
	}
	app := &gateway.App{StoreRaw: raw}
	if err := app.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { app.Cleanup() })
	return app
}

func TestProvision_opensNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gateway.db")
	app := provision(t, file)
	if err := app.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the store's file exists before a door asked for the node (%v)", err)
	}
}

func TestNode_isOneForAllDoorsAndNoneAfterCleanup(t *testing.T) {
	app := provision(t, filepath.Join(t.TempDir(), "gateway.db"))
	one, err := app.Node()
	if err != nil {
		t.Fatal(err)
	}
	two, err := app.Node()
	if err != nil || one != two {
		t.Errorf("the second door got %p and error %v, want %p", two, err, one)
	}
	for range 2 {
		if err := app.Cleanup(); err != nil {
			t.Error(err)
		}
	}
	if _, err := app.Node(); err == nil {
		t.Error("a door that is late opened the node of a configuration that is gone")
	}
}

// What is known of names survives a reload that does not change how they are
// looked up.
func TestResolver_isSharedByEqualSettings(t *testing.T) {
	resolver := func(servers ...string) (*gateway.App, *dns.Resolver) {
		app := &gateway.App{StoreRaw: json.RawMessage(`{"driver":"memory"}`), Settings: gateway.Settings{DNSResolver: servers}}
		ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
		t.Cleanup(cancel)
		if err := app.Provision(ctx); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { app.Cleanup() })
		if _, err := app.Node(); err != nil {
			t.Fatal(err)
		}
		return app, app.Resolver()
	}
	old, first := resolver("127.0.0.1:1")
	_, second := resolver("127.0.0.1:1")
	_, other := resolver("127.0.0.1:2")
	if first != second || first == other {
		t.Error("resolvers are not shared by their settings")
	}
	if err := old.Cleanup(); err != nil {
		t.Fatal(err)
	}
	if a, err := second.Lookup(t.Context(), "localhost"); err != nil {
		t.Errorf("the resolver ended with the first that had it: %v, %v", a, err)
	}
}

func TestHold_keepsTheNodeUpToDateAfterCleanup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gateway.db")
	old, next := provision(t, file), provision(t, file)
	n, err := old.Node()
	if err != nil {
		t.Fatal(err)
	}
	release := old.Hold()
	m, err := next.Node()
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Cleanup(); err != nil {
		t.Fatal(err)
	}
	write := func() {
		t.Helper()
		err := m.Write(context.Background(), func(tx *store.Tx) error {
			_, err := tx.Insert("services", map[string]any{"host": "a.internal"})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	write()
	if got := n.View().Image.Len("services"); got != 1 {
		t.Errorf("a door that drains sees %d services, want 1", got)
	}
	release()
	release() // does nothing
	write()
	if got := n.View().Image.Len("services"); got != 1 {
		t.Errorf("after it was released the node still follows: %d services", got)
	}
}

func TestStart_failsIfARequiredStoreCannotOpen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gateway.db")
	if err := os.WriteFile(file, []byte("this is not a store of the gateway, nor of anybody else"), 0o600); err != nil {
		t.Fatal(err)
	}
	app := provision(t, file)
	app.Require()
	if err := app.Start(); err == nil {
		t.Error("the configuration started without its store")
	}
}
