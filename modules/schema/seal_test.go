package schema

import (
	"strings"
	"testing"
)

// TestSeal: what is sealed is stored, exported, and shown to no client.
func TestSeal(t *testing.T) {
	table := &Table{Name: "t", Fields: &Fields{List: []Field{
		{Name: "name", Kind: String},
		{Name: "secret", Kind: String, Seal: func(value, was string) string {
			if strings.HasPrefix(value, "sealed ") || was == "sealed "+value {
				return "sealed " + strings.TrimPrefix(value, "sealed ")
			}
			return "sealed " + value
		}},
	}}}
	o := Object{"name": "n", "secret": "s"}
	asked := ""
	sealed := table.Seal(o, func(field string) any {
		asked += field
		return nil
	})
	if o["secret"] != "s" || sealed["secret"] != "sealed s" || asked != "secret" {
		t.Errorf("sealing %v made %v, and asked for %q", o, sealed, asked)
	}
	if again := table.Seal(sealed, func(string) any { return nil }); again["secret"] != "sealed s" {
		t.Errorf("sealing twice made %v", again)
	}
	if unset := table.Seal(Object{"name": "n", "secret": nil}, func(string) any { return "sealed s" }); unset["secret"] != nil {
		t.Errorf("sealing nothing made %v", unset)
	}
	for what, got := range map[string]string{
		`{"name":"n","secret":null}`:       string(table.Marshal(sealed)),
		`{"name":"n","secret":"sealed s"}`: string(table.Export(sealed)),
	} {
		if got != what {
			t.Errorf("got %s, want %s", got, what)
		}
	}
	if got := string(table.Pack(sealed)); got != `{"name":"n","secret":"sealed s"}` {
		t.Errorf("stored is %s", got)
	}
}

func TestTable_below(t *testing.T) {
	fields := &Fields{List: []Field{{Name: "consumer", Kind: Foreign}, {Name: "group", Kind: String}, {Name: "n", Kind: Integer}}}
	for _, tt := range []struct {
		table Table
		want  string
	}{
		{Table{Fields: fields, CacheKey: []string{"consumer", "group"}}, "group"},
		{Table{Fields: fields, CacheKey: []string{"group", "consumer"}}, "group"},
		{Table{Fields: fields, CacheKey: []string{"consumer", "n"}}, ""},
		{Table{Fields: fields, CacheKey: []string{"group", "n"}}, ""},
		{Table{Fields: fields}, ""},
		{Table{Fields: fields, Key: "group", CacheKey: []string{"consumer", "group"}}, ""},
	} {
		if got := tt.table.Below("consumer"); got != tt.want {
			t.Errorf("%v %q: got %q, want %q", tt.table.CacheKey, tt.table.Key, got, tt.want)
		}
	}
}
