package admin

import (
	"cmp"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// generate adds the endpoints that follow from the tables: for an entity E
// /E and /E/:e; for each of its foreign fields f, which refers to R, also
// /R/:r/E, /R/:r/E/:e and /E/:e/f (kong/api/endpoints.lua).
func (t *endpoints) generate(catalog *entity.Catalog) {
	for _, table := range catalog.Tables() {
		if table.Path == "" {
			continue
		}
		if table.Name == "targets" {
			targets{table, catalog.Table("upstreams")}.add(t)
			continue
		}
		base := "/" + table.Path
		one := base + "/:" + table.Name
		t.add(endpoint{pattern: base, verbs: collection{table: table}.verbs()})
		t.add(endpoint{pattern: one, verbs: item{table: table}.verbs()})
		for _, ref := range table.References() {
			parent := catalog.Table(ref.Table)
			if parent == nil || parent.Path == "" {
				continue
			}
			nested := "/" + parent.Path + "/:" + parent.Name + "/" + cmp.Or(table.Nested, table.Path)
			t.add(endpoint{pattern: nested, verbs: collection{table, parent, ref.Field}.verbs()})
			t.add(endpoint{pattern: nested + "/:" + table.Name, verbs: item{table, parent, ref.Field}.verbs()})
			if table.Name != "snis" { // Kong has no /snis/:snis/certificate
				t.add(endpoint{pattern: one + "/" + ref.Field, verbs: related{table, ref.Field, parent}.verbs()})
			}
		}
	}
	certificates := catalog.Table("certificates")
	t.add(endpoint{pattern: "/certificates/:certificates", verbs: certificateVerbs(item{table: certificates})})
	consumers := consumers{collection{table: catalog.Table("consumers")}}
	t.add(endpoint{pattern: "/consumers", verbs: verbs{"GET": consumers.list}})
}
