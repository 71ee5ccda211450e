package entity

import (
	"encoding/json"

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
	Tags         []string        `json:"tags"`
}

func (k PluginKind) fields() *schema.Fields { return &schema.Fields{} }
