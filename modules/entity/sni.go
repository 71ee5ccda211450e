package entity

import (
	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// SNI is the typed view of a row of the table snis: a name that a certificate
// serves. The name "*" serves those that no other name does.
type SNI struct {
	ID          uuid.UUID `json:"id"`
	Name        string    `json:"name"`
	Certificate Ref       `json:"certificate"`
	Tags        []string  `json:"tags"`
	CreatedAt   int64     `json:"created_at"` // seconds
	UpdatedAt   int64     `json:"updated_at"`
}

func snisTable() *schema.Table {
	name := required(wildcardHost("name"))
	name.Unique = true
	return &schema.Table{
		Name: "snis", Path: "snis", Key: "name",
		Fields: &schema.Fields{List: []schema.Field{
			idField(),
			name,
			createdAt(),
			updatedAt(),
			tagsField(),
			required(documented(foreign("certificate", "certificates", schema.Cascade),
				"The certificate that is served under the name.")),
		}},
	}
}
