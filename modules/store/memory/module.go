// Package memory is the store without a database: Kong's DB-less mode.
package memory

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/declarative"
	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

func init() { caddy.RegisterModule(new(Store)) }

// Store keeps entities in memory alone, as Kong does without a database. They
// come all at once in Kong's declarative format: from a file, from this
// configuration, or by `POST /config` to the Admin API, which otherwise only
// reads.
//
// A reload of Caddy's configuration takes in the file or the entities given
// here if they changed. If they did not, what was posted meanwhile stays. A
// restart begins with the file or the entities again.
type Store struct {
	// A file in Kong's declarative format, YAML or JSON. A relative path starts
	// at the working directory; placeholders are replaced.
	// Default: none, the store is empty until a configuration is posted.
	File string `json:"file,omitempty"`

	// What the file held when this configuration was written, as an MD5 sum.
	// Nothing compares the two: Caddy does not load a configuration that equals
	// the one it runs, and this makes them differ when only the file changed.
	// A Caddyfile's option sets it. Default: none.
	FileHash string `json:"file_hash,omitempty"`

	// The entities themselves, in the JSON form of the same format:
	// `{"_format_version": "3.0", "services": [...]}`. It excludes `file`.
	// Default: none.
	Config json.RawMessage `json:"config,omitempty"`

	file string // with placeholders replaced
	hash string // of the content
}

// CaddyModule returns the Caddy module information.
func (*Store) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "gateway.stores.memory",
		New: func() caddy.Module { return new(Store) },
	}
}

// Provision reads the content once, since the identity of the store depends on
// it.
func (s *Store) Provision(caddy.Context) error {
	if s.File != "" && s.Config != nil {
		return errors.New("file and config exclude each other: the entities are in the one or in the other")
	}
	s.file = caddy.NewReplacer().ReplaceAll(s.File, "")
	if s.File != "" && s.file == "" {
		return fmt.Errorf("file: nothing is left of %q when its placeholders are replaced", s.File)
	}
	text, err := s.text()
	if err != nil {
		return err
	}
	s.hash = hash(text)
	return nil
}

// Check judges the content as Open does, and keeps nothing of it.
func (s *Store) Check(c *entity.Catalog) error {
	_, err := s.load(c)
	return err
}

// text is the content in Kong's declarative format, nil if there is none.
func (s *Store) text() ([]byte, error) {
	if s.file == "" {
		return s.Config, nil
	}
	text, err := os.ReadFile(s.file)
	if err != nil {
		return nil, fmt.Errorf("reading the declarative configuration: %w", err)
	}
	return text, nil
}

// hash tells one content from another.
func hash(text []byte) string {
	if text == nil {
		return declarative.EmptyHash
	}
	sum := md5.Sum(text)
	return hex.EncodeToString(sum[:])
}

// explain names the place of what is wrong with the content.
func (s *Store) explain(err error) error {
	if s.file != "" {
		return fmt.Errorf("%s: %w", s.file, err)
	}
	return fmt.Errorf("config: %w", err)
}

// Identity names the content: a file or configuration that changed is another
// store.
func (s *Store) Identity() string { return "memory:" + s.hash }

// Name is how the Admin API shows the store, in Kong's words.
func (*Store) Name() string { return "off" }

// ReadOnly is true: only whole configurations can be written.
func (*Store) ReadOnly() bool { return true }

// Open reads the content and makes rows of it. The error names everything that
// is wrong with it, up to a limit, with the lines.
func (s *Store) Open(_ context.Context, c *entity.Catalog, _ *zap.Logger) (store.Driver, error) {
	d, err := s.load(c)
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (s *Store) load(c *entity.Catalog) (*Driver, error) {
	text, err := s.text()
	if err != nil {
		return nil, err
	}
	d := &Driver{hash: declarative.EmptyHash, tables: make(map[string]map[store.ID]*store.Row)}
	if text == nil {
		return d, nil
	}
	if err := d.read(text, c); err != nil {
		return nil, s.explain(err)
	}
	return d, nil
}

// read makes rows of a text, as POST /config does.
func (d *Driver) read(text []byte, c *entity.Catalog) error {
	doc, err := declarative.Parse(text)
	if err != nil {
		return err
	}
	rows, errs := doc.Resolve(c, declarative.Options{})
	if errs != nil {
		return errs
	}
	tx := store.Begin(store.NewImage(c), store.Options{})
	if _, err := declarative.Replace(tx, rows, nil); err != nil {
		return err
	}
	d.hash = doc.HashOf(rows)
	d.apply(tx.Changes())
	return nil
}

// Interface guards
var (
	_ caddy.Module      = (*Store)(nil)
	_ caddy.Provisioner = (*Store)(nil)
	_ store.Module      = (*Store)(nil)
	_ store.Checker     = (*Store)(nil)
)
