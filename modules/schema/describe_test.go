package schema

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDescribe_usesKongsWords(t *testing.T) {
	table := things()
	got := table.Describe()
	byName := map[string]Object{}
	for _, f := range got["fields"].([]any) {
		o := f.(Object)
		if len(o) != 1 {
			t.Fatalf("a field with %d keys: %v", len(o), o)
		}
		for name, v := range o {
			byName[name] = v.(Object)
		}
	}
	if len(byName) != len(table.Fields.List) {
		t.Errorf("%d of %d fields", len(byName), len(table.Fields.List))
	}
	for name, want := range map[string]string{
		"id":         `{"auto":true,"type":"string","uuid":true}`,
		"created_at": `{"auto":true,"timestamp":true,"type":"integer"}`,
		"type":       `{"default":"plain","required":true,"type":"string"}`,
		"name": `{"match":"^[^!]+$","match_none":[{"err":"no question marks","pattern":"%?"},{"err":"no dollars","pattern":"%$"}],` +
			`"not_one_of":["forbidden"],"starts_with":"n","type":"string","unique":true}`,
		"count":   `{"between":[1,100],"default":5,"required":true,"type":"integer"}`,
		"list":    `{"elements":{"between":[0,9],"type":"integer"},"len_max":3,"type":"array"}`,
		"set":     `{"elements":{"type":"string"},"len_min":1,"mutually_exclusive_subsets":[["a","b"],["c"]],"type":"set"}`,
		"map":     `{"keys":{"len_min":2,"type":"string"},"type":"map","values":{"elements":{"type":"string"},"type":"array"}}`,
		"parent":  `{"reference":"parents","type":"foreign"}`,
		"config":  `{"abstract":true,"type":"record"}`,
		"secret":  `{"len_eq":4,"referenceable":true,"type":"string"}`,
		"records": `{"elements":{"entity_checks":[{"at_least_one_of":["ip","port"]}],"fields":[{"ip":{"type":"string"}},{"port":{"between":[0,65535],"type":"integer"}}],"type":"record"},"type":"array"}`,
	} {
		if diff := cmp.Diff(want, encode(t, byName[name])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	want := `[{"mutually_exclusive":["one","two"]},{"mutually_required":["two","three"]},{"distinct":["one","three"]}]`
	if diff := cmp.Diff(want, encode(t, got["entity_checks"])); diff != "" {
		t.Errorf("entity_checks (-want +got):\n%s", diff)
	}
	limited := encode(t, table.Variants["limited"].Describe())
	want = `{"entity_checks":[{"custom_entity_check":{"field_sources":["count"]}}],"fields":[` +
		`{"config":{"entity_checks":[{"at_least_one_of":["second","minute"]},` +
		`{"conditional":{"if_field":"policy","if_match":{"one_of":["redis"]},"then_field":"redis.host","then_match":{"required":true}}}],` +
		`"fields":[{"second":{"between":[0,10],"type":"integer"}},{"minute":{"type":"integer"}},` +
		`{"policy":{"default":"local","one_of":["local","redis"],"type":"string"}},` +
		`{"redis":{"fields":[{"host":{"type":"string"}},{"port":{"default":6379,"type":"integer"}}],"required":true,"type":"record"}}],` +
		`"required":true,"shorthand_fields":[{"redis_host":{"type":"string"}},` +
		`{"redis_port":{"type":"integer"}},{"redis_secret":{"encrypted":true,"type":"string"}}],"type":"record"}},` +
		`{"flag":{"default":false,"err":"cannot set 'flag'","ne":true,"type":"boolean"}},` +
		`{"ratio":{"eq":null,"type":"number"}}]}`
	if diff := cmp.Diff(want, limited); diff != "" {
		t.Errorf("a variant (-want +got):\n%s", diff)
	}
}

func TestReferencesAndUniques(t *testing.T) {
	table := things()
	if diff := cmp.Diff([]Reference{{"parent", "parents", Restrict}}, table.References()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"name"}, table.Uniques()); diff != "" {
		t.Error(diff)
	}
}
