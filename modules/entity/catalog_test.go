package entity

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func TestCatalog_listsParentsBeforeChildren(t *testing.T) {
	seen := map[string]bool{}
	for _, table := range NewCatalog(nil).Tables() {
		for _, r := range table.References() {
			if !seen[r.Table] {
				t.Errorf("%s comes before %s, to which it refers", table.Name, r.Table)
			}
		}
		seen[table.Name] = true
	}
}

func TestCatalog_finds(t *testing.T) {
	extra := &schema.Table{Name: "things", Path: "my-things", Fields: &schema.Fields{List: []schema.Field{
		idField(), foreign("consumer", "consumers", schema.Cascade),
	}}}
	c := NewCatalog(testPlugins, extra)
	if c.Table("key_sets") == nil || c.Table("key_sets") != c.ByPath("key-sets") || c.Table("nope") != nil {
		t.Error("tables are not found by name and path")
	}
	if c.ByPath("") != nil || c.ByPath("workspaces") != nil {
		t.Error("workspaces have endpoints")
	}
	if c.Table("things") != extra || c.ByPath("my-things") != extra {
		t.Error("a plugin's table is missing")
	}
	if diff := cmp.Diff([]string{"echo", "web"}, c.Plugins()); diff != "" {
		t.Error(diff)
	}
	if kind, ok := c.Plugin("web"); !ok || !kind.NoConsumer {
		t.Errorf("got %+v, %v", kind, ok)
	}
	for table, names := range map[string][]string{"plugins": {"echo"}, "vaults": {"env"}, "routes": {"grpc", "tls"}} {
		for _, name := range names {
			if v, ok := c.Variant(table, name); !ok || v == nil {
				t.Errorf("%s have no variant %s", table, name)
			}
		}
	}
	if _, ok := c.Variant("plugins", "nope"); ok {
		t.Error("a plugin that is not there has a variant")
	}
	if _, ok := c.Variant("nope", "env"); ok {
		t.Error("a table that is not there has a variant")
	}
	if v, _ := NewCatalog(nil).Variant("plugins", "echo"); v != nil {
		t.Error("catalogs share their plugins")
	}
}

func TestCatalog_children(t *testing.T) {
	c := NewCatalog(nil)
	for table, want := range map[string][]string{
		"services":        {"routes.service restrict", "plugins.service cascade"},
		"routes":          {"plugins.route cascade"},
		"consumers":       {"plugins.consumer cascade"},
		"certificates":    {"snis.certificate cascade", "upstreams.client_certificate restrict", "services.client_certificate restrict"},
		"upstreams":       {"targets.upstream cascade"},
		"key_sets":        {"keys.set cascade"},
		"ca_certificates": nil,
	} {
		var got []string
		for _, child := range c.Children(table) {
			what := " restrict"
			if child.OnDelete == schema.Cascade {
				what = " cascade"
			}
			got = append(got, child.Table.Name+"."+child.Field+what)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("children of %s (-want +got):\n%s", table, diff)
		}
	}
}

func TestCatalog_env(t *testing.T) {
	env := NewCatalog(nil).Env(time.UnixMilli(1700000000123), nil, nil)
	if env.Now != 1700000000.123 || env.NewID() == uuid.Nil || env.Resolve != nil {
		t.Errorf("got %+v", env)
	}
}

// Schemas are read by decK and go-kong, which know these words only.
func TestSchemas_useKongsWords(t *testing.T) {
	words := []string{"type", "description", "required", "default", "unique", "auto", "eq", "ne", "not_one_of", "one_of",
		"timestamp", "uuid", "between", "len_eq", "len_min", "len_max", "starts_with", "match", "match_none", "match_all",
		"match_any", "contains", "mutually_exclusive_subsets", "err", "reference", "on_delete", "abstract", "referenceable",
		"encrypted", "transient", "keys", "values", "elements", "fields", "entity_checks", "shorthand_fields"}
	types := []string{"string", "integer", "number", "boolean", "array", "set", "map", "record", "foreign", "json"}
	var walk func(path string, field schema.Object)
	walk = func(path string, field schema.Object) {
		for word := range field {
			if !slices.Contains(words, word) {
				t.Errorf("%s has %q", path, word)
			}
		}
		if kind, _ := field["type"].(string); !slices.Contains(types, kind) {
			t.Errorf("%s is of type %v", path, field["type"])
		}
		for _, word := range []string{"elements", "keys", "values"} {
			if sub, ok := field[word].(schema.Object); ok {
				walk(path+"."+word, sub)
			}
		}
		if list, ok := field["fields"].([]any); ok {
			for _, sub := range list {
				for name, v := range sub.(schema.Object) {
					walk(path+"."+name, v.(schema.Object))
				}
			}
		}
	}
	c := NewCatalog(testPlugins)
	for _, table := range c.Tables() {
		described := table.Describe()
		described["type"] = "record"
		walk(table.Name, described)
		for name, v := range table.Variants {
			described := v.Describe()
			described["type"] = "record"
			walk(table.Name+"/"+name, described)
		}
	}
}

// FuzzTables feeds any JSON to every table and reads back what was accepted.
func FuzzTables(f *testing.F) {
	f.Add(`{"host":"h","url":"http://a:1/b","tags":["x"]}`)
	f.Add(`{"name":"echo","prefix":"ab","username":"u","target":"[::1]:80","upstream":{"id":"` + someID + `"}}`)
	f.Add(`{"protocols":["grpc"],"hosts":["*.a"],"paths":["~/a(b)"],"headers":{"a":["~*x"]},"sources":[{"ip":"::1"}]}`)
	f.Add(`{"name":"u","hash_on":"header","hash_on_header":"x","healthchecks":{"active":{"headers":{"a":["b"]}}}}`)
	f.Add(`{"kid":"k","jwk":"{\"kid\":\"k\",\"kty\":\"RSA\",\"n\":\"AQ\",\"e\":\"AQAB\"}","pem":{"public_key":"x"}}`)
	c := NewCatalog(testPlugins)
	f.Fuzz(func(t *testing.T, text string) {
		for _, table := range c.Tables() {
			in, ok := fuzzObject(text)
			if !ok {
				return
			}
			table.Coerce(in)
			o, err := table.Process(schema.Insert, in, nil, nil)
			if err != nil {
				continue
			}
			if table.Name == "certificates" {
				o["snis"] = nil // not stored
			}
			got, bad := table.Unpack(table.Pack(o))
			if bad != nil {
				t.Fatalf("%s: %v", table.Name, bad)
			}
			if diff := cmp.Diff(o, got); diff != "" {
				t.Fatalf("%s (-written +read):\n%s", table.Name, diff)
			}
			again, err := table.Process(schema.Update, schema.Object{}, got, nil)
			if err != nil {
				t.Fatalf("%s: what was accepted is refused when nothing is changed: %v", table.Name, err)
			}
			again["updated_at"] = got["updated_at"]
			if diff := cmp.Diff(string(table.Pack(got)), string(table.Pack(again))); diff != "" {
				t.Fatalf("%s: changing nothing changed (-before +after):\n%s", table.Name, diff)
			}
		}
	})
}
