package schema

// Error is a refusal in the shape that Kong's Admin API gives to clients
// (kong/db/errors.lua).
type Error struct {
	// Code is Kong's error number; 0 means that the body is only a message.
	Code int `json:"code"`

	// Name is the fixed name that goes with the code.
	Name string `json:"name"`

	// Message tells a person what was wrong.
	Message string `json:"message"`

	// Fields is the tree of messages by field, nested as the entity is.
	// Messages about the entity as a whole are in a list under "@entity".
	Fields Object `json:"fields,omitempty"`

	// Options takes the place of Fields for codes about query options.
	Options Object `json:"options,omitempty"`
}

func (e *Error) Error() string { return e.Message }

// Kong's error codes.
const (
	CodeInvalidPrimaryKey     = 1
	CodeSchemaViolation       = 2
	CodePrimaryKeyViolation   = 3
	CodeForeignKeyViolation   = 4
	CodeUniqueViolation       = 5
	CodeNotFound              = 6
	CodeInvalidOffset         = 7
	CodeDatabase              = 8
	CodeInvalidSize           = 9
	CodeInvalidUnique         = 10
	CodeInvalidOptions        = 11
	CodeUnsupported           = 12
	CodeForeignKeysUnresolved = 13
	CodeDeclarative           = 14
	CodeReferencedByOthers    = 19
)
