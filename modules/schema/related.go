package schema

import "github.com/google/uuid"

// Rows is the little that hooks may ask of the transaction they run in.
type Rows interface {
	// Get answers the row of that id, or nil.
	Get(table string, id uuid.UUID) Object

	// ByKey answers the row whose single unique field has the value, or nil.
	ByKey(table, field, value string) Object

	// Children calls yield for each row of table whose foreign field points
	// to parent, in the order of their ids, until yield answers false.
	Children(table, field string, parent uuid.UUID, yield func(Object) bool)

	// All calls yield for each row of the table in the order of their ids,
	// until yield answers false.
	All(table string, yield func(Object) bool)

	// Insert, Delete write rows of other tables in the same transaction.
	Insert(table string, input Object) error
	Delete(table string, id uuid.UUID) error
}

// Related is what a table has to say about other rows. Every member may be
// nil. Errors that clients may read are *Error.
type Related struct {
	// Check judges a processed object before it is written. current is the
	// row it replaces, or nil.
	Check func(rows Rows, op Op, o, current Object) *Error

	// Written runs after the object was written, with what the client sent
	// for transient fields still in it.
	Written func(rows Rows, op Op, o Object) error

	// Deleting judges the deletion of a row, after foreign keys have.
	Deleting func(rows Rows, o Object) *Error

	// Fill sets the transient fields of an object that was read.
	Fill func(rows Rows, o Object)
}
