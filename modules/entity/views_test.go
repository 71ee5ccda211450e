package entity

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// TestViews_agreeWithTables holds each typed view to its table: the same names,
// in whatever order, and types that can hold the values.
func TestViews_agreeWithTables(t *testing.T) {
	views := map[string]any{
		"services": Service{}, "routes": Route{}, "consumers": Consumer{}, "plugins": Plugin{},
		"certificates": Certificate{}, "snis": SNI{}, "ca_certificates": CACertificate{},
		"upstreams": Upstream{}, "targets": Target{}, "vaults": Vault{}, "keys": Key{}, "key_sets": KeySet{},
	}
	for _, table := range Core() {
		view, ok := views[table.Name]
		if !ok {
			if table.Path != "" {
				t.Errorf("%s has no view", table.Name)
			}
			continue
		}
		t.Run(table.Name, func(t *testing.T) {
			agree(t, table.Name, table.Fields, reflect.TypeOf(view))
		})
	}
}

// agree compares a record with a struct. The fields of several records may
// share one struct, as those of the health checks do; then the struct has more.
func agree(t *testing.T, path string, fields *schema.Fields, view reflect.Type) {
	t.Helper()
	known := map[string]reflect.StructField{}
	for i := range view.NumField() {
		f := view.Field(i)
		if !f.IsExported() {
			continue
		}
		known[f.Tag.Get("json")] = f
	}
	for i := range fields.List {
		f := &fields.List[i]
		if f.Transient {
			continue
		}
		at := path + "." + f.Name
		v, ok := known[f.Name]
		if !ok {
			t.Errorf("%s is not in %v", at, view)
			continue
		}
		delete(known, f.Name)
		if !holds(t, at, f, v.Type) {
			t.Errorf("%s is a %s, which %v cannot hold", at, f.Kind, v.Type)
		}
	}
	shared := view == reflect.TypeFor[Healthy]() || view == reflect.TypeFor[Unhealthy]()
	for name := range known {
		if !shared {
			t.Errorf("%v has %q, which %s has not", view, name, path)
		}
	}
}

func holds(t *testing.T, path string, f *schema.Field, view reflect.Type) bool {
	t.Helper()
	if view == reflect.TypeFor[json.RawMessage]() {
		return f.Kind == schema.Record && f.Abstract
	}
	if view == reflect.TypeFor[uuid.UUID]() {
		return f.Kind == schema.String && f.UUID
	}
	if view == reflect.TypeFor[Ref]() {
		return f.Kind == schema.Foreign && f.Required // an unset one would be read as the zero id
	}
	if view == reflect.TypeFor[*Ref]() {
		return f.Kind == schema.Foreign && !f.Required
	}
	if view.Kind() == reflect.Pointer {
		view = view.Elem()
	}
	switch f.Kind {
	case schema.String:
		return view.Kind() == reflect.String && !f.UUID
	case schema.Boolean:
		return view.Kind() == reflect.Bool
	case schema.Integer:
		return view.Kind() == reflect.Int || view.Kind() == reflect.Int64
	case schema.Number:
		return view.Kind() == reflect.Float64
	case schema.Array, schema.Set:
		return view.Kind() == reflect.Slice && holds(t, path+"[]", f.Elem, view.Elem())
	case schema.Map:
		return view.Kind() == reflect.Map && view.Key().Kind() == reflect.String && holds(t, path+"{}", f.Elem, view.Elem())
	case schema.Record:
		if view.Kind() != reflect.Struct {
			return false
		}
		agree(t, path, f.Fields, view)
		return true
	}
	return false
}

func TestDecode(t *testing.T) {
	table := NewCatalog(nil).Table("upstreams")
	o, refused := table.Process(schema.Insert, schema.Object{"name": "u", "tags": []any{"a"}}, nil, nil)
	if refused != nil {
		t.Fatal(refused)
	}
	u, err := Decode[Upstream](table.Pack(o))
	if err != nil {
		t.Fatal(err)
	}
	if u.ID.String() != o["id"] || u.Name != "u" || u.Slots != 10000 || u.Healthchecks.Active.HTTPPath != "/" ||
		len(u.Healthchecks.Passive.Healthy.HTTPStatuses) != 19 || u.ClientCertificate != nil {
		t.Errorf("got %+v", u)
	}
	if _, err := Decode[Upstream]([]byte(`{"slots":"many"}`)); err == nil {
		t.Error("a row of the wrong kind was decoded")
	}
}
