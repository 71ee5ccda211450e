package entity

import (
	"testing"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// The identifiers of entities with a name are known from Kong's own exports;
// those of plugins are UUIDs of the text "plugins:*:file-log::<service>:".
func TestDeclarativeID_isKongs(t *testing.T) {
	c := NewCatalog(nil)
	service := uuid.MustParse("0855b320-0dd2-547d-891d-601e9b38647f")
	for _, tt := range []struct {
		table, item, field string
		parent             uuid.UUID
		want               string
	}{
		{"services", `{"name":"my-service"}`, "", uuid.Nil, service.String()},
		{"routes", `{"name":"my-route"}`, "service", service, "481a9539-f49c-51b6-b2e2-fe99ee68866c"},
		{"consumers", `{"username":"my-user"}`, "", uuid.Nil, "4b1b701d-de2b-5588-9aa2-3b97061d9f52"},
		{"plugins", `{"name":"file-log"}`, "service", service, "ff5af6e2-7c22-5b6c-834e-594211031e23"},
		{"plugins", `{"name":"key-auth"}`, "service", service, "4a4d9361-8cf7-5304-acb5-d4e8f72ac40b"},
	} {
		got, ok := DeclarativeID(c.Table(tt.table), parse(t, tt.item), tt.field, tt.parent)
		if !ok || got.String() != tt.want {
			t.Errorf("%s %s: got %v, %v; want %s", tt.table, tt.item, got, ok, tt.want)
		}
	}
}

func TestDeclarativeID_dependsOnWhatMakesAnEntityUnique(t *testing.T) {
	c := NewCatalog(nil)
	a, b := uuid.New(), uuid.New()
	id := func(table, item, field string, parent uuid.UUID) uuid.UUID {
		t.Helper()
		u, ok := DeclarativeID(c.Table(table), parse(t, item), field, parent)
		if !ok {
			t.Fatalf("%s %s has no id", table, item)
		}
		return u
	}
	if id("targets", `{"target":"a:80"}`, "upstream", a) == id("targets", `{"target":"a:80"}`, "upstream", b) {
		t.Error("one target in two upstreams has one id")
	}
	if id("targets", `{"target":"a:80"}`, "upstream", a) != id("targets", `{"target":"a:80","upstream":"`+a.String()+`"}`, "", uuid.Nil) {
		t.Error("a nested target and one that names its upstream by id differ")
	}
	if id("keys", `{"kid":"k"}`, "", uuid.Nil) == id("keys", `{"kid":"k"}`, "set", a) {
		t.Error("a key has the same id with and without a set")
	}
	for _, tt := range []struct{ table, item string }{
		{"services", `{"host":"h"}`},
		{"certificates", `{"cert":"x"}`},
		{"targets", `{"target":"a"}`}, // its upstream is missing
	} {
		if u, ok := DeclarativeID(c.Table(tt.table), parse(t, tt.item), "", uuid.Nil); ok {
			t.Errorf("%s %s got %v", tt.table, tt.item, u)
		}
	}
}

func TestDeclarativeID_ofKeysThatAreNotUnique(t *testing.T) {
	groups := &schema.Table{Name: "acls", Key: "group", Fields: &schema.Fields{List: []schema.Field{
		idField(), foreign("consumer", "consumers", schema.Cascade), {Name: "group", Kind: schema.String},
	}}}
	a, _ := DeclarativeID(groups, schema.Object{"group": "g"}, "consumer", uuid.New())
	b, _ := DeclarativeID(groups, schema.Object{"group": "g"}, "consumer", uuid.New())
	c, ok := DeclarativeID(groups, schema.Object{"group": "g", "consumer": "bob"}, "", uuid.Nil)
	if a == b || b == c || !ok {
		t.Errorf("got %v, %v, %v", a, b, c)
	}
}
