package bolt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap/zaptest"

	"github.com/portcullis-gateway/portcullis/modules/store"
)

func identity(t *testing.T, path string) string {
	t.Helper()
	s := &Store{Path: path}
	if err := s.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	return s.Identity()
}

func TestIdentity_defaultsToCaddysDirectory(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", dir)
	if got, want := identity(t, ""), "bolt:"+filepath.Join(resolve(dir), "caddy", "gateway.db"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := os.Stat(filepath.Join(dir, "caddy")); err == nil {
		t.Error("provisioning made the directory")
	}
}

func TestIdentity_isOneForOneFile(t *testing.T) {
	dir := resolve(t.TempDir())
	t.Chdir(dir)
	t.Setenv("STORE_DIR", dir)
	if err := os.MkdirAll(filepath.Join(dir, "real"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Skip("no symbolic links here: ", err)
	}
	want := "bolt:" + filepath.Join(dir, "real", "sub", "gateway.db")
	paths := []string{"real/sub/gateway.db", "./link/sub/gateway.db", filepath.Join(dir, "link", "sub", "gateway.db"), "{env.STORE_DIR}/real/x/../sub/gateway.db"}
	for _, path := range paths {
		if got := identity(t, path); got != want {
			t.Errorf("%s before it exists: %q, want %q", path, got, want)
		}
	}
	mustOpen(t, filepath.Join(dir, "link", "sub", "gateway.db"))
	for _, path := range paths {
		if got := identity(t, path); got != want {
			t.Errorf("%s when it exists: %q, want %q", path, got, want)
		}
	}
	if other := identity(t, "other.db"); other == want {
		t.Errorf("another file has the same identity %q", other)
	}
}

func TestModule_opensItsFile(t *testing.T) {
	s := &Store{Path: filepath.Join(t.TempDir(), "gateway.db")}
	if err := s.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	var m store.Module = s
	if m.Name() != "bolt" || m.ReadOnly() {
		t.Errorf("name %q, read-only %v", m.Name(), m.ReadOnly())
	}
	d, err := m.Open(t.Context(), nil, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	if _, err := os.Stat(s.Path); err != nil {
		t.Error(err)
	}
}

func TestCaddyfile(t *testing.T) {
	for _, tt := range []struct{ in, path, err string }{
		{"bolt", "", ""},
		{"bolt /var/lib/gateway.db", "/var/lib/gateway.db", ""},
		{"bolt a b", "", `unexpected argument "b": bolt takes one path, at Testfile:1`},
		{`bolt ""`, "", "the path of the store is empty; leave it out for the default, at Testfile:1"},
		{"bolt a {\n\tsync off\n}", "", `unrecognized option "sync": bolt takes a path and no block, at Testfile:2`},
	} {
		s := new(Store)
		err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser(tt.in))
		switch {
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%s: error %v, want %q", tt.in, err, tt.err)
		case tt.err == "" && (err != nil || s.Path != tt.path):
			t.Errorf("%s: path %q, error %v; want %q", tt.in, s.Path, err, tt.path)
		}
	}
}
