package store

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// Options are what a transaction needs besides the image.
type Options struct {
	// Now is the time that rows are stamped with. Default: the time of Begin.
	Now time.Time

	// NewID makes the identifiers of rows that bring none. Default: random
	// (version 4).
	NewID func() ID
}

// A Key names a row: by its identifier, or else by a unique field.
type Key struct {
	ID    ID
	Field string
	Value string
}

// A Tx changes an image without touching it: what it writes is seen by its own
// reads only, until someone publishes Image and makes Changes durable. It does
// no input or output and waits for nobody; one that is simply forgotten costs
// nothing.
//
// Each write does all that it has to do or, if it returns an error, nothing.
// Errors that a client of the Admin API may read are *schema.Error in Kong's
// words; any other error is a broken promise between the gateway's own parts.
//
// A Tx belongs to one goroutine.
type Tx struct {
	image   *Image
	owned   []bool // which of image.tables may be written to; nil: image is shared
	env     *schema.Env
	touched map[place]Change
	undo    []undo // since the savepoint, if there is one
	saved   bool
}

// A place is where a row is.
type place struct {
	table int // in layout.shapes
	id    ID
}

// Begin opens a transaction on an image.
func Begin(im *Image, opt Options) *Tx {
	if opt.Now.IsZero() {
		opt.Now = time.Now()
	}
	if opt.NewID == nil {
		opt.NewID = uuid.New
	}
	tx := &Tx{image: im, touched: make(map[place]Change)}
	tx.env = im.Catalog().Env(opt.Now, opt.NewID, tx.resolve)
	return tx
}

// Image returns the state inside the transaction as it is now. Writes that
// follow do not change it.
func (tx *Tx) Image() *Image {
	tx.owned = nil
	return tx.image
}

// Changes returns what the transaction did on the whole: at most one change
// for a row, none for a row that is as it was. First come the deletions,
// children before parents, then the rest, parents before children; within a
// table they are in the order of identifiers.
func (tx *Tx) Changes() []Change {
	places := make([]place, 0, len(tx.touched))
	for p, c := range tx.touched {
		if c.Before == nil && c.After == nil ||
			c.Before != nil && c.After != nil && bytes.Equal(c.Before.Data, c.After.Data) {
			continue
		}
		places = append(places, p)
	}
	slices.SortFunc(places, func(a, b place) int {
		deletesA, deletesB := tx.touched[a].After == nil, tx.touched[b].After == nil
		switch {
		case deletesA && !deletesB:
			return -1
		case deletesB && !deletesA:
			return 1
		case deletesA:
			return cmp.Or(cmp.Compare(b.table, a.table), compareID(a.id, b.id))
		default:
			return cmp.Or(cmp.Compare(a.table, b.table), compareID(a.id, b.id))
		}
	})
	changes := make([]Change, len(places))
	for i, p := range places {
		changes[i] = tx.touched[p]
	}
	return changes
}

// replace writes one row, or deletes it if after is nil.
func (tx *Tx) replace(s *shape, before, after *Row) error {
	var old, now [8]key
	var oldKeys, newKeys []key
	var err error
	if before != nil {
		if oldKeys, err = s.keys(before, old[:0]); err != nil {
			return fmt.Errorf("%s %s: %w", s.Name, before.ID, err)
		}
	}
	if after != nil {
		if newKeys, err = s.keys(after, now[:0]); err != nil {
			return fmt.Errorf("%s %s: %w", s.Name, after.ID, err)
		}
	}
	tx.writable(s).replace(before, after, oldKeys, newKeys)

	p := place{table: s.position}
	if before != nil {
		p.id = before.ID
	} else {
		p.id = after.ID
	}
	c, touched := tx.touched[p]
	if tx.saved {
		tx.undo = append(tx.undo, undo{p, c, touched})
	}
	if !touched {
		c = Change{Table: s.Name, Before: before}
	}
	c.After = after
	tx.touched[p] = c
	return nil
}

// writable returns the transaction's own version of a table.
func (tx *Tx) writable(s *shape) *table {
	if tx.owned == nil {
		tx.owned = make([]bool, len(tx.image.tables))
		tx.image = &Image{layout: tx.image.layout, tables: slices.Clone(tx.image.tables)}
	}
	if !tx.owned[s.position] {
		tx.owned[s.position] = true
		tx.image.tables[s.position] = tx.image.tables[s.position].clone()
	}
	return tx.image.tables[s.position]
}

// An undo is what touched said of a place before a write.
type undo struct {
	place   place
	change  Change
	touched bool
}

// atomically runs a write that may fail after it has begun, and takes back
// what it did if it fails. Within another one it is part of that.
func (tx *Tx) atomically(write func() error) error {
	if tx.saved {
		return write()
	}
	im := tx.Image()
	tx.saved = true
	err := write()
	if err != nil {
		tx.image, tx.owned = im, nil
		for _, u := range slices.Backward(tx.undo) {
			if u.touched {
				tx.touched[u.place] = u.change
			} else {
				delete(tx.touched, u.place)
			}
		}
	}
	tx.saved, tx.undo = false, nil
	return err
}

// resolve finds the row that a reference by another key than the id means.
func (tx *Tx) resolve(table, field, value string) (ID, bool) {
	r, ok := tx.image.ByKey(table, field, value)
	if !ok {
		return ID{}, false
	}
	return r.ID, true
}
