package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// Load builds the image of what a store holds. Rows that are broken, repeat
// another's identifier or unique key, or belong to a table that the catalog
// does not have are left out and reported; rows whose parent is missing are
// reported and kept, so that someone can mend or delete them.
//
// An error means that the store could not be read, or that ctx ended.
func Load(ctx context.Context, c *entity.Catalog, from Loader) (*Image, []Problem, error) {
	im := NewImage(c)
	b := &builder{
		layout:  im.layout,
		rows:    make([][]*Row, len(im.tables)),
		entries: make([][][]entry, len(im.tables)),
	}
	for i, s := range im.layout.shapes {
		b.entries[i] = make([][]entry, len(s.indexes))
	}
	err := from.Load(ctx, func(table string, r *Row, bad error) bool {
		b.add(table, r, bad)
		return true
	})
	if err != nil {
		return nil, nil, err
	}
	for i, t := range im.tables {
		b.dropTwins(im.layout.shapes[i])
		t.fill(b.rows[i], b.entries[i])
	}
	for i, t := range im.tables {
		b.dropRivals(im.layout.shapes[i], t)
	}
	for i := range im.tables {
		b.findOrphans(im, i)
	}
	return im, b.problems, nil
}

// A builder collects what Load is given.
type builder struct {
	layout   *layout
	rows     [][]*Row    // as layout.shapes
	entries  [][][]entry // by shape, by index
	keys     []key       // reused
	problems []Problem
}

func (b *builder) add(table string, r *Row, bad error) {
	if r == nil {
		r = &Row{}
	}
	s := b.layout.byName[table]
	if bad == nil && s == nil {
		bad = errors.New("no such table in this build")
	}
	if bad == nil {
		b.keys, bad = s.keys(r, b.keys[:0])
	}
	if bad != nil {
		b.report(table, r, bad, false)
		return
	}
	b.rows[s.position] = append(b.rows[s.position], r)
	for _, k := range b.keys {
		es := &b.entries[s.position][k.index]
		*es = append(*es, entry{k.text, r})
	}
}

func (b *builder) report(table string, r *Row, reason error, kept bool) {
	b.problems = append(b.problems, Problem{Table: table, ID: r.ID, Reason: reason, Kept: kept})
}

// dropTwins sorts the rows of a table and leaves out those with an identifier
// that came before.
func (b *builder) dropTwins(s *shape) {
	rows := b.rows[s.position]
	slices.SortStableFunc(rows, func(a, b *Row) int { return compareID(a.ID, b.ID) })
	twins := make(map[*Row]bool)
	for i := 1; i < len(rows); i++ {
		if rows[i].ID == rows[i-1].ID {
			twins[rows[i]] = true
			b.report(s.Name, rows[i], errors.New("a row with this id came before"), false)
		}
	}
	if len(twins) == 0 {
		return
	}
	b.rows[s.position] = slices.DeleteFunc(rows, func(r *Row) bool { return twins[r] })
	for i, es := range b.entries[s.position] {
		b.entries[s.position][i] = slices.DeleteFunc(es, func(e entry) bool { return twins[e.row] })
	}
}

// dropRivals takes rows out that hold a unique key of a row before them.
func (b *builder) dropRivals(s *shape, t *table) {
	rivals := make(map[*Row]error)
	for i, ix := range s.indexes {
		if ix.kind != unique && ix.kind != composite {
			continue
		}
		var holder entry
		t.indexes[i].Scan(func(e entry) bool {
			if _, out := rivals[e.row]; out {
				return true
			}
			if holder.row != nil && holder.text == e.text {
				rivals[e.row] = fmt.Errorf("%s %q belongs to the row %s already", s.fields[ix.parts[0]], e.text, holder.row.ID)
				return true
			}
			holder = e
			return true
		})
	}
	for r, reason := range rivals {
		keys, _ := s.keys(r, nil) // it was read before
		t.replace(r, nil, keys, nil)
		b.report(s.Name, r, reason, false)
	}
}

// findOrphans reports the rows of a table that refer to rows which are not
// there.
func (b *builder) findOrphans(im *Image, position int) {
	s := b.layout.shapes[position]
	for _, ref := range s.references {
		i := s.index(children, ref.Field)
		parent, there := "", true
		im.tables[position].indexes[i].Scan(func(e entry) bool {
			if e.text != parent {
				parent = e.text
				id, err := uuid.Parse(parent)
				_, there = im.Get(ref.Table, id)
				there = there && err == nil
			}
			if !there {
				b.report(s.Name, e.row, fmt.Errorf("%s: there is no row %s in %s", ref.Field, parent, ref.Table), true)
			}
			return true
		})
	}
}
