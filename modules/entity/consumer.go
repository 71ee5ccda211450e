package entity

import "github.com/google/uuid"

// Consumer is the typed view of a row of the table consumers: someone who
// uses a service.
type Consumer struct {
	ID       uuid.UUID `json:"id"`
	Username string    `json:"username"`
	CustomID string    `json:"custom_id"`
	Tags     []string  `json:"tags"`
}
