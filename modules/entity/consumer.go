package entity

import (
	"encoding/json"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// Consumer is the typed view of a row of the table consumers: someone who
// uses a service.
type Consumer struct {
	ID        uuid.UUID `json:"id"`
	Username  string    `json:"username"`
	CustomID  string    `json:"custom_id"`
	Tags      []string  `json:"tags"`
	CreatedAt int64     `json:"created_at"` // seconds
	UpdatedAt int64     `json:"updated_at"`

	text string // the ID; empty if the row was not decoded
}

// UnmarshalJSON reads the row, and writes its identifier down.
func (c *Consumer) UnmarshalJSON(data []byte) error {
	type row Consumer
	if err := json.Unmarshal(data, (*row)(c)); err != nil {
		return err
	}
	c.text = c.ID.String()
	return nil
}

// IDText is the ID as text.
func (c *Consumer) IDText() string {
	if c.text == "" {
		return c.ID.String()
	}
	return c.text
}

func consumersTable() *schema.Table {
	return &schema.Table{
		Name: "consumers", Path: "consumers", Key: "username",
		Fields: &schema.Fields{
			List: []schema.Field{
				idField(),
				createdAt(),
				updatedAt(),
				{Name: "username", Kind: schema.String, Unique: true,
					Doc: "The unique name of the consumer. One of username and custom_id must be set."},
				{Name: "custom_id", Kind: schema.String, Unique: true,
					Doc: "An identifier of the consumer in another system. One of username and custom_id must be set."},
				tagsField(),
			},
			Checks: []schema.Check{schema.AtLeastOneOf("custom_id", "username")},
		},
	}
}
