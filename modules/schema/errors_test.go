package schema

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

func TestErrors_haveKongsShape(t *testing.T) {
	id := uuid.MustParse(parentID)
	for _, tt := range []struct {
		err  *Error
		want string
	}{
		{InvalidPrimaryKey(), `{"code":1,"name":"invalid primary key","message":"invalid primary key: '{id=\"expected a valid UUID\"}'","fields":{"id":"expected a valid UUID"}}`},
		{Violation(Object{"a": "x", "@entity": []any{"first"}, "b": Object{"c": "y"}, "d": []any{nil, "z"}}),
			`{"code":2,"name":"schema violation","message":"4 schema violations (first; a: x; b.c: y; d.2: z)","fields":{"@entity":["first"],"a":"x","b":{"c":"y"},"d":[null,"z"]}}`},
		{PrimaryKeyViolation(id), `{"code":3,"name":"primary key violation","message":"primary key violation on key '{id=\"` + parentID + `\"}'","fields":{"id":"` + parentID + `"}}`},
		{ForeignMissing("service", "services", id), `{"code":4,"name":"foreign key violation","message":"the foreign key '{id=\"` + parentID + `\"}' does not reference an existing 'services' entity.","fields":{"service":{"id":"` + parentID + `"}}}`},
		{ReferencedBy("routes", "services"), `{"code":4,"name":"foreign key violation","message":"an existing 'routes' entity references this 'services' entity","fields":{"@referenced_by":"routes"}}`},
		{UniqueViolation(Object{"name": "x"}), `{"code":5,"name":"unique constraint violation","message":"UNIQUE violation detected on '{name=\"x\"}'","fields":{"name":"x"}}`},
		{UniqueViolation(Object{"name": "basic-auth", "consumer": nil, "service": nil, "route": Object{"id": parentID}}),
			`{"code":5,"name":"unique constraint violation","message":"UNIQUE violation detected on '{consumer=null,name=\"basic-auth\",route={id=\"` + parentID + `\"},service=null}'","fields":{"consumer":null,"name":"basic-auth","route":{"id":"` + parentID + `"},"service":null}}`},
		{NotFoundByID(id), `{"code":6,"name":"not found","message":"could not find the entity with primary key '{id=\"` + parentID + `\"}'","fields":{"id":"` + parentID + `"}}`},
		{NotFoundByKey("name", "x"), `{"code":6,"name":"not found","message":"could not find the entity with '{name=\"x\"}'","fields":{"name":"x"}}`},
		{InvalidOffset("x"), `{"code":7,"name":"invalid offset","message":"'x' is not a valid offset: bad base64 encoding"}`},
		{InvalidSize("size must be a number"), `{"code":9,"name":"invalid size","message":"size must be a number"}`},
		{InvalidUnique("name", "bad"), `{"code":10,"name":"invalid unique name","message":"bad"}`},
		{InvalidOptions("tags", "invalid filter syntax"), `{"code":11,"name":"invalid options","message":"invalid option (tags: invalid filter syntax)","options":{"tags":"invalid filter syntax"}}`},
		{Unsupported("no"), `{"code":12,"name":"operation unsupported","message":"no"}`},
		{foreignKeysUnresolved(Object{"service": Object{"name": unresolved("name", "x", "services")}}), `{"code":13,"name":"foreign keys unresolved","message":"foreign key unresolved (service.name: the foreign key cannot be resolved with '{name=\"x\"}' for an existing 'services' entity)","fields":{"service":{"name":"the foreign key cannot be resolved with '{name=\"x\"}' for an existing 'services' entity"}}}`},
		{Declarative(Object{"routes": []any{Object{"paths": []any{nil, "bad"}}}}), `{"code":14,"name":"invalid declarative configuration","message":"declarative config is invalid: {routes={{paths={[2]=\"bad\"}}}}","fields":{"routes":[{"paths":[null,"bad"]}]}}`},
		{ReferencedByOthers("x"), `{"code":19,"name":"referenced by others","message":"x"}`},
	} {
		if diff := cmp.Diff(tt.want, encode(t, tt.err)); diff != "" {
			t.Errorf("code %d (-want +got):\n%s", tt.err.Code, diff)
		}
		if tt.err.Error() != tt.err.Message {
			t.Errorf("code %d: Error() is %q", tt.err.Code, tt.err.Error())
		}
	}
}

func TestLua(t *testing.T) {
	for _, tt := range []struct {
		v             any
		line, indents string
	}{
		{"a\"b\\", `"a\"b\\"`, `"a\"b\\"`},
		{"a\nb", "[[a\nb]]", "[[a\nb]]"},
		{int64(5), "5", "5"},
		{0.5, "0.5", "0.5"},
		{true, "true", "true"},
		{Object{}, "{}", "{\n}"},
		{Object{"b": []any{"x", nil, "y"}, "a-b": "z", "end": true},
			`{["a-b"]="z",b={"x",[3]="y"},["end"]=true}`,
			"{\n  [\"a-b\"] = \"z\",\n  b = {\n    \"x\",\n    [3] = \"y\"\n  },\n  [\"end\"] = true\n}"},
	} {
		if got := lua(tt.v, ""); got != tt.line {
			t.Errorf("on one line: got %s, want %s", got, tt.line)
		}
		if got := lua(tt.v, "  "); got != tt.indents {
			t.Errorf("on several: got %s, want %s", got, tt.indents)
		}
	}
}
