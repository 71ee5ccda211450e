// Package entity names the gateway's entities: for each its table, which is
// the law, and its typed view, which is what the data path reads.
package entity

import "github.com/portcullis-gateway/portcullis/modules/schema"

// A Catalog is the set of tables that a node knows: the core entities and
// those that plugins bring. It does not change after it was made.
type Catalog struct {
	tables  []*schema.Table // in dependency order: parents first
	byName  map[string]*schema.Table
	plugins map[string]PluginKind
}

// PluginKind is what the catalog must know of a plugin: the schema of its
// configuration and where it may stand.
type PluginKind struct {
	Version    string
	Priority   int
	Config     *schema.Fields
	Protocols  []string // allowed; also the default
	NoConsumer bool     // the plugin cannot be bound to a consumer
	NoRoute    bool
	NoService  bool
}
