package admin

import (
	"net/http"

	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// A collection is the endpoint for the rows of a table or, if there is a
// parent, for those whose field refers to one row of it.
type collection struct {
	table  *schema.Table
	parent *schema.Table // nil: the whole table
	field  string
}

func (k collection) verbs() verbs {
	if k.parent == nil {
		return verbs{"GET": k.list, "POST": k.create}
	}
	return verbs{"GET": k.listAs(k.table.Path), "POST": k.create}
}

// listAs answers one page of the rows below a parent. The path is that of the
// list below the parent.
func (k collection) listAs(path string) handler {
	return func(c *call) (*answer, error) {
		im := c.world.View().Image
		parent, _, err := find(im, k.parent, c.params[0])
		if err != nil {
			return nil, err
		}
		rows := func(after store.ID, _ int, yield func(*store.Row) bool) {
			im.AscendChildren(k.table.Name, k.field, parent.ID, after, yield)
		}
		next := "/" + k.parent.Path + "/" + escape(c.params[0]) + "/" + path
		return c.list(im, k.table, rows, next, "")
	}
}

// list answers one page of the rows of the table.
func (k collection) list(c *call) (*answer, error) {
	im := c.world.View().Image
	filter, err := c.tagFilter(k.table)
	if err != nil {
		return nil, err
	}
	more := ""
	rows := func(after store.ID, _ int, yield func(*store.Row) bool) { im.Ascend(k.table.Name, after, yield) }
	if filter != nil {
		tags, _ := c.query.get("tags")
		more = "&tags=" + escape(tags)
		rows = func(after store.ID, limit int, yield func(*store.Row) bool) {
			filter.ascend(im, k.table.Name, after, limit, yield)
		}
	}
	if size, n := c.query.get("size"); n > 0 {
		more += "&size=" + escape(size)
	}
	return c.list(im, k.table, rows, "/"+k.table.Path, more)
}

// create adds a row. Below a parent it belongs to that parent, whatever the
// body says.
func (k collection) create(c *call) (*answer, error) {
	in := c.input(k.table)
	var obj schema.Object
	err := c.writing(func(t tx) (err error) {
		if k.parent != nil {
			parent, _, err := find(t.Image(), k.parent, c.params[0])
			if err != nil {
				return err
			}
			in[k.field] = refer(parent.ID)
		}
		obj, err = t.Insert(k.table.Name, in)
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(http.StatusCreated, k.table.Marshal(obj))
}
