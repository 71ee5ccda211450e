package store_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// TestWritten_isTakenBackAsAWhole has a table whose hook writes several rows
// elsewhere and then fails.
func TestWritten_isTakenBackAsAWhole(t *testing.T) {
	failed := errors.New("no")
	things := &schema.Table{
		Name: "things",
		Fields: &schema.Fields{List: []schema.Field{
			{Name: "id", Kind: schema.String, Auto: schema.AutoID, UUID: true},
			{Name: "fail", Kind: schema.Boolean},
		}},
		Related: schema.Related{
			Written: func(rows schema.Rows, _ schema.Op, o schema.Object) error {
				if err := rows.Delete("services", num(1)); err != nil {
					return err
				}
				for _, name := range []string{"a", "b"} {
					if err := rows.Insert("services", object{"name": name, "host": "h"}); err != nil {
						return err
					}
				}
				if rows.ByKey("services", "name", "b") == nil {
					return errors.New("the hook does not see what it wrote")
				}
				if o["fail"] == true {
					return failed
				}
				return nil
			},
		},
	}
	s := begin(t, store.NewImage(entity.NewCatalog(nil, things)))
	s.insert("services", object{"id": str(1), "name": "a", "host": "h"})
	before := everything(s.tx.Image())
	changes := s.tx.Changes()

	if _, err := s.tx.Insert("things", object{"id": str(2), "fail": true}); !errors.Is(err, failed) {
		t.Fatalf("got %v", err)
	}
	if after := everything(s.tx.Image()); !cmp.Equal(before, after) {
		t.Errorf("the image (-before +after):\n%s", cmp.Diff(before, after))
	}
	if after := s.tx.Changes(); !cmp.Equal(summary(changes), summary(after)) {
		t.Errorf("the changes (-before +after):\n%s", cmp.Diff(summary(changes), summary(after)))
	}

	s.insert("things", object{"id": str(2)})
	if got, want := len(everything(s.tx.Image())), 3; got != want {
		t.Errorf("there are %d rows, want %d", got, want)
	}
}

func TestReadOnlyError(t *testing.T) {
	for _, tt := range []struct{ op, field, message string }{
		{"POST", "", "cannot create 'routes' entities when not using a database"},
		{"PUT", "", "cannot create or update 'routes' entities when not using a database"},
		{"PATCH", "id", "cannot update 'routes' entities when not using a database"},
		{"PATCH", "name", "cannot update 'routes' entities by 'name' when not using a database"},
		{"DELETE", "", "cannot remove 'routes' entities when not using a database"},
	} {
		refused(t, store.ReadOnlyError(tt.op, "routes", tt.field), 12, tt.message, nil)
	}
}
