package admin

import (
	"net/http"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// A related endpoint stands for the row that a foreign field refers to, such
// as /routes/:routes/service.
type related struct {
	table  *schema.Table
	field  string
	target *schema.Table
}

func (k related) verbs() verbs {
	return verbs{"GET": k.get, "PUT": k.put, "PATCH": k.patch, "DELETE": k.delete}
}

// find answers the row that the path names, and the identifier of what it
// refers to: the zero one if the field is null.
func (k related) find(c *call, im *store.Image) (*store.Row, uuid.UUID, error) {
	row, _, err := find(im, k.table, c.params[0])
	if err != nil {
		return nil, uuid.Nil, err
	}
	id, _ := reference(im.Object(k.table.Name, row), k.field)
	return row, id, nil
}

func (k related) get(c *call) (*answer, error) {
	im := c.world.View().Image
	_, id, err := k.find(c, im)
	if err != nil {
		return nil, err
	}
	row, found := im.Get(k.target.Name, id)
	if !found {
		return nil, errNotFound
	}
	return reply(http.StatusOK, show(im, k.target, row))
}

// put replaces what the field refers to. If that is nothing yet, a row is
// made and linked.
func (k related) put(c *call) (*answer, error) {
	in := c.input(k.target)
	var obj schema.Object
	err := c.writing(func(t tx) error {
		row, id, err := k.find(c, t.Image())
		if err != nil {
			return err
		}
		link := id == uuid.Nil
		if link {
			id = uuid.New()
		}
		if obj, _, err = t.Upsert(k.target.Name, store.Key{ID: id}, in); err != nil || !link {
			return err
		}
		_, err = t.Update(k.table.Name, store.Key{ID: row.ID}, schema.Object{k.field: refer(id)})
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(http.StatusOK, k.target.Marshal(obj))
}

func (k related) patch(c *call) (*answer, error) {
	in := c.input(k.target)
	var obj schema.Object
	err := c.writing(func(t tx) error {
		_, id, err := k.find(c, t.Image())
		if err != nil {
			return err
		}
		if id == uuid.Nil {
			return errNotFound
		}
		obj, err = t.Update(k.target.Name, store.Key{ID: id}, in)
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(http.StatusOK, k.target.Marshal(obj))
}

// delete is refused in Kong: the row would lose what it needs.
func (k related) delete(c *call) (*answer, error) {
	_, id, err := k.find(c, c.world.View().Image)
	if err != nil {
		return nil, err
	}
	if id == uuid.Nil {
		return nil, errNotFound
	}
	return nil, errMethod
}
