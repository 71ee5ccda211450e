package admin

import (
	"maps"
	"time"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// A tx is what handlers write with: a transaction, or what stands in for one
// when the store takes no single entities.
type tx interface {
	Image() *store.Image
	Insert(table string, in schema.Object) (schema.Object, error)
	Upsert(table string, by store.Key, in schema.Object) (obj schema.Object, created bool, err error)
	Update(table string, by store.Key, in schema.Object) (schema.Object, error)
	Delete(table string, by store.Key) (bool, error)
}

// writing runs fn in a transaction. It returns when the proxy sees what fn
// did, or with the error why nothing was done.
func (c *call) writing(fn func(tx) error) error {
	if c.world.ReadOnly() {
		return fn(newRefusingTx(c.world.View().Image))
	}
	return c.world.Write(c.r.Context(), func(t *store.Tx) error { return fn(t) })
}

// A refusingTx judges what it is asked to write, and then refuses to, in the
// words of Kong without a database (kong/db/strategies/off/init.lua).
type refusingTx struct {
	image *store.Image
	env   *schema.Env
}

func newRefusingTx(im *store.Image) *refusingTx {
	resolve := func(table, field, value string) (uuid.UUID, bool) {
		if row, found := im.ByKey(table, field, value); found {
			return row.ID, true
		}
		return uuid.Nil, false
	}
	return &refusingTx{im, im.Catalog().Env(time.Now(), uuid.New, resolve)}
}

func (t *refusingTx) Image() *store.Image { return t.image }

func (t *refusingTx) Insert(table string, in schema.Object) (schema.Object, error) {
	if _, err := t.process(schema.Insert, table, in, nil); err != nil {
		return nil, err
	}
	return nil, store.ReadOnlyError("POST", table, "")
}

func (t *refusingTx) Upsert(table string, by store.Key, in schema.Object) (schema.Object, bool, error) {
	in = maps.Clone(in)
	if by.Field == "" {
		in["id"] = by.ID.String()
	} else {
		in[by.Field] = by.Value
	}
	if _, err := t.process(schema.Upsert, table, in, nil); err != nil {
		return nil, false, err
	}
	return nil, false, store.ReadOnlyError("PUT", table, by.Field)
}

func (t *refusingTx) Update(table string, by store.Key, in schema.Object) (schema.Object, error) {
	row := lookup(t.image, table, by)
	if row == nil && by.Field == "" {
		return nil, schema.NotFoundByID(by.ID)
	}
	if row == nil {
		return nil, schema.NotFoundByKey(by.Field, by.Value)
	}
	if _, err := t.process(schema.Update, table, in, t.image.Object(table, row)); err != nil {
		return nil, err
	}
	return nil, store.ReadOnlyError("PATCH", table, by.Field)
}

func (t *refusingTx) Delete(table string, by store.Key) (bool, error) {
	if lookup(t.image, table, by) == nil {
		return false, nil
	}
	return false, store.ReadOnlyError("DELETE", table, by.Field)
}

func (t *refusingTx) process(op schema.Op, table string, in, current schema.Object) (schema.Object, error) {
	o, refused := t.image.Catalog().Table(table).Process(op, in, current, t.env)
	if refused != nil {
		return nil, refused
	}
	return o, nil
}

// Interface guards
var (
	_ tx = (*store.Tx)(nil)
	_ tx = (*refusingTx)(nil)
)
