package entity

import (
	"encoding/json"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// Vault is the typed view of a row of the table vaults: where secrets that
// others refer to are.
type Vault struct {
	ID          uuid.UUID       `json:"id"`
	Prefix      string          `json:"prefix"`
	Name        string          `json:"name"` // the type of the vault, "env"
	Description string          `json:"description"`
	Config      json.RawMessage `json:"config"`
	Tags        []string        `json:"tags"`
	CreatedAt   int64           `json:"created_at"` // seconds
	UpdatedAt   int64           `json:"updated_at"`
}

func vaultsTable() *schema.Table {
	return &schema.Table{
		Name: "vaults", Path: "vaults", Key: "prefix",
		CacheKey:     []string{"prefix"},
		VariantKey:   "name",
		VariantError: "vault '%s' is not installed",
		Variants: map[string]*schema.Fields{
			"env": {List: []schema.Field{
				{Name: "config", Kind: schema.Record, Required: true, Fields: &schema.Fields{List: []schema.Field{
					{Name: "prefix", Kind: schema.String, Doc: "What the names of the environment variables start with.",
						Rules: []schema.Rule{schema.Match("^[%a_-][%a%d_-]*$", environmentName)}},
				}}},
			}},
		},
		Fields: &schema.Fields{List: []schema.Field{
			idField(),
			{Name: "prefix", Kind: schema.String, Required: true, Unique: true, NotOneOf: schema.Values("env"),
				Doc:   "The name of the vault in references.",
				Rules: []schema.Rule{schema.Match("^[a-z][a-z%d-]-[a-z%d]+$", vaultPrefix)}},
			{Name: "name", Kind: schema.String, Required: true, Doc: "The type of the vault."},
			{Name: "description", Kind: schema.String, Doc: "What the vault is for."},
			{Name: "config", Kind: schema.Record, Abstract: true, Doc: "Settings, depending on the type."},
			createdAt(),
			updatedAt(),
			tagsField(),
		}},
	}
}

// vaultPrefix wants two or more lower-case letters, digits and dashes that
// start with a letter and do not end with a dash.
func vaultPrefix(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter, digit := 'a' <= c && c <= 'z', '0' <= c && c <= '9'
		if !letter && (i == 0 || !digit && (c != '-' || i == len(s)-1)) {
			return false
		}
	}
	return len(s) >= 2
}

func environmentName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !alphanumeric(c) && c != '_' && c != '-' || i == 0 && '0' <= c && c <= '9' {
			return false
		}
	}
	return s != ""
}
