package store

import (
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// Insert adds a row made from what a client sent (POST) and returns it as
// clients see it.
func (tx *Tx) Insert(table string, in schema.Object) (schema.Object, error) {
	s, err := tx.shape(table)
	if err != nil {
		return nil, err
	}
	obj, refused := s.Process(schema.Insert, in, nil, tx.env)
	if refused != nil {
		return nil, refused
	}
	return tx.write(s, schema.Insert, obj, nil)
}

// Upsert puts what a client sent (PUT) in the place that by names, and tells
// whether there was nothing before. A row that is replaced keeps its
// identifier, and nothing else that in does not say.
func (tx *Tx) Upsert(table string, by Key, in schema.Object) (obj schema.Object, created bool, err error) {
	s, err := tx.shape(table)
	if err != nil {
		return nil, false, err
	}
	before := tx.find(s, by)
	in = maps.Clone(in)
	if in == nil {
		in = schema.Object{}
	}
	switch {
	case before != nil:
		in["id"] = before.ID.String()
	case by.Field == "":
		in["id"] = by.ID.String()
	default:
		delete(in, "id")
	}
	if by.Field != "" {
		in[by.Field] = by.Value
	}
	obj, refused := s.Process(schema.Upsert, in, tx.object(s, before), tx.env)
	if refused != nil {
		return nil, false, refused
	}
	obj, err = tx.write(s, schema.Upsert, obj, before)
	return obj, before == nil && err == nil, err
}

// Update merges what a client sent (PATCH) into the row that by names. The
// error is code 6 if there is none.
func (tx *Tx) Update(table string, by Key, in schema.Object) (schema.Object, error) {
	s, err := tx.shape(table)
	if err != nil {
		return nil, err
	}
	before := tx.find(s, by)
	if before == nil {
		return nil, notFound(by)
	}
	if in["id"] != nil {
		in = maps.Clone(in)
		delete(in, "id")
	}
	obj, refused := s.Process(schema.Update, in, tx.object(s, before), tx.env)
	if refused != nil {
		return nil, refused
	}
	return tx.write(s, schema.Update, obj, before)
}

// Put writes an object that schema.Table.Process or an export made, over the
// row with the same identifier if there is one. It neither stamps nor
// completes it, and runs no hooks; unique keys and references are checked.
func (tx *Tx) Put(table string, obj schema.Object) error {
	s, err := tx.shape(table)
	if err != nil {
		return err
	}
	id, err := identifier(obj)
	if err != nil {
		return fmt.Errorf("%s: %w", table, err)
	}
	if err := tx.check(s, obj, id); err != nil {
		return err
	}
	before := tx.table(s).get(id)
	return tx.replace(s, before, &Row{ID: id, Data: s.Pack(tx.seal(s, obj, before))})
}

// seal answers the object with its sealed fields as they are to be stored in
// the place of before.
func (tx *Tx) seal(s *shape, obj schema.Object, before *Row) schema.Object {
	var now schema.Object
	return s.Seal(obj, func(field string) any {
		if now == nil && before != nil {
			now = tx.object(s, before)
		}
		return now[field]
	})
}

// write checks a processed object against the other rows and stores it in the
// place of before, which is nil for a new row.
func (tx *Tx) write(s *shape, op schema.Op, obj schema.Object, before *Row) (schema.Object, error) {
	id, err := identifier(obj)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	if before == nil && tx.table(s).get(id) != nil {
		return nil, schema.PrimaryKeyViolation(id)
	}
	if check := s.Related.Check; check != nil {
		if refused := check(rows{tx: tx}, op, obj, tx.object(s, before)); refused != nil {
			return nil, refused
		}
	}
	if err := tx.check(s, obj, id); err != nil {
		return nil, err
	}
	after := &Row{ID: id, Data: s.Pack(tx.seal(s, obj, before))}
	if s.Related.Written == nil {
		err = tx.replace(s, before, after)
	} else {
		err = tx.atomically(func() error {
			if err := tx.replace(s, before, after); err != nil {
				return err
			}
			return s.Related.Written(rows{tx: tx}, op, obj)
		})
	}
	if err != nil {
		return nil, err
	}
	if fill := s.Related.Fill; fill != nil {
		fill(rows{tx: tx}, obj)
	}
	return obj, nil
}

// check refuses an object whose unique keys another row has, or that refers to
// a row which is not there.
func (tx *Tx) check(s *shape, obj schema.Object, id ID) error {
	t := tx.table(s)
	for i, ix := range s.indexes {
		field := s.fields[ix.parts[0]]
		switch ix.kind {
		case unique:
			if obj[field] == nil {
				continue
			}
			if r := t.first(i, schema.KeyText(obj[field])); r != nil && r.ID != id {
				return schema.UniqueViolation(schema.Object{field: obj[field]})
			}
		case composite:
			if r := t.first(i, s.compositeKey(ix, obj)); r != nil && r.ID != id {
				keys := make(schema.Object, len(ix.parts))
				for _, at := range ix.parts {
					keys[s.fields[at]] = obj[s.fields[at]]
				}
				return schema.UniqueViolation(keys)
			}
		}
	}
	for _, ref := range s.references {
		if obj[ref.Field] == nil {
			continue
		}
		parent, err := uuid.Parse(schema.KeyText(obj[ref.Field]))
		if err != nil {
			return fmt.Errorf("%s: %s: %w", s.Name, ref.Field, err)
		}
		if _, ok := tx.image.Get(ref.Table, parent); !ok {
			return schema.ForeignMissing(ref.Field, ref.Table, parent)
		}
	}
	return nil
}

// Delete takes the row that by names out, with all rows that go with it. It
// answers false if there is no such row, and code 4 (or 19) if a row that
// stays refers to one that would go.
func (tx *Tx) Delete(table string, by Key) (bool, error) {
	s, err := tx.shape(table)
	if err != nil {
		return false, err
	}
	row := tx.find(s, by)
	if row == nil {
		return false, nil
	}
	return true, tx.deleteRow(s, row)
}

func (tx *Tx) deleteRow(s *shape, row *Row) error {
	going, err := tx.goingWith(s, row)
	if err != nil {
		return err
	}
	for _, p := range slices.Backward(going) {
		if err := tx.replace(p.shape, p.row, nil); err != nil {
			return err
		}
	}
	return nil
}

type placed struct {
	shape *shape
	row   *Row
}

// goingWith lists the rows that are deleted when row is: row itself, then
// those that refer to a row in the list and go with it. It is an error if a
// row outside of the list refers to one in it.
func (tx *Tx) goingWith(s *shape, row *Row) ([]placed, error) {
	list := []placed{{s, row}}
	in := map[*Row]bool{row: true}
	each := func(p placed, on schema.OnDelete, yield func(c entity.Child, r *Row) bool) {
		for _, c := range p.shape.children {
			if c.OnDelete == on {
				tx.image.ascend(c.Table.Name, children, c.Field, p.row.ID.String(), ID{}, func(r *Row) bool { return yield(c, r) })
			}
		}
	}
	for i := 0; i < len(list); i++ {
		each(list[i], schema.Cascade, func(c entity.Child, r *Row) bool {
			if !in[r] {
				in[r] = true
				list = append(list, placed{tx.image.layout.byName[c.Table.Name], r})
			}
			return true
		})
	}
	for _, p := range list {
		var refused *schema.Error
		each(p, schema.Restrict, func(c entity.Child, r *Row) bool {
			if !in[r] {
				refused = schema.ReferencedBy(c.Table.Name, p.shape.Name)
			}
			return refused == nil
		})
		if deleting := p.shape.Related.Deleting; refused == nil && deleting != nil {
			refused = deleting(rows{tx: tx}, tx.object(p.shape, p.row))
		}
		if refused != nil {
			return nil, refused
		}
	}
	return list, nil
}

func (tx *Tx) shape(table string) (*shape, error) {
	s := tx.image.layout.byName[table]
	if s == nil {
		return nil, fmt.Errorf("there is no table %q", table)
	}
	return s, nil
}

func (tx *Tx) table(s *shape) *table { return tx.image.tables[s.position] }

// find returns the row that by names, nil if there is none.
func (tx *Tx) find(s *shape, by Key) *Row {
	if by.Field == "" {
		r, _ := shown(tx.table(s).get(by.ID))
		return r
	}
	r, _ := tx.image.ByKey(s.Name, by.Field, by.Value)
	return r
}

// object is the value of a row, nil for no row.
func (tx *Tx) object(s *shape, r *Row) schema.Object {
	if r == nil {
		return nil
	}
	return tx.image.Object(s.Name, r)
}

func notFound(by Key) *schema.Error {
	if by.Field == "" {
		return schema.NotFoundByID(by.ID)
	}
	return schema.NotFoundByKey(by.Field, by.Value)
}

// identifier reads the id of a processed object.
func identifier(o schema.Object) (ID, error) {
	id, err := uuid.Parse(schema.KeyText(o["id"]))
	if err != nil {
		return ID{}, fmt.Errorf("id: %w", err)
	}
	return id, nil
}
