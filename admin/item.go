package admin

import (
	"errors"
	"net/http"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// An item is the endpoint for one row of a table. Below a parent only rows
// whose field refers to that parent are found.
type item struct {
	table  *schema.Table
	parent *schema.Table // nil: any row
	field  string
}

func (k item) verbs() verbs {
	return verbs{"GET": k.get, "PUT": k.put, "PATCH": k.patch, "DELETE": k.delete}
}

// segment is the part of the path that names the row.
func (k item) segment(c *call) string { return c.params[len(c.params)-1] }

// find answers the row that the path names. The key is set whenever the path
// makes sense.
func (k item) find(c *call, im *store.Image) (*store.Row, store.Key, error) {
	if k.parent == nil {
		return find(im, k.table, k.segment(c))
	}
	parent, _, err := find(im, k.parent, c.params[0])
	if err != nil {
		return nil, store.Key{}, err
	}
	if name := k.name(c); name != "" {
		row := k.named(im, parent.ID, name, k.segment(c))
		if row == nil {
			return nil, store.Key{}, errNotFound
		}
		return row, store.Key{ID: row.ID}, nil
	}
	row, by, err := find(im, k.table, k.segment(c))
	if err != nil {
		return nil, by, err
	}
	if id, _ := reference(im.Object(k.table.Name, row), k.field); id != parent.ID {
		return nil, by, errNotFound
	}
	return row, by, nil
}

// name is the field that the path names the row by, if that can only be done
// below its parent, such as a consumer's group by its name; else it is empty.
func (k item) name(c *call) string {
	if _, is := parseID(k.segment(c)); is {
		return ""
	}
	return k.table.Below(k.field)
}

// named answers the row below a parent whose field has the value, or nil.
func (k item) named(im *store.Image, parent uuid.UUID, field, value string) *store.Row {
	row, _ := im.ByCacheKey(k.table.Name, schema.Object{k.field: refer(parent), field: value})
	return row
}

func (k item) get(c *call) (*answer, error) {
	im := c.world.View().Image
	row, _, err := k.find(c, im)
	if err != nil {
		return nil, err
	}
	return reply(http.StatusOK, show(im, k.table, row))
}

// put creates the row or replaces it. Below a parent it comes to belong to
// that parent.
func (k item) put(c *call) (*answer, error) {
	in := c.input(k.table)
	var obj schema.Object
	err := c.writing(func(t tx) error {
		im := t.Image()
		if k.parent != nil {
			parent, _, err := find(im, k.parent, c.params[0])
			if err != nil {
				return err
			}
			in[k.field] = refer(parent.ID)
			if name := k.name(c); name != "" {
				by := store.Key{ID: uuid.New()}
				if row := k.named(im, parent.ID, name, k.segment(c)); row != nil {
					by.ID = row.ID
				}
				if in[name] == nil {
					in[name] = k.segment(c)
				}
				obj, _, err = t.Upsert(k.table.Name, by, in)
				return err
			}
		}
		by, err := locate(im, k.table, k.segment(c))
		if errors.Is(err, errNoSNI) {
			by, err = store.Key{ID: uuid.New()}, nil
		}
		if err != nil {
			return err
		}
		obj, _, err = t.Upsert(k.table.Name, by, in)
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(http.StatusOK, k.table.Marshal(obj))
}

// patch changes what the body names. Below a parent the row may be given to
// another one.
func (k item) patch(c *call) (*answer, error) {
	var obj schema.Object
	err := c.writing(func(t tx) error {
		im := t.Image()
		row, by, err := k.find(c, im)
		if k.parent != nil && err != nil || by == (store.Key{}) {
			return err
		}
		obj, err = t.Update(k.table.Name, by, k.changes(c, im, row))
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(http.StatusOK, k.table.Marshal(obj))
}

// changes is the body of a PATCH. Those of a form get their types from the
// variant of the stored row, such as the plugin's name, if they do not name
// it themselves.
func (k item) changes(c *call, im *store.Image, row *store.Row) schema.Object {
	variant := k.table.VariantKey
	if !c.form || variant == "" || row == nil || c.body[variant] != nil {
		return c.input(k.table)
	}
	c.body[variant] = im.Object(k.table.Name, row)[variant]
	in := c.input(k.table)
	delete(in, variant)
	return in
}

// delete takes the row out. It is there or not: only below a parent the
// difference shows.
func (k item) delete(c *call) (*answer, error) {
	err := c.writing(func(t tx) error {
		_, by, err := k.find(c, t.Image())
		if k.parent == nil && errors.Is(err, errNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		_, err = t.Delete(k.table.Name, by)
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(http.StatusNoContent, nil)
}
