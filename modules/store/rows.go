package store

import (
	"errors"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// Object returns the value of a row as clients see it: complete, with what the
// table keeps in other rows. A row that the table cannot read, because it is
// damaged or newer than this version, has its id and nothing else.
func (im *Image) Object(table string, r *Row) schema.Object {
	s := im.layout.byName[table]
	if s == nil {
		return schema.Object{"id": r.ID.String()}
	}
	o := s.object(r)
	if fill := s.Related.Fill; fill != nil {
		fill(rows{image: im}, o)
	}
	return o
}

// object is the value of a row without what is in other rows.
func (s *shape) object(r *Row) schema.Object {
	o, err := s.Unpack(r.Data)
	if err != nil {
		return schema.Object{"id": r.ID.String()}
	}
	return o
}

// errReading is what a hook gets that writes while a row is only read.
var errReading = errors.New("rows cannot be written while one is read")

// rows lends an image or, if tx is set, the state inside a transaction to the
// hooks of a table. Objects come without what their own hooks would fill in.
type rows struct {
	image *Image
	tx    *Tx
}

func (v rows) look(table string) (*Image, *shape) {
	im := v.image
	if v.tx != nil {
		im = v.tx.image
	}
	return im, im.layout.byName[table]
}

// Get implements schema.Rows.
func (v rows) Get(table string, id ID) schema.Object {
	im, s := v.look(table)
	if r, ok := im.Get(table, id); ok {
		return s.object(r)
	}
	return nil
}

// ByKey implements schema.Rows.
func (v rows) ByKey(table, field, value string) schema.Object {
	im, s := v.look(table)
	if r, ok := im.ByKey(table, field, value); ok {
		return s.object(r)
	}
	return nil
}

// Children implements schema.Rows.
func (v rows) Children(table, field string, parent ID, yield func(schema.Object) bool) {
	im, s := v.look(table)
	im.AscendChildren(table, field, parent, ID{}, func(r *Row) bool { return yield(s.object(r)) })
}

// All implements schema.Rows.
func (v rows) All(table string, yield func(schema.Object) bool) {
	im, s := v.look(table)
	im.Ascend(table, ID{}, func(r *Row) bool { return yield(s.object(r)) })
}

// Insert implements schema.Rows.
func (v rows) Insert(table string, input schema.Object) error {
	if v.tx == nil {
		return errReading
	}
	_, err := v.tx.Insert(table, input)
	return err
}

// Delete implements schema.Rows.
func (v rows) Delete(table string, id ID) error {
	if v.tx == nil {
		return errReading
	}
	_, err := v.tx.Delete(table, Key{ID: id})
	return err
}

// Interface guards
var _ schema.Rows = rows{}
