// Package entity names the gateway's entities: for each its table, which is
// the law, and its typed view, which is what the data path reads.
package entity

import (
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// A Catalog is the set of tables that a node knows: the core entities and
// those that plugins bring. It does not change after it was made.
type Catalog struct {
	tables  []*schema.Table // in dependency order: parents first
	byName  map[string]*schema.Table
	byPath  map[string]*schema.Table
	plugins map[string]PluginKind
}

// PluginKind is what the catalog must know of a plugin: the schema of its
// configuration and where it may stand.
type PluginKind struct {
	Version    string
	Priority   int
	Config     *schema.Fields
	Protocols  []string // allowed; also the default; nil: HTTPProtocols, and any are allowed
	Usual      []string // the default where any protocols are allowed; nil: HTTPProtocols
	NoConsumer bool     // the plugin cannot be bound to a consumer
	NoRoute    bool
	NoService  bool

	// Rule looks at a configuration whose fields are sound, and answers what is
	// wrong with it as a whole, or "". Nil: nothing is.
	Rule func(config schema.Object) string

	// Checks are relations between fields of the row, such as "config.allow" and
	// "config.deny".
	Checks []schema.Check

	// Any says that the configuration is any JSON object, which only the
	// plugin itself can judge. Config is then nil.
	Any bool

	// Unlisted kinds are known and cannot be used, such as handlers that only
	// make sense inside of others.
	Unlisted bool

	// Routed says that the plugin does something for requests with a route only.
	Routed bool

	// Forgets says that the plugin keeps no text of a request when its phases are
	// over, such as a header's value: what it needs longer it copies. The memory
	// of requests on which only such plugins act is used again.
	Forgets bool

	// Tables are the entities that the plugin brings, such as credentials:
	// new ones for each catalog, parents before children.
	Tables []*schema.Table
}

// Core makes the tables of all core entities, parents before children. Each
// call makes new ones.
func Core() []*schema.Table {
	return []*schema.Table{
		workspacesTable(),
		certificatesTable(),
		snisTable(),
		caCertificatesTable(),
		keySetsTable(),
		keysTable(),
		upstreamsTable(),
		targetsTable(),
		servicesTable(),
		routesTable(),
		consumersTable(),
		pluginsTable(),
		vaultsTable(),
	}
}

// NewCatalog makes the catalog of the core entities, the plugins of the given
// names with the tables that they bring, and extra ones (parents before
// children).
func NewCatalog(plugins map[string]PluginKind, extra ...*schema.Table) *Catalog {
	for _, name := range slices.Sorted(maps.Keys(plugins)) {
		extra = append(extra, plugins[name].Tables...)
	}
	c := &Catalog{
		tables:  append(Core(), extra...),
		byName:  make(map[string]*schema.Table),
		byPath:  make(map[string]*schema.Table),
		plugins: maps.Clone(plugins),
	}
	for _, t := range c.tables {
		c.byName[t.Name] = t
		if t.Path != "" {
			c.byPath[t.Path] = t
		}
	}
	for name, kind := range plugins {
		c.byName["plugins"].Variants[name] = kind.fields()
	}
	schema.Link(c.tables)
	return c
}

// Tables answers all tables, parents before children.
func (c *Catalog) Tables() []*schema.Table { return c.tables }

// Table answers the table of that name, such as "key_sets", or nil.
func (c *Catalog) Table(name string) *schema.Table { return c.byName[name] }

// ByPath answers the table whose entities are under that URL segment, such as
// "key-sets", or nil.
func (c *Catalog) ByPath(path string) *schema.Table { return c.byPath[path] }

// Plugin answers what is known of a plugin.
func (c *Catalog) Plugin(name string) (PluginKind, bool) {
	kind, ok := c.plugins[name]
	return kind, ok
}

// Plugins answers the names of all plugins that can be used, sorted.
func (c *Catalog) Plugins() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(c.plugins)), func(name string) bool { return c.plugins[name].Unlisted })
}

// A Child is a foreign field that points at some table.
type Child struct {
	Table    *schema.Table // the table that has the field
	Field    string
	OnDelete schema.OnDelete
}

// Children answers every foreign field that points at the table, in the order
// of the tables.
func (c *Catalog) Children(table string) []Child {
	var out []Child
	for _, t := range c.tables {
		for _, r := range t.References() {
			if r.Table == table {
				out = append(out, Child{t, r.Field, r.OnDelete})
			}
		}
	}
	return out
}

// Variant answers how the row of that name refines a table: the fields of a
// plugin ("plugins", "key-auth"), a vault ("vaults", "env"), or a route of
// that protocol.
func (c *Catalog) Variant(table, name string) (*schema.Fields, bool) {
	t := c.byName[table]
	if t == nil {
		return nil, false
	}
	v, ok := t.Variants[name]
	return v, ok
}

// Env answers what processing at that time needs. A nil newID makes random
// identifiers; a nil resolve accepts references by id only.
func (c *Catalog) Env(now time.Time, newID func() uuid.UUID, resolve func(table, field, value string) (uuid.UUID, bool)) *schema.Env {
	if newID == nil {
		newID = uuid.New
	}
	return &schema.Env{Now: float64(now.UnixMilli()) / 1000, NewID: newID, Resolve: resolve}
}
