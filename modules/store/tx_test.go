package store_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/store"
)

func TestInsert_answersTheWholeEntity(t *testing.T) {
	s := begin(t, empty())
	got := s.insert("services", object{"id": str(1), "name": "orders", "url": "https://orders.example.com/v1"})
	want := object{
		"id": str(1), "name": "orders", "protocol": "https", "host": "orders.example.com", "port": int64(443), "path": "/v1",
		"retries": int64(5), "connect_timeout": int64(60000), "write_timeout": int64(60000), "read_timeout": int64(60000),
		"client_certificate": nil, "tls_verify": nil, "tls_verify_depth": nil, "ca_certificates": nil, "enabled": true, "tags": nil,
		"proxy_protocol": nil, "source_addresses": nil, "created_at": now.Unix(), "updated_at": now.Unix(),
	}
	if !cmp.Equal(want, got) {
		t.Errorf("(-want +got):\n%s", cmp.Diff(want, got))
	}
	im := s.tx.Image()
	row, ok := im.Get("services", num(1))
	if !ok {
		t.Fatal("the row is not in the image")
	}
	if stored := im.Object("services", row); !cmp.Equal(want, stored) {
		t.Errorf("stored (-want +got):\n%s", cmp.Diff(want, stored))
	}
}

func TestInsert_makesIdentifiers(t *testing.T) {
	tx := store.Begin(empty(), store.Options{Now: now, NewID: func() uuid.UUID { return num(7) }})
	obj, err := tx.Insert("services", object{"host": "a"})
	if err != nil || obj["id"] != str(7) {
		t.Errorf("got id %v, error %v", obj["id"], err)
	}
}

func TestInsert_referencesByKeySeeTheTransaction(t *testing.T) {
	s := begin(t, empty())
	s.insert("services", object{"id": str(1), "name": "a", "host": "a"})
	got := s.insert("routes", object{"paths": []any{"/"}, "service": object{"name": "a"}})
	if want := ref(1); !cmp.Equal(want, got["service"]) {
		t.Errorf("service is %v, want %v", got["service"], want)
	}
}

func TestTargets_haveFractionsOfSeconds(t *testing.T) {
	s := begin(t, empty())
	s.insert("upstreams", object{"id": str(1), "name": "pool"})
	got := s.insert("targets", object{"upstream": ref(1), "target": "10.0.0.1"})
	if want := float64(now.UnixMilli()) / 1000; got["created_at"] != want || got["updated_at"] != want {
		t.Errorf("created %v, updated %v, want %v", got["created_at"], got["updated_at"], want)
	}
}

func TestRefusals(t *testing.T) {
	s := begin(t, empty())
	s.insert("services", object{"id": str(1), "name": "a", "host": "a"})
	s.insert("services", object{"id": str(2), "name": "b", "host": "b"})
	s.insert("routes", object{"id": str(3), "name": "r", "paths": []any{"/"}, "service": ref(1)})
	s.insert("plugins", object{"id": str(4), "name": "basic-auth", "route": ref(3)})
	s.insert("upstreams", object{"id": str(5), "name": "pool"})
	s.insert("targets", object{"id": str(6), "upstream": ref(5), "target": "10.0.0.1:80"})
	base := s.tx.Image()
	before := everything(base)

	byID := func(n byte) store.Key { return store.Key{ID: num(n)} }
	for _, tt := range []struct {
		name    string
		write   func(tx *store.Tx) error
		code    int
		message string
		fields  object
	}{
		{"identifier taken", func(tx *store.Tx) error {
			_, err := tx.Insert("services", object{"id": str(1), "host": "x"})
			return err
		}, 3, `primary key violation on key '{id="` + str(1) + `"}'`, object{"id": str(1)}},
		{"identifier taken, before the name", func(tx *store.Tx) error {
			_, err := tx.Insert("services", object{"id": str(1), "name": "b", "host": "x"})
			return err
		}, 3, `primary key violation on key '{id="` + str(1) + `"}'`, object{"id": str(1)}},
		{"name taken", func(tx *store.Tx) error {
			_, err := tx.Insert("services", object{"name": "a", "host": "x"})
			return err
		}, 5, `UNIQUE violation detected on '{name="a"}'`, object{"name": "a"}},
		{"name taken on update", func(tx *store.Tx) error {
			_, err := tx.Update("services", byID(2), object{"name": "a"})
			return err
		}, 5, `UNIQUE violation detected on '{name="a"}'`, object{"name": "a"}},
		{"name taken on upsert", func(tx *store.Tx) error {
			_, _, err := tx.Upsert("services", byID(9), object{"name": "a", "host": "x"})
			return err
		}, 5, `UNIQUE violation detected on '{name="a"}'`, object{"name": "a"}},
		{"name taken on put", func(tx *store.Tx) error {
			row, _ := base.Get("services", num(1))
			obj := base.Object("services", row)
			obj["id"] = str(9)
			return tx.Put("services", obj)
		}, 5, `UNIQUE violation detected on '{name="a"}'`, object{"name": "a"}},
		{"plugin twice in one place", func(tx *store.Tx) error {
			_, err := tx.Insert("plugins", object{"name": "basic-auth", "route": ref(3)})
			return err
		}, 5, `UNIQUE violation detected on '{consumer=null,name="basic-auth",route={id="` + str(3) + `"},service=null}'`,
			object{"consumer": nil, "name": "basic-auth", "route": ref(3), "service": nil}},
		{"target twice in one upstream", func(tx *store.Tx) error {
			_, err := tx.Insert("targets", object{"upstream": ref(5), "target": "10.0.0.1:80"})
			return err
		}, 5, `UNIQUE violation detected on '{target="10.0.0.1:80",upstream={id="` + str(5) + `"}}'`,
			object{"target": "10.0.0.1:80", "upstream": ref(5)}},
		{"no such service", func(tx *store.Tx) error {
			_, err := tx.Insert("routes", object{"paths": []any{"/"}, "service": ref(9)})
			return err
		}, 4, `the foreign key '{id="` + str(9) + `"}' does not reference an existing 'services' entity.`,
			object{"service": ref(9)}},
		{"no such service by name", func(tx *store.Tx) error {
			_, err := tx.Insert("routes", object{"paths": []any{"/"}, "service": object{"name": "x"}})
			return err
		}, 13, `foreign key unresolved (service.name: the foreign key cannot be resolved with '{name="x"}' for an existing 'services' entity)`,
			object{"service": object{"name": `the foreign key cannot be resolved with '{name="x"}' for an existing 'services' entity`}}},
		{"service with routes", func(tx *store.Tx) error {
			_, err := tx.Delete("services", byID(1))
			return err
		}, 4, `an existing 'routes' entity references this 'services' entity`, object{"@referenced_by": "routes"}},
		{"update of nothing", func(tx *store.Tx) error {
			_, err := tx.Update("services", byID(9), object{"host": "x"})
			return err
		}, 6, `could not find the entity with primary key '{id="` + str(9) + `"}'`, object{"id": str(9)}},
		{"update of nothing, by name", func(tx *store.Tx) error {
			_, err := tx.Update("services", store.Key{Field: "name", Value: "x"}, object{"host": "x"})
			return err
		}, 6, `could not find the entity with '{name="x"}'`, object{"name": "x"}},
		{"schema", func(tx *store.Tx) error {
			_, err := tx.Insert("services", object{})
			return err
		}, 2, `schema violation (host: required field missing)`, object{"host": "required field missing"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tx := store.Begin(base, store.Options{Now: now})
			refused(t, tt.write(tx), tt.code, tt.message, tt.fields)
			if changes := tx.Changes(); len(changes) > 0 {
				t.Errorf("the refused write left changes: %v", summary(changes))
			}
			if after := everything(tx.Image()); !cmp.Equal(before, after) {
				t.Errorf("the refused write left (-before +after):\n%s", cmp.Diff(before, after))
			}
		})
	}
}

func TestUnknownTable_isNoRefusal(t *testing.T) {
	tx := store.Begin(empty(), store.Options{})
	if _, err := tx.Insert("no_such", object{}); err == nil || err.Error() != `there is no table "no_such"` {
		t.Errorf("got %v", err)
	}
}

func TestUniqueFields_mayBeFreedAndTaken(t *testing.T) {
	s := begin(t, empty())
	s.insert("services", object{"id": str(1), "name": "a", "host": "a"})
	s.update("services", store.Key{Field: "name", Value: "a"}, object{"name": "b"})
	s.insert("services", object{"id": str(2), "name": "a", "host": "a"})
	s.update("services", store.Key{ID: num(1)}, object{"name": nil})
	s.insert("services", object{"id": str(3), "name": "b", "host": "a"})
	if got, want := names(s.tx.Image(), "services", "name"), []any{nil, "a", "b"}; !cmp.Equal(want, got) {
		t.Errorf("names are %v, want %v", got, want)
	}
}

func TestUpdate_merges(t *testing.T) {
	s := begin(t, empty())
	s.insert("services", object{"id": str(1), "name": "a", "host": "a", "tags": []any{"x"}, "created_at": 5})
	got := s.update("services", store.Key{ID: num(1)}, object{"id": str(9), "host": "b", "created_at": 6})
	for field, want := range map[string]any{"id": str(1), "name": "a", "host": "b", "created_at": int64(5), "updated_at": now.Unix()} {
		if got[field] != want {
			t.Errorf("%s is %v, want %v", field, got[field], want)
		}
	}
}

func TestUpsert(t *testing.T) {
	s := begin(t, empty())
	upsert := func(by store.Key, in object) (object, bool) {
		t.Helper()
		obj, created, err := s.tx.Upsert("services", by, in)
		if err != nil {
			t.Fatal(err)
		}
		return obj, created
	}
	if obj, created := upsert(store.Key{ID: num(1)}, object{"name": "a", "host": "a", "retries": 9}); !created || obj["id"] != str(1) {
		t.Errorf("by a new id: created %v, id %v", created, obj["id"])
	}
	if obj, created := upsert(store.Key{ID: num(1)}, object{"name": "b", "host": "b"}); created || obj["retries"] != int64(5) || obj["name"] != "b" {
		t.Errorf("by a known id: created %v, %v; omitted fields should be at their defaults", created, obj)
	}
	if obj, created := upsert(store.Key{Field: "name", Value: "b"}, object{"id": str(8), "name": "ignored", "host": "c"}); created || obj["id"] != str(1) || obj["name"] != "b" {
		t.Errorf("by a known name: created %v, %v", created, obj)
	}
	if obj, created := upsert(store.Key{Field: "name", Value: "new"}, object{"host": "c"}); !created || obj["id"] == str(1) || obj["name"] != "new" {
		t.Errorf("by a new name: created %v, %v", created, obj)
	}
	if n := s.tx.Image().Len("services"); n != 2 {
		t.Errorf("there are %d services, want 2", n)
	}
}

func TestDelete_nothing(t *testing.T) {
	tx := store.Begin(empty(), store.Options{})
	for _, by := range []store.Key{{ID: num(1)}, {Field: "name", Value: "x"}} {
		if found, err := tx.Delete("services", by); found || err != nil {
			t.Errorf("%v: found %v, error %v", by, found, err)
		}
	}
}

func TestDelete_takesAlongWhatBelongsToIt(t *testing.T) {
	s := begin(t, empty())
	s.insert("services", object{"id": str(1), "host": "a"})
	s.insert("routes", object{"id": str(2), "paths": []any{"/"}, "service": ref(1)})
	s.insert("consumers", object{"id": str(3), "username": "c"})
	s.insert("plugins", object{"id": str(4), "name": "rate-limiting", "service": ref(1)})
	s.insert("plugins", object{"id": str(5), "name": "rate-limiting", "route": ref(2)})
	s.insert("plugins", object{"id": str(6), "name": "rate-limiting", "consumer": ref(3), "route": ref(2)})
	s.insert("plugins", object{"id": str(7), "name": "rate-limiting"})
	base := s.tx.Image()

	for _, tt := range []struct {
		name  string
		run   func(s *script)
		wants []string
	}{
		{"route", func(s *script) { s.delete("routes", num(2)) }, []string{"-plugins 5", "-plugins 6", "-routes 2"}},
		{"consumer", func(s *script) { s.delete("consumers", num(3)) }, []string{"-plugins 6", "-consumers 3"}},
		{"route, then service", func(s *script) { s.delete("routes", num(2)); s.delete("services", num(1)) },
			[]string{"-plugins 4", "-plugins 5", "-plugins 6", "-routes 2", "-services 1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := begin(t, base)
			tt.run(s)
			if got := summary(s.tx.Changes()); !cmp.Equal(tt.wants, got) {
				t.Errorf("changes (-want +got):\n%s", cmp.Diff(tt.wants, got))
			}
		})
	}
}

func TestChanges_areNet(t *testing.T) {
	s := begin(t, empty())
	s.insert("services", object{"id": str(1), "name": "a", "host": "a"})
	s.insert("services", object{"id": str(2), "name": "b", "host": "b"})
	s.insert("services", object{"id": str(3), "name": "c", "host": "c"})
	base := s.tx.Image()
	old, _ := base.Get("services", num(1))

	s = begin(t, base)
	s.insert("routes", object{"id": str(5), "paths": []any{"/"}, "service": ref(1)})
	s.insert("services", object{"id": str(4), "name": "d", "host": "d"}) // and changed, and deleted
	s.update("services", store.Key{ID: num(4)}, object{"host": "x"})
	s.delete("services", num(4))
	s.update("services", store.Key{ID: num(1)}, object{"host": "x"}) // twice
	s.update("services", store.Key{ID: num(1)}, object{"host": "y"})
	s.delete("services", num(2)) // and back under the same id
	s.insert("services", object{"id": str(2), "name": "b2", "host": "b"})
	s.update("services", store.Key{ID: num(3)}, object{"host": "c"}) // as it was

	changes := s.tx.Changes()
	if want := []string{"~services 1", "~services 2", "+routes 5"}; !cmp.Equal(want, summary(changes)) {
		t.Fatalf("changes (-want +got):\n%s", cmp.Diff(want, summary(changes)))
	}
	if changes[0].Before != old {
		t.Error("the change does not begin at the row of the base image")
	}
	if row, _ := s.tx.Image().Get("services", num(1)); changes[0].After != row {
		t.Error("the change does not end at the row of the new image")
	}
}
