package entity

import (
	"encoding/json"
	"reflect"
	"slices"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// Plugin is the typed view of a row of the table plugins: one configuration of
// a plugin, for the scope that its references describe.
type Plugin struct {
	ID           uuid.UUID       `json:"id"`
	Name         string          `json:"name"`
	InstanceName string          `json:"instance_name"`
	Route        *Ref            `json:"route"`
	Service      *Ref            `json:"service"`
	Consumer     *Ref            `json:"consumer"`
	Config       json.RawMessage `json:"config"`
	Protocols    []string        `json:"protocols"`
	Enabled      bool            `json:"enabled"`
	Ordering     *Ordering       `json:"ordering"`
	Tags         []string        `json:"tags"`
	CreatedAt    int64           `json:"created_at"` // seconds
	UpdatedAt    int64           `json:"updated_at"`
}

// Ordering moves a plugin among those that act on a request, other than by its
// priority: in the phase access, which alone can be ordered.
type Ordering struct {
	Before *OrderingPhases `json:"before"`
	After  *OrderingPhases `json:"after"`
}

// OrderingPhases names the plugins before or after which one is to run.
type OrderingPhases struct {
	Access []string `json:"access"`
}

// pluginsTable has no variants yet: catalogs add them.
func pluginsTable() *schema.Table {
	return &schema.Table{
		Name: "plugins", Path: "plugins", Key: "instance_name",
		CacheKey:     []string{"name", "route", "service", "consumer"},
		VariantKey:   "name",
		VariantError: "plugin '%s' not enabled; add it to the 'plugins' configuration property",
		Variants:     map[string]*schema.Fields{},
		Fields:       &schema.Fields{List: pluginFields()},
		Related:      schema.Related{Check: checkPluginProtocols},
	}
}

func pluginFields() []schema.Field {
	return []schema.Field{
		idField(),
		{Name: "name", Kind: schema.String, Required: true, Doc: "The name of the plugin."},
		utf8Name("instance_name"),
		createdAt(),
		updatedAt(),
		documented(foreign("route", "routes", schema.Cascade),
			"If set, the plugin acts on requests of this route only."),
		documented(foreign("service", "services", schema.Cascade),
			"If set, the plugin acts on requests of this service's routes only."),
		documented(foreign("consumer", "consumers", schema.Cascade),
			"If set, the plugin acts on requests of this consumer only."),
		{Name: "config", Kind: schema.Record, Abstract: true, Doc: "The settings of the plugin."},
		protocolsField(nil),
		{Name: "enabled", Kind: schema.Boolean, Required: true, Default: true, Doc: "Whether the plugin is applied."},
		{Name: "ordering", Kind: schema.Record, Doc: "Plugins before or after which the plugin runs, whatever their priorities.",
			Fields: &schema.Fields{List: []schema.Field{orderingField("before"), orderingField("after")}}},
		tagsField(),
	}
}

func orderingField(name string) schema.Field {
	return schema.Field{Name: name, Kind: schema.Record, Fields: &schema.Fields{List: []schema.Field{
		{Name: "access", Kind: schema.Array, Elem: &schema.Field{Kind: schema.String}, Doc: "Names of plugins."},
	}}}
}

func protocolsField(allowed []string) schema.Field {
	f := schema.Field{Name: "protocols", Kind: schema.Set, Required: true, Default: schema.Values(HTTPProtocols...),
		Elem: new(protocolField()), Doc: "The protocols of requests that the plugin acts on."}
	if allowed != nil {
		f.Default = schema.Values(allowed...)
		f.Elem.OneOf = schema.Values(allowed...)
	}
	return f
}

// fields answers how a plugin refines the table plugins.
func (k PluginKind) fields() *schema.Fields {
	config := k.Config
	if config == nil && !k.Any {
		config = &schema.Fields{}
	}
	fs := &schema.Fields{Checks: k.Checks, List: []schema.Field{
		{Name: "config", Kind: schema.Record, Required: true, Fields: config},
	}}
	if k.Rule != nil {
		fs.List[0].Rules = []schema.Rule{schema.CustomRecord(k.Rule)}
	}
	switch {
	case k.Protocols != nil:
		fs.List = append(fs.List, protocolsField(k.Protocols))
	case k.Usual != nil:
		fs.List = append(fs.List, withDefault(protocolsField(nil), schema.Values(k.Usual...)))
	}
	for _, scope := range []struct {
		forbidden   bool
		name, table string
	}{
		{k.NoRoute, "route", "routes"},
		{k.NoService, "service", "services"},
		{k.NoConsumer, "consumer", "consumers"},
	} {
		if scope.forbidden {
			f := foreign(scope.name, scope.table, schema.Cascade)
			f.Null = true
			fs.List = append(fs.List, f)
		}
	}
	return fs
}

// checkPluginProtocols wants a plugin to share a protocol with its route, or
// with at least one route of its service (kong/db/dao/plugins.lua).
func checkPluginProtocols(rows schema.Rows, op schema.Op, o, current schema.Object) *schema.Error {
	if op == schema.Update && !changed(o, current, "protocols", "route", "service") {
		return nil
	}
	if id, ok := reference(o, "route"); ok {
		route := rows.Get("routes", id)
		if route != nil && !shareProtocol(o, route) {
			return schema.Violation(schema.Object{"protocols": "must match the associated route's protocols"})
		}
		return nil
	}
	id, ok := reference(o, "service")
	if !ok {
		return nil
	}
	routes, shared := 0, false
	rows.Children("routes", "service", id, func(route schema.Object) bool {
		routes++
		shared = shareProtocol(o, route)
		return !shared
	})
	if routes > 0 && !shared {
		return schema.Violation(schema.Object{
			"protocols": "must match the protocols of at least one route pointing to this Plugin's service"})
	}
	return nil
}

func changed(o, current schema.Object, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return !reflect.DeepEqual(o[name], current[name]) })
}

func reference(o schema.Object, field string) (uuid.UUID, bool) {
	ref, _ := o[field].(schema.Object)
	text, _ := ref["id"].(string)
	id, err := uuid.Parse(text)
	return id, err == nil
}

func shareProtocol(a, b schema.Object) bool {
	list, _ := a["protocols"].([]any)
	other, _ := b["protocols"].([]any)
	return slices.ContainsFunc(list, func(p any) bool { return slices.Contains(other, p) })
}
