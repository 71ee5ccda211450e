package memory

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/portcullis-gateway/portcullis/modules/store"
)

// A Driver holds rows until it is closed. Commit keeps nothing beyond that:
// after a restart the truth comes from where it came from before.
type Driver struct {
	hash string // set when it is opened

	mu     sync.Mutex
	tables map[string]map[store.ID]*store.Row // protected by mu; nil when closed
}

// Hash is the MD5 sum, in hexadecimal, of the text that the driver was opened
// with; 32 zeros if no entity was in it.
func (d *Driver) Hash() string { return d.hash }

// Load yields the rows, table by table, in the order of their identifiers.
func (d *Driver) Load(ctx context.Context, yield func(table string, r *store.Row, bad error) bool) error {
	d.mu.Lock()
	if d.tables == nil {
		d.mu.Unlock()
		return store.ErrClosed
	}
	content := make(map[string][]*store.Row, len(d.tables))
	for name, rows := range d.tables {
		content[name] = slices.Collect(maps.Values(rows))
	}
	d.mu.Unlock()

	for _, name := range slices.Sorted(maps.Keys(content)) {
		rows := content[name]
		slices.SortFunc(rows, func(a, b *store.Row) int { return bytes.Compare(a.ID[:], b.ID[:]) })
		for _, r := range rows {
			if err := ctx.Err(); err != nil {
				return err
			}
			if !yield(name, r, nil) {
				return nil
			}
		}
	}
	return nil
}

// Commit applies the changes.
func (d *Driver) Commit(ctx context.Context, changes []store.Change) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tables == nil {
		return store.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	d.apply(changes)
	return nil
}

func (d *Driver) apply(changes []store.Change) {
	for _, c := range changes {
		rows := d.tables[c.Table]
		switch {
		case c.After == nil:
			delete(rows, c.Before.ID)
		case rows == nil:
			d.tables[c.Table] = map[store.ID]*store.Row{c.After.ID: c.After}
		default:
			rows[c.After.ID] = c.After
		}
	}
}

// Close lets go of the rows.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tables = nil
	return nil
}

// Interface guards
var _ store.Driver = (*Driver)(nil)
