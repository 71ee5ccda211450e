package entity

import (
	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// Target is the typed view of a row of the table targets: one address of an
// upstream.
type Target struct {
	ID        uuid.UUID `json:"id"`
	Upstream  Ref       `json:"upstream"`
	Target    string    `json:"target"` // host:port
	Weight    int       `json:"weight"`
	Tags      []string  `json:"tags"`
	CreatedAt float64   `json:"created_at"` // seconds, with milliseconds
	UpdatedAt float64   `json:"updated_at"`
}

func targetsTable() *schema.Table {
	created, updated := createdAt(), updatedAt()
	created.Kind, updated.Kind = schema.Number, schema.Number
	return &schema.Table{
		Name: "targets", Path: "targets", Key: "target",
		CacheKey: []string{"upstream", "target"},
		Fields: &schema.Fields{List: []schema.Field{
			idField(),
			created,
			updated,
			required(documented(foreign("upstream", "upstreams", schema.Cascade), "The upstream that the target belongs to.")),
			{Name: "target", Kind: schema.String, Required: true,
				Doc:   "The target's host name or address, and its port.",
				Rules: []schema.Rule{schema.Custom(checkTarget)}},
			{Name: "weight", Kind: schema.Integer, Default: int64(100), Between: []float64{0, 65535},
				Doc: "The share of the upstream's traffic that this target gets."},
			tagsField(),
		}},
		Transform: func(o schema.Object) { o["target"] = NormalTarget(o["target"].(string)) },
	}
}

func checkTarget(s string) string {
	if _, err := parseHost(s); err == nil {
		return ""
	}
	if checkUTF8(s) != "" {
		return "Invalid target; not a valid hostname or ip address"
	}
	return "Invalid target ('" + s + "'); not a valid hostname or ip address"
}
