// Package store holds the gateway's entities: the rows as they are, the
// transactions that change them, and what a database has to do for both.
//
// The truth in memory is an [Image]: an immutable value with an index for each
// question that is asked of it. A write opens a [Tx] on an image, which
// validates and answers as Kong does and ends in a list of changes. A [Driver]
// makes that list durable; then the transaction's image takes the place of the
// old one. Reads never touch a disk, and all drivers share the constraint code.
package store

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// ID identifies a row within its table.
type ID = uuid.UUID

// A Row is one stored entity. Rows are immutable: they are shared by images,
// changes and drivers, so neither the struct nor the bytes may be written.
type Row struct {
	ID ID

	// Data is the compact JSON that schema.Table.Pack writes. Its "id" is ID.
	Data []byte

	gone int64 // the second since the epoch at which it is no more; 0: it stays

	view atomic.Pointer[any] // see View; the one thing that is written later
}

// View answers the typed view of a row. It is decoded when it is asked for at
// first and then kept with the row, so readers on the data path do not pay
// for it; they must not change it. A row should be read as one type only.
func View[T any](r *Row) (*T, error) {
	if p := r.view.Load(); p != nil {
		if v, ok := (*p).(*T); ok {
			return v, nil
		}
	}
	v, err := entity.Decode[T](r.Data)
	if err != nil {
		return nil, err
	}
	var kept any = v
	r.view.Store(&kept)
	return v, nil
}

// A Change is what a transaction did to one row: an insert has no Before, a
// delete has no After.
type Change struct {
	Table  string
	Before *Row
	After  *Row
}

// ID returns the identifier of the row that changed.
func (c Change) ID() ID {
	if c.After != nil {
		return c.After.ID
	}
	return c.Before.ID
}

// A Problem is a row that could not be taken as it is. A bad row never keeps
// a node from starting; it is reported instead.
type Problem struct {
	Table string
	ID    ID // the zero ID if not even that could be read

	// Reason says what is wrong with the row, for the operator.
	Reason error

	// Kept tells that the row is in the image all the same, such as one whose
	// parent is missing. Otherwise the row is only in the database.
	Kept bool
}

func (p Problem) Error() string {
	return fmt.Sprintf("%s %s: %v", p.Table, p.ID, p.Reason)
}

// Unwrap returns the reason.
func (p Problem) Unwrap() error { return p.Reason }

// Errors for operators. Drivers wrap them with what they know, such as the
// path of a file.
var (
	// ErrLocked: another process has the store open.
	ErrLocked = errors.New("open in another process")

	// ErrNewer: the store was written by a later version of the gateway.
	ErrNewer = errors.New("the store was written by a newer version of the gateway")

	// ErrForeign: what was found is not a store of the gateway.
	ErrForeign = errors.New("not a store of the gateway")

	// ErrClosed: the driver was used after Close.
	ErrClosed = errors.New("the store is closed")
)

// Interface guards
var _ error = Problem{}
