package store

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/tidwall/btree"
)

// A table holds the rows of one table and their indexes. Once a table is part
// of a published image it is never changed; a transaction works on a clone,
// which shares all nodes of the trees until it writes to them.
type table struct {
	mu      sync.Mutex // held while the trees are cloned: that marks them
	rows    *btree.BTreeG[*Row]
	indexes []*btree.BTreeG[entry] // as shape.indexes
}

// An entry stands for a row in an index. Rows with the same text (children of
// one parent, bearers of one tag) are in the order of their identifiers.
type entry struct {
	text string
	row  *Row
}

func compareID(a, b ID) int { return bytes.Compare(a[:], b[:]) }

func lessRow(a, b *Row) bool { return compareID(a.ID, b.ID) < 0 }

func compareEntry(a, b entry) int {
	return cmp.Or(strings.Compare(a.text, b.text), compareID(a.row.ID, b.row.ID))
}

func lessEntry(a, b entry) bool { return compareEntry(a, b) < 0 }

func newTable(s *shape) *table {
	t := &table{
		rows:    btree.NewBTreeGOptions(lessRow, btree.Options{NoLocks: true}),
		indexes: make([]*btree.BTreeG[entry], len(s.indexes)),
	}
	for i := range t.indexes {
		t.indexes[i] = btree.NewBTreeGOptions(lessEntry, btree.Options{NoLocks: true})
	}
	return t
}

// clone returns a table with the same content that may be written to.
func (t *table) clone() *table {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := &table{rows: t.rows.Copy(), indexes: make([]*btree.BTreeG[entry], len(t.indexes))}
	for i, ix := range t.indexes {
		c.indexes[i] = ix.Copy()
	}
	return c
}

// pivots are rows that say where in a tree to look.
var pivots = sync.Pool{New: func() any { return new(Row) }}

// get returns the row with the identifier, nil if there is none.
func (t *table) get(id ID) *Row {
	at := pivots.Get().(*Row)
	at.ID = id
	r, _ := t.rows.Get(at)
	pivots.Put(at)
	return r
}

// first returns the first row with the text in an index, nil if there is none.
func (t *table) first(index int, text string) *Row {
	var found *Row
	t.ascend(index, text, ID{}, func(r *Row) bool {
		found = r
		return false
	})
	return found
}

// ascend yields the rows with the text in an index whose identifier is greater
// than after. The zero identifier is less than any row's.
func (t *table) ascend(index int, text string, after ID, yield func(*Row) bool) {
	at := pivots.Get().(*Row)
	defer pivots.Put(at)
	at.ID = after
	t.indexes[index].Ascend(entry{text, at}, func(e entry) bool {
		if e.text != text {
			return false
		}
		return e.row.ID == after && after != ID{} || yield(e.row)
	})
}

// replace takes before out and puts after in, with their keys; either may be
// nil.
func (t *table) replace(before, after *Row, old, now []key) {
	for _, k := range old {
		if after == nil || after.ID != before.ID || !slices.Contains(now, k) {
			t.indexes[k.index].Delete(entry{k.text, before})
		}
	}
	if after == nil {
		t.rows.Delete(before)
		return
	}
	t.rows.Set(after)
	for _, k := range now {
		t.indexes[k.index].Set(entry{k.text, after})
	}
}

// fill builds the trees of an empty table from its rows, which are sorted, and
// their entries, which it sorts: appending to a tree is several times faster
// than inserting.
func (t *table) fill(rows []*Row, entries [][]entry) {
	for _, r := range rows {
		t.rows.Load(r)
	}
	for i, es := range entries {
		slices.SortFunc(es, compareEntry)
		for _, e := range es {
			t.indexes[i].Load(e)
		}
	}
}
