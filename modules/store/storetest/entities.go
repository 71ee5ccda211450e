package storetest

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// testEntities writes real entities through transactions, as a node does, and
// compares the image that a restart would load with the one in memory.
func testEntities(t *testing.T, p Place) {
	d := open(t, p)
	c := entity.NewCatalog(nil)
	im := store.NewImage(c)
	write := func(fn func(tx *store.Tx) error) {
		t.Helper()
		tx := store.Begin(im, store.Options{})
		if err := fn(tx); err != nil {
			t.Fatal(err)
		}
		commit(t, d, tx.Changes()...)
		im = tx.Image()
	}
	write(func(tx *store.Tx) error {
		for i := range 20 {
			name := fmt.Sprintf("service-%d", i)
			if _, err := tx.Insert("services", schema.Object{"name": name, "host": "example.com"}); err != nil {
				return err
			}
			route := schema.Object{"name": name, "paths": []any{"/" + name}, "service": schema.Object{"name": name}, "tags": []any{"odd & \"quoted\"", "naïve"}}
			if _, err := tx.Insert("routes", route); err != nil {
				return err
			}
		}
		_, err := tx.Insert("upstreams", schema.Object{"name": "pool"})
		return err
	})
	write(func(tx *store.Tx) error {
		if _, err := tx.Delete("routes", store.Key{Field: "name", Value: "service-3"}); err != nil {
			return err
		}
		if _, err := tx.Delete("services", store.Key{Field: "name", Value: "service-3"}); err != nil {
			return err
		}
		_, err := tx.Update("services", store.Key{Field: "name", Value: "service-4"}, schema.Object{"name": "renamed"})
		return err
	})

	d = reopen(t, p, d)
	loaded, problems, err := store.Load(t.Context(), c, d)
	if err != nil || len(problems) > 0 {
		t.Fatalf("loading: %v, problems %v", err, problems)
	}
	for _, table := range c.Tables() {
		if want, got := objects(im, table.Name), objects(loaded, table.Name); !cmp.Equal(want, got) {
			t.Errorf("%s (-want +got):\n%s", table.Name, cmp.Diff(want, got))
		}
	}
	if _, ok := loaded.ByKey("services", "name", "renamed"); !ok {
		t.Error("the renamed service is not found by its name")
	}
}

func objects(im *store.Image, table string) []schema.Object {
	var list []schema.Object
	im.Ascend(table, store.ID{}, func(r *store.Row) bool {
		list = append(list, im.Object(table, r))
		return true
	})
	return list
}
