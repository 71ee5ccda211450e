package schema

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// without leaves out of a processed object what every object has.
func without(o Object, names ...string) Object {
	o = maps.Clone(o)
	for name, v := range o {
		if v == nil {
			delete(o, name)
		}
	}
	for _, name := range append(names, "id", "created_at", "updated_at", "token") {
		delete(o, name)
	}
	return o
}

func TestProcess_normalises(t *testing.T) {
	table := things()
	const defaults = `"count":5,"flag":true,"type":"plain"`
	for _, tt := range []struct{ name, in, want string }{
		{"defaults fill what is absent", `{}`, `{` + defaults + `}`},
		{"null is not absent", `{"flag":null}`, `{"count":5,"type":"plain"}`},
		{"numbers take the field's type", `{"count":7.0,"ratio":3}`, `{"count":7,"flag":true,"ratio":3,"type":"plain"}`},
		{"sets lose duplicates and keep their order", `{"set":["b","a","b"]}`, `{` + `"count":5,"flag":true,"set":["b","a"],"type":"plain"}`},
		{"an empty object is an empty list, as in Lua", `{"list":{}}`, `{"count":5,"flag":true,"list":[],"type":"plain"}`},
		{"an empty list is an empty map", `{"map":[]}`, `{"count":5,"flag":true,"map":{},"type":"plain"}`},
		{"records in lists are completed", `{"records":[{"ip":"x"}]}`, `{"count":5,"flag":true,"records":[{"ip":"x","port":null}],"type":"plain"}`},
		{"any JSON stays as it is", `{"extra":{"b":[1,null,{"c":1.5}]}}`, `{"count":5,"extra":{"b":[1,null,{"c":1.5}]},"flag":true,"type":"plain"}`},
		{"a reference keeps nothing but the id", `{"parent":{"id":"11111111-1111-4111-8111-111111111111","name":"x"}}`,
			`{"count":5,"flag":true,"parent":{"id":"` + parentID + `"},"type":"plain"}`},
		{"a reference by name is resolved", `{"parent":{"name":"mum"}}`, `{"count":5,"flag":true,"parent":{"id":"` + parentID + `"},"type":"plain"}`},
		{"identifiers are lower case", `{"parent":{"id":"ABCDEFAB-1111-4111-8111-111111111111"}}`,
			`{"count":5,"flag":true,"parent":{"id":"abcdefab-1111-4111-8111-111111111111"},"type":"plain"}`},
		{"a shorthand wins over the fields it stands for", `{"both":"x/y","two":"z"}`, `{"count":5,"flag":true,"three":"y","two":"x","type":"plain"}`},
		{"a vault reference passes every check", `{"secret":"{vault://env/long-secret}"}`, `{"count":5,"flag":true,"secret":"{vault://env/long-secret}","type":"plain"}`},
		{"the transform has the last word", `{"name":"nAME"}`, `{"count":5,"flag":true,"name":"name","type":"plain"}`},
		{"bytes that are no UTF-8 are replaced", "{\"one\":\"a\xffb\"}", `{"count":5,"flag":true,"one":"a�b","type":"plain"}`},
		{"the variant's fields and defaults count", `{"type":"limited","config":{"minute":5}}`,
			`{"config":{"minute":5,"policy":"local","redis":{"host":null,"port":6379},"second":null},"count":5,"flag":false,"type":"limited"}`},
		{"shorthands of nested records", `{"type":"limited","config":{"minute":5,"redis_host":"h"}}`,
			`{"config":{"minute":5,"policy":"local","redis":{"host":"h","port":6379},"second":null},"count":5,"flag":false,"type":"limited"}`},
		{"a deprecated field keeps the rest of the record", `{"type":"limited","config":{"minute":5,"redis":{"host":"h"},"redis_port":1}}`,
			`{"config":{"minute":5,"policy":"local","redis":{"host":"h","port":1},"second":null},"count":5,"flag":false,"type":"limited"}`},
		{"a deprecated field beside the same value", `{"type":"limited","config":{"minute":5,"redis":{"port":1.0},"redis_port":1}}`,
			`{"config":{"minute":5,"policy":"local","redis":{"host":null,"port":1},"second":null},"count":5,"flag":false,"type":"limited"}`},
		{"null in a deprecated field beside a value", `{"type":"limited","config":{"minute":5,"redis":{"port":1},"redis_port":null}}`,
			`{"config":{"minute":5,"policy":"local","redis":{"host":null,"port":1},"second":null},"count":5,"flag":false,"type":"limited"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := decode(t, tt.in)
			before := encode(t, in)
			got, err := table.Process(Insert, in, nil, testEnv())
			if err != nil {
				t.Fatalf("%s: %v", tt.in, err)
			}
			if diff := cmp.Diff(tt.want, encode(t, without(got))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.in, diff)
			}
			if after := encode(t, in); after != before {
				t.Errorf("the input became %s", after)
			}
			for i := range table.Fields.List {
				if _, ok := got[table.Fields.List[i].Name]; !ok {
					t.Errorf("the field %s is no key", table.Fields.List[i].Name)
				}
			}
		})
	}
}

func TestProcess_refuses(t *testing.T) {
	table := things()
	for _, tt := range []struct{ name, in, message, fields string }{
		{"types", `{"count":"1","flag":1,"list":"x","set":{"a":1},"map":3,"config":{},"name":7,"ratio":"x"}`,
			"7 schema violations (count: expected an integer; flag: expected a boolean; list: expected an array; map: expected a map; name: expected a string; ratio: expected a number; set: expected a set)",
			`{"count":"expected an integer","flag":"expected a boolean","list":"expected an array","map":"expected a map","name":"expected a string","ratio":"expected a number","set":"expected a set"}`},
		{"an integer with a fraction", `{"count":1.5}`, "schema violation (count: expected an integer)", `{"count":"expected an integer"}`},
		{"an integer too large for JSON", `{"count":1e300}`, "schema violation (count: expected an integer)", `{"count":"expected an integer"}`},
		{"a record that is none", `{"records":["x"]}`, "schema violation (records.1: expected a record)", `{"records":["expected a record"]}`},
		{"null for a required field", `{"count":null}`, "schema violation (count: required field missing)", `{"count":"required field missing"}`},
		{"unknown fields", `{"foo":null,"bar":1}`, "2 schema violations (bar: unknown field; foo: unknown field)",
			`{"bar":"unknown field","foo":"unknown field"}`},
		{"between", `{"count":0}`, "schema violation (count: value should be between 1 and 100)", `{"count":"value should be between 1 and 100"}`},
		{"not one of", `{"name":"forbidden"}`, "schema violation (name: must not be one of: forbidden)", `{"name":"must not be one of: forbidden"}`},
		{"an empty string", `{"name":""}`, "schema violation (name: length must be at least 1)", `{"name":"length must be at least 1"}`},
		{"a prefix", `{"name":"x!"}`, "schema violation (name: should start with: n)", `{"name":"should start with: n"}`},
		{"a pattern", `{"name":"n!"}`, "schema violation (name: invalid value: n!)", `{"name":"invalid value: n!"}`},
		{"a forbidden pattern", `{"name":"n?"}`, "schema violation (name: no question marks)", `{"name":"no question marks"}`},
		{"a custom test", `{"name":"nope"}`, "schema violation (name: not that name)", `{"name":"not that name"}`},
		{"positions start at 1 and gaps are null", `{"list":[1,"x",10]}`,
			"2 schema violations (list.2: expected an integer; list.3: value should be between 0 and 9)",
			`{"list":[null,"expected an integer","value should be between 0 and 9"]}`},
		{"null elements", `{"set":["a",null]}`, "schema violation (set.2: required field missing)", `{"set":[null,"required field missing"]}`},
		{"positions of a set count after duplicates are gone", `{"set":["a","a",1]}`, "schema violation (set.2: expected a string)", `{"set":[null,"expected a string"]}`},
		{"lengths", `{"list":[1,2,3,4],"set":[],"secret":"abc"}`,
			"3 schema violations (list: length must be at most 3; secret: length must be 4; set: length must be at least 1)",
			`{"list":"length must be at most 3","secret":"length must be 4","set":"length must be at least 1"}`},
		{"sets that exclude each other", `{"set":["a","c"]}`, "schema violation (set: these sets are mutually exclusive: ('a', 'b'), ('c'))",
			`{"set":"these sets are mutually exclusive: ('a', 'b'), ('c')"}`},
		{"a map's message is about the whole", `{"map":{"x":[]}}`, "schema violation (map: length must be at least 2)", `{"map":"length must be at least 2"}`},
		{"a map's values", `{"map":{"xx":["a",1]}}`, "schema violation (map.2: expected a string)", `{"map":[null,"expected a string"]}`},
		{"deeper levels are written as Lua tables", `{"records":[{"ip":"a"},{"port":-1,"x":1}]}`,
			"schema violation (records.2: {\n  port = \"value should be between 0 and 65535\",\n  x = \"unknown field\"\n})",
			`{"records":[null,{"port":"value should be between 0 and 65535","x":"unknown field"}]}`},
		{"entity checks of nested records", `{"records":[{}]}`,
			"schema violation (records.1: {\n  [\"@entity\"] = {\n    \"at least one of these fields must be non-empty: 'ip', 'port'\"\n  }\n})",
			`{"records":[{"@entity":["at least one of these fields must be non-empty: 'ip', 'port'"]}]}`},
		{"a reference without id", `{"parent":{}}`, "schema violation (parent.id: missing primary key)", `{"parent":{"id":"missing primary key"}}`},
		{"a reference that is no object", `{"parent":"mum"}`, "schema violation (parent.id: missing primary key)", `{"parent":{"id":"missing primary key"}}`},
		{"a reference with a bad id", `{"parent":{"id":"x"}}`, "schema violation (parent.id: expected a valid UUID)", `{"parent":{"id":"expected a valid UUID"}}`},
		{"a reference by an unknown field", `{"parent":{"foo":"x"}}`, "schema violation (parent.foo: unknown field)", `{"parent":{"foo":"unknown field"}}`},
		{"mutually exclusive", `{"one":"a","two":"b","three":"c"}`,
			"schema violation (only one or none of these fields must be set: 'one', 'two')",
			`{"@entity":["only one or none of these fields must be set: 'one', 'two'"]}`},
		{"mutually required, and a field message after it", `{"two":"b","count":0}`,
			"2 schema violations (all or none of these fields must be set: 'two', 'three'; count: value should be between 1 and 100)",
			`{"@entity":["all or none of these fields must be set: 'two', 'three'"],"count":"value should be between 1 and 100"}`},
		{"distinct", `{"one":"a","three":"a"}`,
			"2 schema violations (all or none of these fields must be set: 'two', 'three'; values of these fields must be distinct: 'one', 'three')",
			`{"@entity":["all or none of these fields must be set: 'two', 'three'","values of these fields must be distinct: 'one', 'three'"]}`},
		{"a deprecated field that contradicts the new one", `{"type":"limited","config":{"minute":5,"redis":{"port":1},"redis_port":2}}`,
			"schema violation (config.redis_port: both deprecated and new field are used but their values mismatch: redis_port = 2 vs redis.port = 1)",
			`{"config":{"redis_port":"both deprecated and new field are used but their values mismatch: redis_port = 2 vs redis.port = 1"}}`},
		{"a deprecated secret is not repeated", `{"type":"limited","config":{"minute":5,"redis":{"host":"a"},"redis_secret":"b"}}`,
			"schema violation (config.redis_secret: both deprecated and new field are used but their values mismatch: redis_secret = … vs redis.host = …)",
			`{"config":{"redis_secret":"both deprecated and new field are used but their values mismatch: redis_secret = … vs redis.host = …"}}`},
		{"a shorthand of the wrong type stops everything else", `{"both":1,"foo":1}`, "schema violation (both: expected a string)", `{"both":"expected a string"}`},
		{"no variant", `{"type":"x","foo":1}`, "schema violation (type: type 'x' is not known)", `{"type":"type 'x' is not known"}`},
		{"no variant key", `{"type":null}`, "schema violation (type: required field missing)", `{"type":"required field missing"}`},
		{"fields of the variant", `{"type":"limited","flag":true,"ratio":1,"count":13,"config":{"second":11,"foo":1}}`,
			"5 schema violations (thirteen is unlucky; config.foo: unknown field; config.second: value should be between 0 and 10; flag: cannot set 'flag'; ratio: value must be null)",
			`{"@entity":["thirteen is unlucky"],"config":{"foo":"unknown field","second":"value should be between 0 and 10"},"flag":"cannot set 'flag'","ratio":"value must be null"}`},
		{"a conditional check of a nested field", `{"type":"limited","config":{"second":1,"policy":"redis"}}`,
			"2 schema violations (config.@entity: {\n  \"failed conditional validation given value of field 'policy'\"\n}; config.redis: {\n  host = \"required field missing\"\n})",
			`{"config":{"@entity":["failed conditional validation given value of field 'policy'"],"redis":{"host":"required field missing"}}}`},
		{"a required record is completed before it is judged", `{"type":"limited"}`,
			"schema violation (config.@entity: {\n  \"at least one of these fields must be non-empty: 'second', 'minute'\"\n})",
			`{"config":{"@entity":["at least one of these fields must be non-empty: 'second', 'minute'"]}}`},
		{"bad timestamps", `{"created_at":0}`, "schema violation (created_at: expected a valid timestamp)", `{"created_at":"expected a valid timestamp"}`},
		{"bad id", `{"id":"x"}`, "schema violation (id: expected a valid UUID)", `{"id":"expected a valid UUID"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := table.Process(Insert, decode(t, tt.in), nil, testEnv())
			if err == nil {
				t.Fatalf("%s: accepted", tt.in)
			}
			if err.Code != CodeSchemaViolation || err.Name != "schema violation" {
				t.Errorf("code %d, name %q", err.Code, err.Name)
			}
			if diff := cmp.Diff(tt.message, err.Message); diff != "" {
				t.Errorf("%s: message (-want +got):\n%s", tt.in, diff)
			}
			if diff := cmp.Diff(tt.fields, encode(t, err.Fields)); diff != "" {
				t.Errorf("%s: fields (-want +got):\n%s", tt.in, diff)
			}
		})
	}
}

func TestProcess_unresolvedReferenceIsCode13(t *testing.T) {
	_, err := things().Process(Insert, decode(t, `{"parent":{"name":"dad","alias":"x"},"count":0}`), nil, testEnv())
	if err == nil || err.Code != CodeForeignKeysUnresolved || err.Name != "foreign keys unresolved" {
		t.Fatalf("got %+v", err)
	}
	const one = `the foreign key cannot be resolved with '{name="dad"}' for an existing 'parents' entity`
	const two = `the foreign key cannot be resolved with '{alias="x"}' for an existing 'parents' entity`
	if want := "2 foreign keys unresolved (parent.alias: " + two + "; parent.name: " + one + ")"; err.Message != want {
		t.Errorf("message %q, want %q", err.Message, want)
	}
	if got := err.Fields["parent"].(Object)["name"]; got != one {
		t.Errorf("fields %v", err.Fields)
	}
	_, err = things().Process(Insert, decode(t, `{"parent":{"name":"much too long"}}`), nil, testEnv())
	if err == nil || err.Code != CodeSchemaViolation {
		t.Errorf("a name that could never be: got %+v, want a schema violation", err)
	}
}

func TestProcess_fillsAutomaticFields(t *testing.T) {
	table := things()
	first, err := table.Process(Insert, Object{}, nil, testEnv())
	if err != nil {
		t.Fatal(err)
	}
	if first["id"] != newID || first["created_at"] != int64(1700000000) || first["updated_at"] != 1700000000.124 {
		t.Errorf("got id %v, created_at %v, updated_at %v", first["id"], first["created_at"], first["updated_at"])
	}
	if s, _ := first["token"].(string); len(s) != 32 || strings.Trim(s, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		t.Errorf("token %q", s)
	}
	sent, err := table.Process(Insert, decode(t, `{"id":"`+parentID+`","created_at":7,"updated_at":8,"token":"x"}`), nil, testEnv())
	if err != nil {
		t.Fatal(err)
	}
	if sent["id"] != parentID || sent["created_at"] != int64(7) || sent["token"] != "x" {
		t.Errorf("what the client sent is gone: %v", sent)
	}
	if sent["updated_at"] != 1700000000.124 {
		t.Errorf("updated_at %v was not overwritten", sent["updated_at"])
	}
}

func TestProcess_upsertReplacesAndUpdateMerges(t *testing.T) {
	table := things()
	current, err := table.Process(Insert, decode(t, `{
		"id":"`+parentID+`","created_at":7,"type":"limited","name":"n","count":9,"list":[1,2],"map":{"xx":["a"]},
		"config":{"second":5,"redis":{"host":"h","port":1}}}`), nil, testEnv())
	if err != nil {
		t.Fatal(err)
	}
	before := encode(t, current)
	for _, tt := range []struct {
		name string
		op   Op
		in   string
		want string // of the fields that are set, without the automatic ones
	}{
		{"upsert goes back to defaults", Upsert, `{"name":"nn"}`, `{"count":5,"flag":true,"name":"nn","type":"plain"}`},
		{"update keeps what is absent", Update, `{"count":8}`,
			`{"config":{"minute":null,"policy":"local","redis":{"host":"h","port":1},"second":5},"count":8,"flag":false,"list":[1,2],"map":{"xx":["a"]},"name":"n","type":"limited"}`},
		{"update clears with null", Update, `{"name":null,"list":null,"map":null}`,
			`{"config":{"minute":null,"policy":"local","redis":{"host":"h","port":1},"second":5},"count":9,"flag":false,"type":"limited"}`},
		{"records merge, lists and maps do not", Update, `{"config":{"redis":{"port":2},"minute":3},"list":[3],"map":{"yy":["b"]}}`,
			`{"config":{"minute":3,"policy":"local","redis":{"host":"h","port":2},"second":5},"count":9,"flag":false,"list":[3],"map":{"yy":["b"]},"name":"n","type":"limited"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := table.Process(tt.op, decode(t, tt.in), current, testEnv())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, encode(t, without(got))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got["id"] != parentID {
				t.Errorf("the id became %v", got["id"])
			}
			if tt.op == Update && got["created_at"] != int64(7) || tt.op == Upsert && got["created_at"] != int64(1700000000) {
				t.Errorf("created_at %v", got["created_at"])
			}
			if after := encode(t, current); after != before {
				t.Errorf("the current row became %s", after)
			}
		})
	}
	if got, err := table.Process(Update, decode(t, `{"id":"`+newID+`","created_at":99}`), current, testEnv()); err != nil ||
		got["id"] != parentID || got["created_at"] != int64(7) {
		t.Errorf("an update changed id or created_at: %v %v", got, err)
	}
	_, err = table.Process(Update, decode(t, `{"config":{"second":null}}`), current, testEnv())
	if want := "schema violation (config.@entity: {\n  \"when updating, at least one of these fields must be non-empty: 'second', 'minute'\"\n})"; err == nil || err.Message != want {
		t.Errorf("got %v, want %q", err, want)
	}
	_, err = table.Process(Update, decode(t, `{"count":null}`), current, testEnv())
	if err == nil || err.Message != "schema violation (count: required field missing)" {
		t.Errorf("got %v", err)
	}
}

func TestProcess_tellsTransientFieldsThatAnUpdateLeavesAlone(t *testing.T) {
	table := things()
	current, err := table.Process(Insert, decode(t, `{"seen":["a"]}`), nil, testEnv())
	if err != nil || encode(t, current["seen"]) != `["a"]` {
		t.Fatalf("got %v, %v", current, err)
	}
	got, err := table.Process(Update, Object{"count": 6.0}, current, testEnv())
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := got["seen"]; ok {
		t.Errorf("the result says %v about a field that the update does not mention", v)
	}
	if got, err = table.Process(Update, decode(t, `{"seen":null}`), current, testEnv()); err != nil {
		t.Fatal(err)
	}
	if v, ok := got["seen"]; !ok || v != nil {
		t.Errorf("null became %v, %v", v, ok)
	}
}

func TestProcess_defaultsAreCopied(t *testing.T) {
	table := &Table{Name: "t", Fields: &Fields{List: []Field{
		{Name: "list", Kind: Array, Default: Values("a"), Elem: &Field{Kind: String}},
	}}}
	a, _ := table.Process(Insert, Object{}, nil, nil)
	a["list"].([]any)[0] = "changed"
	b, _ := table.Process(Insert, Object{}, nil, nil)
	if b["list"].([]any)[0] != "a" {
		t.Error("two objects share the list of a default")
	}
}

func TestValidate(t *testing.T) {
	table := things()
	if err := table.Validate(Object{"name": "n"}, nil); err != nil {
		t.Error(err)
	}
	if err := table.Validate(decode(t, `{"parent":{"name":"mum"}}`), testEnv()); err == nil ||
		err.Message != "schema violation (parent.id: missing primary key)" {
		t.Errorf("got %v: validation asks nothing of other rows", err)
	}
}

func TestCheckKey(t *testing.T) {
	table := things()
	if err := table.CheckKey("name", "nice"); err != nil {
		t.Error(err)
	}
	err := table.CheckKey("name", "nope")
	if err == nil || err.Code != CodeInvalidUnique || err.Name != "invalid unique name" || err.Message != "not that name" || err.Fields != nil {
		t.Errorf("got %+v", err)
	}
}
