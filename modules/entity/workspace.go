package entity

import (
	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// DefaultWorkspace is the one workspace there is: Kong's for declarative
// configurations (kong/constants.lua).
var DefaultWorkspace = uuid.MustParse("0dc6f45b-8f8d-40d2-a504-473544ee190b")

// workspacesTable describes workspaces, so that declarative files which list
// them can be read. They have no endpoints, and no row is ever stored.
func workspacesTable() *schema.Table {
	name := required(utf8Name("name"))
	empty := func(name string) schema.Field {
		return schema.Field{Name: name, Kind: schema.Record, Required: true, Fields: &schema.Fields{}}
	}
	return &schema.Table{
		Name: "workspaces", Key: "name",
		CacheKey: []string{"name"},
		Fields: &schema.Fields{List: []schema.Field{
			idField(),
			name,
			{Name: "comment", Kind: schema.String},
			createdAt(),
			updatedAt(),
			empty("meta"),
			empty("config"),
		}},
	}
}
