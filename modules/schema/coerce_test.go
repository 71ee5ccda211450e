package schema

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCoerce(t *testing.T) {
	for _, tt := range []struct{ name, form, want string }{
		{"by the field's type", `{"count":"80","ratio":"1.5","flag":"true","one":"80"}`, `{"count":80,"flag":true,"one":"80","ratio":1.5}`},
		{"an empty text is null", `{"count":"","one":"","foo":""}`, `{"count":null,"foo":null,"one":null}`},
		{"one value makes a list", `{"list":"1","set":"a"}`, `{"list":[1],"set":["a"]}`},
		{"lists, maps and records", `{"list":["1","2"],"map":{"xx":"a"},"records":[{"port":"1"}]}`, `{"list":[1,2],"map":{"xx":["a"]},"records":[{"port":1}]}`},
		{"one record makes a list", `{"records":{"port":"1"}}`, `{"records":[{"port":1}]}`},
		{"references", `{"parent":{"name":"1"}}`, `{"parent":{"name":"1"}}`},
		{"the variant's fields", `{"type":"limited","config":{"second":"5","redis":{"port":"1"}}}`, `{"config":{"redis":{"port":1},"second":5},"type":"limited"}`},
		{"what does not fit is left", `{"count":"many","flag":"yes","list":{"a":"1"},"foo":"bar","ratio":"0x10"}`,
			`{"count":"many","flag":"yes","foo":"bar","list":{"a":"1"},"ratio":"0x10"}`},
		{"what has a type already is left", `{"count":5,"flag":false,"list":[1]}`, `{"count":5,"flag":false,"list":[1]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, encode(t, things().Coerce(decode(t, tt.form)))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
