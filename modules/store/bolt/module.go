// Package bolt keeps the gateway's entities in one file.
package bolt

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

func init() { caddy.RegisterModule(new(Store)) }

// Store keeps entities in a file of its own on this machine (bbolt). It needs
// no server, and a write that was answered is on the disk.
//
// One process at a time has the file open; a second one that is started on the
// same file says so and stops. Reloading the configuration is not a second
// process and finds everything as it was.
//
// The file holds private keys and credentials: it is created for its owner
// alone, as is its directory.
type Store struct {
	// The file. It and its directory are created when needed. A relative path
	// starts at the working directory; placeholders are replaced.
	// Default: `gateway.db` in Caddy's data directory, such as
	// `/var/lib/caddy/.local/share/caddy/gateway.db` for the packaged service
	// or `~/.local/share/caddy/gateway.db` on a desktop.
	Path string `json:"path,omitempty"`

	path string // absolute, links resolved
}

// CaddyModule returns the Caddy module information.
func (*Store) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "gateway.stores.bolt",
		New: func() caddy.Module { return new(Store) },
	}
}

// Provision settles the path. It opens nothing.
func (s *Store) Provision(caddy.Context) error {
	path := caddy.NewReplacer().ReplaceAll(s.Path, "")
	if path == "" {
		path = filepath.Join(caddy.AppDataDir(), "gateway.db")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("path %q: %w", path, err)
	}
	s.path = resolve(abs)
	return nil
}

// resolve follows the symbolic links in the part of a path that exists, so
// that one file has one identity however it is named.
func resolve(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	dir := filepath.Dir(path)
	if dir == path {
		return path
	}
	return filepath.Join(resolve(dir), filepath.Base(path))
}

// Identity names the file.
func (s *Store) Identity() string { return "bolt:" + s.path }

// Name is how the Admin API shows the store.
func (*Store) Name() string { return "bolt" }

// ReadOnly is false: single entities can be written.
func (*Store) ReadOnly() bool { return false }

// Open opens the file, creating it if there is none.
func (s *Store) Open(ctx context.Context, _ *entity.Catalog, logger *zap.Logger) (store.Driver, error) {
	return Open(ctx, s.path, logger)
}

// UnmarshalCaddyfile sets up the store from the tokens of its line. Syntax:
//
//	bolt [<path>]
func (s *Store) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the driver
	if d.NextArg() {
		s.Path = d.Val()
		if s.Path == "" {
			return d.Err("the path of the store is empty; leave it out for the default")
		}
	}
	if d.NextArg() {
		return d.Errf("unexpected argument %q: bolt takes one path", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("unrecognized option %q: bolt takes a path and no block", d.Val())
	}
	return nil
}

// Interface guards
var (
	_ caddy.Module          = (*Store)(nil)
	_ caddy.Provisioner     = (*Store)(nil)
	_ caddyfile.Unmarshaler = (*Store)(nil)
	_ store.Module          = (*Store)(nil)
)
