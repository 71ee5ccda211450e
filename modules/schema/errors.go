package schema

import (
	"fmt"

	"github.com/google/uuid"
)

// Error is a refusal in the shape that Kong's Admin API gives to clients
// (kong/db/errors.lua).
type Error struct {
	// Code is Kong's error number; 0 means that the body is only a message.
	Code int `json:"code"`

	// Name is the fixed name that goes with the code.
	Name string `json:"name"`

	// Message tells a person what was wrong.
	Message string `json:"message"`

	// Fields is the tree of messages by field, nested as the entity is: a
	// message, an Object for a record, or a list for an array or set, in
	// which elements without a message are nil. Messages about the entity as
	// a whole are in a list under "@entity".
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

// InvalidPrimaryKey refuses a key in a URL that is no UUID, of an entity that
// has no other key.
func InvalidPrimaryKey() *Error {
	key := Object{"id": "expected a valid UUID"}
	return &Error{Code: CodeInvalidPrimaryKey, Name: "invalid primary key",
		Message: "invalid primary key: '" + lua(key, "") + "'", Fields: key}
}

// Violation reports what is wrong with an entity; see Error.Fields.
func Violation(fields Object) *Error {
	text, n := summary(fields)
	message := "schema violation (" + text + ")"
	if n != 1 {
		message = fmt.Sprintf("%d schema violations (%s)", n, text)
	}
	return &Error{Code: CodeSchemaViolation, Name: "schema violation", Message: message, Fields: fields}
}

// PrimaryKeyViolation refuses to insert a row whose id is taken.
func PrimaryKeyViolation(id uuid.UUID) *Error {
	key := Object{"id": id.String()}
	return &Error{Code: CodePrimaryKeyViolation, Name: "primary key violation",
		Message: "primary key violation on key '" + lua(key, "") + "'", Fields: key}
}

// ForeignMissing refuses a reference in field to a row of table that does not
// exist.
func ForeignMissing(field, table string, id uuid.UUID) *Error {
	key := Object{"id": id.String()}
	return &Error{Code: CodeForeignKeyViolation, Name: "foreign key violation",
		Message: fmt.Sprintf("the foreign key '%s' does not reference an existing '%s' entity.", lua(key, ""), table),
		Fields:  Object{field: key}}
}

// ReferencedBy refuses to delete a row of the table parent, to which one of
// the table child refers.
func ReferencedBy(child, parent string) *Error {
	return &Error{Code: CodeForeignKeyViolation, Name: "foreign key violation",
		Message: fmt.Sprintf("an existing '%s' entity references this '%s' entity", child, parent),
		Fields:  Object{"@referenced_by": child}}
}

// UniqueViolation refuses values that another row has.
func UniqueViolation(keys Object) *Error {
	return &Error{Code: CodeUniqueViolation, Name: "unique constraint violation",
		Message: "UNIQUE violation detected on '" + lua(keys, "") + "'", Fields: keys}
}

// NotFoundByID says that a table has no row of that id.
func NotFoundByID(id uuid.UUID) *Error {
	key := Object{"id": id.String()}
	return &Error{Code: CodeNotFound, Name: "not found",
		Message: "could not find the entity with primary key '" + lua(key, "") + "'", Fields: key}
}

// NotFoundByKey says that no row has that value in a unique field.
func NotFoundByKey(field, value string) *Error {
	key := Object{field: value}
	return &Error{Code: CodeNotFound, Name: "not found",
		Message: "could not find the entity with '" + lua(key, "") + "'", Fields: key}
}

// InvalidOffset refuses the place at which a list should go on.
func InvalidOffset(offset string) *Error {
	return &Error{Code: CodeInvalidOffset, Name: "invalid offset",
		Message: "'" + offset + "' is not a valid offset: bad base64 encoding"}
}

// InvalidSize refuses the length of a list's page.
func InvalidSize(message string) *Error {
	return &Error{Code: CodeInvalidSize, Name: "invalid size", Message: message}
}

// InvalidUnique refuses a key in a URL that the field could never have.
func InvalidUnique(field, message string) *Error {
	return &Error{Code: CodeInvalidUnique, Name: "invalid unique " + field, Message: message}
}

// InvalidOptions refuses a query option, such as tags.
func InvalidOptions(option, message string) *Error {
	return &Error{Code: CodeInvalidOptions, Name: "invalid options",
		Message: fmt.Sprintf("invalid option (%s: %s)", option, message), Options: Object{option: message}}
}

// Unsupported refuses a write that the store cannot do.
func Unsupported(message string) *Error {
	return &Error{Code: CodeUnsupported, Name: "operation unsupported", Message: message}
}

// unresolved is the message about a reference by the unique field key of table
// when no row has that value.
func unresolved(key, value, table string) string {
	return fmt.Sprintf("the foreign key cannot be resolved with '%s' for an existing '%s' entity",
		lua(Object{key: value}, ""), table)
}

// foreignKeysUnresolved refuses references that lead nowhere.
func foreignKeysUnresolved(fields Object) *Error {
	text, n := summary(fields)
	message := "foreign key unresolved (" + text + ")"
	if n != 1 {
		message = fmt.Sprintf("%d foreign keys unresolved (%s)", n, text)
	}
	return &Error{Code: CodeForeignKeysUnresolved, Name: "foreign keys unresolved", Message: message, Fields: fields}
}

// Declarative refuses a declarative configuration; fields are its errors by
// table, position and field.
func Declarative(fields Object) *Error {
	return &Error{Code: CodeDeclarative, Name: "invalid declarative configuration",
		Message: "declarative config is invalid: " + lua(fields, ""), Fields: fields}
}

// ReferencedByOthers refuses to delete a row that others name in a way that
// is no foreign key.
func ReferencedByOthers(message string) *Error {
	return &Error{Code: CodeReferencedByOthers, Name: "referenced by others", Message: message}
}
