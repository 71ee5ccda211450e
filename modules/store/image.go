package store

import (
	"context"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// An Image is all rows at one moment, indexed. It never changes: any number
// of goroutines may read it, for as long as they like. Memory that no image
// uses any more is left to the garbage collector.
//
// Methods that take the name of a table or a field which does not exist find
// nothing.
type Image struct {
	layout *layout
	tables []*table // as layout.shapes
}

// NewImage returns an image without rows for the tables of the catalog.
func NewImage(c *entity.Catalog) *Image {
	l := newLayout(c)
	im := &Image{layout: l, tables: make([]*table, len(l.shapes))}
	for i, s := range l.shapes {
		im.tables[i] = newTable(s)
	}
	return im
}

// Catalog returns the tables that the image was made for.
func (im *Image) Catalog() *entity.Catalog { return im.layout.catalog }

func (im *Image) lookup(name string) (*shape, *table) {
	s := im.layout.byName[name]
	if s == nil {
		return nil, nil
	}
	return s, im.tables[s.position]
}

// Get returns the row of a table with the identifier.
func (im *Image) Get(table string, id ID) (*Row, bool) {
	_, t := im.lookup(table)
	if t == nil {
		return nil, false
	}
	return shown(t.get(id))
}

// ByKey returns the row whose unique field has the value. For a unique foreign
// field the value is the parent's identifier.
func (im *Image) ByKey(table, field, value string) (*Row, bool) {
	s, t := im.lookup(table)
	if t == nil {
		return nil, false
	}
	if field == "id" {
		return nil, false // that is Get
	}
	i := s.index(unique, field)
	if i < 0 {
		return nil, false
	}
	return shown(t.first(i, value))
}

// ByCacheKey returns the row that agrees with o, a processed object, in all
// fields of the table's composite key (schema.Table.CacheKey), null being a
// value like any other. A table without such a key has no such row.
func (im *Image) ByCacheKey(table string, o schema.Object) (*Row, bool) {
	s, t := im.lookup(table)
	if t == nil {
		return nil, false
	}
	i := s.index(composite, "")
	if i < 0 {
		if len(s.CacheKey) == 1 && o[s.CacheKey[0]] != nil {
			return im.ByKey(table, s.CacheKey[0], schema.KeyText(o[s.CacheKey[0]]))
		}
		return nil, false
	}
	return shown(t.first(i, s.compositeKey(s.indexes[i], o)))
}

// Ascend yields the rows of a table in the order of their identifiers,
// beginning behind after; the zero ID is before all.
func (im *Image) Ascend(table string, after ID, yield func(*Row) bool) {
	_, t := im.lookup(table)
	if t == nil {
		return
	}
	t.rows.Ascend(&Row{ID: after}, func(r *Row) bool {
		return r.ID == after && after != ID{} || !r.alive() || yield(r)
	})
}

// shown answers a row that is there.
func shown(r *Row) (*Row, bool) {
	if r == nil || !r.alive() {
		return nil, false
	}
	return r, true
}

// AscendChildren yields the rows of a table whose foreign field refers to
// parent, as Ascend does.
func (im *Image) AscendChildren(table, field string, parent ID, after ID, yield func(*Row) bool) {
	im.ascend(table, children, field, parent.String(), after, living(yield))
}

// AscendTag yields the rows of a table that bear the tag, as Ascend does.
func (im *Image) AscendTag(table, tag string, after ID, yield func(*Row) bool) {
	im.ascend(table, tags, "tags", tag, after, living(yield))
}

func living(yield func(*Row) bool) func(*Row) bool {
	return func(r *Row) bool { return !r.alive() || yield(r) }
}

func (im *Image) ascend(table string, kind indexKind, field, text string, after ID, yield func(*Row) bool) {
	s, t := im.lookup(table)
	if t == nil {
		return
	}
	if i := s.index(kind, field); i >= 0 {
		t.ascend(i, text, after, yield)
	}
}

// A Tagging is one tag of one row.
type Tagging struct {
	Table, Tag string
	ID         ID
}

// Tags yields every tag of every row, table by table in the catalog's order,
// sorted by tag and then by identifier, beginning behind after; the zero
// Tagging is before all.
func (im *Image) Tags(after Tagging, yield func(Tagging) bool) {
	for i, s := range im.layout.shapes {
		at := s.index(tags, "tags")
		if at < 0 || after.Table != "" && after.Table != s.Name {
			continue
		}
		more := true
		pivot := entry{after.Tag, &Row{ID: after.ID}}
		im.tables[i].indexes[at].Ascend(pivot, func(e entry) bool {
			if after.Table != "" && compareEntry(e, pivot) == 0 {
				return true
			}
			more = !e.row.alive() || yield(Tagging{s.Name, e.text, e.row.ID})
			return more
		})
		after = Tagging{}
		if !more {
			return
		}
	}
}

// Len returns the number of rows of a table.
func (im *Image) Len(table string) int {
	_, t := im.lookup(table)
	if t == nil {
		return 0
	}
	return t.rows.Len()
}

// Load yields all rows, so that an image can be loaded from another one, as
// when the tables of a catalog change.
func (im *Image) Load(ctx context.Context, yield func(table string, r *Row, bad error) bool) error {
	for i, s := range im.layout.shapes {
		more := true
		im.tables[i].rows.Scan(func(r *Row) bool {
			more = yield(s.Name, r, nil)
			return more
		})
		if err := ctx.Err(); err != nil || !more {
			return err
		}
	}
	return nil
}

// Interface guards
var _ Loader = (*Image)(nil)
