package entity

import (
	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// KeySet is the typed view of a row of the table key_sets: keys that belong
// together.
type KeySet struct {
	ID        uuid.UUID `json:"id"`
	Name      string    `json:"name"`
	Tags      []string  `json:"tags"`
	CreatedAt int64     `json:"created_at"` // seconds
	UpdatedAt int64     `json:"updated_at"`
}

func keySetsTable() *schema.Table {
	return &schema.Table{
		Name: "key_sets", Path: "key-sets", Key: "name",
		Fields: &schema.Fields{List: []schema.Field{
			idField(),
			{Name: "name", Kind: schema.String, Unique: true, Doc: "The name of the key set."},
			tagsField(),
			createdAt(),
			updatedAt(),
		}},
	}
}
