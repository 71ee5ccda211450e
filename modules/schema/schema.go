// Package schema holds tables that describe entities, field by field, and
// everything that follows from such a table: normalising, defaults,
// validation, merging, the JSON form and the error that clients read.
package schema

import "github.com/google/uuid"

// An Object is the value of an entity or a nested record: field name to
// value. After Process the values are nil (JSON null), bool, string, int64
// (integer), float64 (number), []any, Object (records and foreign keys, which
// are {"id": "<uuid>"}) or map[string]any (maps).
type Object = map[string]any

// Kind is the type of a field, in Kong's vocabulary.
type Kind string

const (
	String  Kind = "string"
	Integer Kind = "integer"
	Number  Kind = "number"
	Boolean Kind = "boolean"
	Array   Kind = "array"   // order kept
	Set     Kind = "set"     // duplicates removed, first occurrence kept
	Map     Kind = "map"     // keys are strings
	Record  Kind = "record"  // nested fields
	Foreign Kind = "foreign" // {"id": uuid} of another table's row
	JSON    Kind = "json"    // any JSON value, kept as it is
)

// OnDelete says what becomes of a row when the row it refers to is deleted.
type OnDelete string

const (
	Restrict OnDelete = ""        // the parent cannot be deleted
	Cascade  OnDelete = "cascade" // the row goes with its parent
)

// Op is the kind of write that an input object is meant for.
type Op int

const (
	Insert Op = iota // POST: a new row; defaults fill what is absent
	Upsert           // PUT: full replacement; absent fields go back to their defaults
	Update           // PATCH: merged into the current row, then validated as a whole
)

// A Reference is a foreign field of a table.
type Reference struct {
	Field    string // "service"
	Table    string // "services"
	OnDelete OnDelete
}

// Env is what processing needs from outside the table.
type Env struct {
	// Now is the time of the write, in seconds since the epoch with a
	// fraction; integer timestamps drop it.
	Now float64

	// NewID makes the identifier of a row that brings none.
	NewID func() uuid.UUID

	// Resolve answers the identifier of the row of table whose unique field
	// has the value given. If it is nil, only references by id are accepted.
	Resolve func(table, field, value string) (uuid.UUID, bool)

	// Declarative says that the input is of a declarative configuration: there
	// a lifetime that is longer than its field allows is the moment at which it
	// ends.
	Declarative bool
}
