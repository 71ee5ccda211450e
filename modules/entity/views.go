package entity

import (
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
)

// Ref is a foreign key.
type Ref struct {
	ID uuid.UUID `json:"id"`
}

// Decode reads the typed view of a stored row (the form that
// schema.Table.Pack writes). The row was validated when it was written, so an
// error means that the table and the view disagree.
func Decode[T any](data []byte) (*T, error) {
	v := new(T)
	if err := json.Unmarshal(data, v); err != nil {
		return nil, fmt.Errorf("decoding %T: %w", v, err)
	}
	return v, nil
}
