package admin

import (
	"fmt"
	"net/http"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// addSchemas adds the endpoints that describe the tables and judge entities
// without writing them.
func addSchemas(t *endpoints) {
	t.add(endpoint{pattern: "/schemas/:name", verbs: verbs{"GET": getSchema}})
	t.add(endpoint{pattern: "/schemas/plugins/:name", verbs: verbs{"GET": getVariant("plugins", "plugin")}})
	t.add(endpoint{pattern: "/schemas/vaults/:name", verbs: verbs{"GET": getVariant("vaults", "vault")}})
	t.add(endpoint{pattern: "/schemas/filters/:name", verbs: verbs{"GET": func(c *call) (*answer, error) {
		return nil, &refusal{http.StatusNotFound, fmt.Sprintf("Filter '%s' not found", c.params[0])}
	}}})
	t.add(endpoint{pattern: "/schemas/:db_entity_name/validate", verbs: verbs{"POST": func(c *call) (*answer, error) {
		return validate(c, c.params[0])
	}}})
	for _, name := range []string{"plugins", "vaults"} {
		t.add(endpoint{pattern: "/schemas/" + name + "/validate", verbs: verbs{"POST": func(c *call) (*answer, error) {
			return validate(c, name)
		}}})
	}
	t.add(endpoint{pattern: "/plugins/enabled", verbs: verbs{"GET": enabledPlugins}})
	t.add(endpoint{pattern: "/plugins/schema/:name", verbs: verbs{"GET": pluginConfigSchema}})
}

// tableNamed answers a table by its name; it is an error if there is none.
func (c *call) tableNamed(name string) (*schema.Table, error) {
	if t := c.world.Catalog().Table(name); t != nil {
		return t, nil
	}
	if name == "tags" {
		return tagTable(c.world.Catalog()), nil
	}
	return nil, unnamed("entity", name)
}

func unnamed(what, name string) error {
	return &refusal{http.StatusNotFound, fmt.Sprintf("No %s named '%s'", what, name)}
}

func getSchema(c *call) (*answer, error) {
	t, err := c.tableNamed(c.params[0])
	if err != nil {
		return nil, err
	}
	return reply(http.StatusOK, t.Describe())
}

// getVariant describes what a name in the table's variant key brings with it.
func getVariant(table, what string) handler {
	return func(c *call) (*answer, error) {
		fields := c.world.Catalog().Table(table).Variants[c.params[0]]
		if fields == nil || table == "plugins" && c.enabled != nil && !c.enabled(c.params[0]) {
			return nil, unnamed(what, c.params[0])
		}
		return reply(http.StatusOK, fields.Describe())
	}
}

func validate(c *call, name string) (*answer, error) {
	t, err := c.tableNamed(name)
	if err != nil {
		return nil, err
	}
	if err := t.Validate(c.input(t), nil); err != nil {
		return nil, err
	}
	return reply(http.StatusOK, message("schema validation successful"))
}

func enabledPlugins(c *call) (*answer, error) {
	return reply(http.StatusOK, map[string]any{"enabled_plugins": c.plugins()})
}

// pluginConfigSchema is what Kong had before /schemas/plugins/:name.
func pluginConfigSchema(c *call) (*answer, error) {
	kind, known := c.world.Catalog().Plugin(c.params[0])
	if !known {
		return nil, unnamed("plugin", c.params[0])
	}
	return reply(http.StatusOK, kind.Config.Describe())
}

// plugins lists the plugins that may be used.
func (a *API) plugins() []string {
	names := []string{}
	for _, name := range a.world.Catalog().Plugins() {
		if a.enabled == nil || a.enabled(name) {
			names = append(names, name)
		}
	}
	return names
}
