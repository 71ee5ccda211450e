package declarative

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestResolve_reportsAllErrors reads documents in which comments say what is
// wrong with the line: `#! message`, several times if need be.
func TestResolve_reportsAllErrors(t *testing.T) {
	files, err := filepath.Glob("testdata/errors/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text := readFile(t, file)
			var want []string
			for i, line := range strings.Split(text, "\n") {
				for _, message := range strings.Split(line, "#! ")[1:] {
					want = append(want, fmt.Sprintf("line %d: %s", i+1, strings.TrimSpace(message)))
				}
			}
			slices.Sort(want)
			_, errs := parse(t, text).Resolve(catalog, Options{})
			expect(t, "errors", texts(errs), want)
		})
	}
}

// TestErrors_body holds the answers for clients to the shapes that Kong gives
// them.
func TestErrors_body(t *testing.T) {
	for _, tt := range []struct {
		name, text, fields, flat, rest string
	}{
		{
			name:   "not readable",
			text:   "a: b: c",
			fields: `{"error":"failed parsing declarative configuration: line 1: mapping values are not allowed in this context"}`,
			flat:   `[]`,
			rest:   `{"error":"failed parsing declarative configuration: line 1: mapping values are not allowed in this context"}`,
		},
		{
			name:   "no version",
			text:   "services: []",
			fields: `{"_format_version":"required field missing"}`,
			flat:   `[]`,
			rest:   `{"_format_version":"required field missing"}`,
		},
		{
			name: "fields by position",
			text: "{\"_format_version\":\"3.0\",\"services\":[{\"host\":\"a\"},\n{\"name\":\"b\",\"id\":\"0b5a1c9e-6f0c-4f5b-8a52-4d4a53a4c3f1\",\"tags\":[\"x\"],\"retries\":-1,\n\"tls_verify\":true}]}",
			fields: `{"services":[null,{"@entity":["failed conditional validation given value of field 'protocol'"],` +
				`"host":"required field missing","retries":"value should be between 0 and 32767","tls_verify":"value must be null"}]}`,
			flat: `[{"entity_type":"service","entity_id":"0b5a1c9e-6f0c-4f5b-8a52-4d4a53a4c3f1","entity_name":"b","entity_tags":["x"],` +
				`"entity":{"id":"0b5a1c9e-6f0c-4f5b-8a52-4d4a53a4c3f1","name":"b","retries":-1,"tags":["x"],"tls_verify":true},"line":2,"errors":[` +
				`{"type":"entity","message":"failed conditional validation given value of field 'protocol'","line":2},` +
				`{"type":"field","field":"host","message":"required field missing","line":2},` +
				`{"type":"field","field":"retries","message":"value should be between 0 and 32767","line":2},` +
				`{"type":"field","field":"tls_verify","message":"value must be null","line":3}]}]`,
			rest: `{}`,
		},
		{
			name: "nested, in deeper records and sets",
			text: `{"_format_version":"3.0","upstreams":[{"name":"u","id":"0b5a1c9e-6f0c-4f5b-8a52-4d4a53a4c3f1",` +
				`"targets":[{"target":"ok"},{"target":"a b","tags":["x","a,b"]}],"healthchecks":{"active":{"timeout":"x"}}}]}`,
			fields: `{"upstreams":[{"healthchecks":{"active":{"timeout":"expected a number"}},` +
				`"targets":[null,{"tags":[null,"invalid tag 'a,b': expected printable ascii (except ` + "`,` and `/`" + `) or valid utf-8 sequences"],` +
				`"target":"Invalid target ('a b'); not a valid hostname or ip address"}]}]}`,
			flat: `[` +
				`{"entity_type":"upstream","entity_id":"0b5a1c9e-6f0c-4f5b-8a52-4d4a53a4c3f1","entity_name":"u","entity":{"healthchecks":{"active":{"timeout":"x"}},"id":"0b5a1c9e-6f0c-4f5b-8a52-4d4a53a4c3f1","name":"u"},"line":1,"errors":[` +
				`{"type":"field","field":"healthchecks.active.timeout","message":"expected a number","line":1}]},` +
				`{"entity_type":"target","entity_tags":["x","a,b"],"entity":{"tags":["x","a,b"],"target":"a b","upstream":{"id":"0b5a1c9e-6f0c-4f5b-8a52-4d4a53a4c3f1"}},"line":1,"errors":[` +
				`{"type":"field","field":"tags.2","message":"invalid tag 'a,b': expected printable ascii (except ` + "`,` and `/`" + `) or valid utf-8 sequences","line":1},` +
				`{"type":"field","field":"target","message":"Invalid target ('a b'); not a valid hostname or ip address","line":1}]}]`,
			rest: `{}`,
		},
		{
			name:   "references under the entity's key, duplicates at its position",
			text:   `{"_format_version":"3.0","routes":[{"name":"r","hosts":["a"],"service":"x"},{"name":"r","hosts":["a"]}]}`,
			fields: `{"routes":{"2":"uniqueness violation: 'routes' entity with name set to 'r' already declared","r":["invalid reference 'service: x' (no such entry in 'services')"]}}`,
			flat: `[{"entity_type":"route","entity_name":"r","entity":{"hosts":["a"],"name":"r","service":"x"},"line":1,"errors":[{"type":"field","field":"service","message":"invalid reference 'service: x' (no such entry in 'services')","line":1}]},` +
				`{"entity_type":"route","entity_name":"r","entity":{"hosts":["a"],"name":"r"},"line":1,"errors":[{"type":"entity","message":"uniqueness violation: 'routes' entity with name set to 'r' already declared","line":1}]}]`,
			rest: `{}`,
		},
		{
			name: "the nil UUID identifies nothing",
			text: `{"_format_version":"3.0","services":[{"id":"00000000-0000-0000-0000-000000000000","name":"s","host":"h","routes":[{"name":"a","hosts":["a"]}]}],` +
				`"routes":[{"name":"b","hosts":["b"],"service":"00000000-0000-0000-0000-000000000000"}]}`,
			fields: `{"routes":{"b":["invalid reference 'service: 00000000-0000-0000-0000-000000000000' (no such entry in 'services')"]},"services":[{"id":"expected a valid UUID"}]}`,
			flat: `[{"entity_type":"service","entity_name":"s","entity":{"host":"h","id":"00000000-0000-0000-0000-000000000000","name":"s"},"line":1,"errors":[{"type":"field","field":"id","message":"expected a valid UUID","line":1}]},` +
				`{"entity_type":"route","entity_name":"b","entity":{"hosts":["b"],"name":"b","service":"00000000-0000-0000-0000-000000000000"},"line":1,"errors":[` +
				`{"type":"field","field":"service","message":"invalid reference 'service: 00000000-0000-0000-0000-000000000000' (no such entry in 'services')","line":1}]}]`,
			rest: `{}`,
		},
		{
			name:   "what belongs to no entity stays behind",
			text:   `{"_format_version":"3.0","foo":1,"consumers":[7,{"username":9}]}`,
			fields: `{"consumers":["expected a record",{"username":"expected a string"}],"foo":"unknown field"}`,
			flat: `[{"entity_type":"consumer","entity":{"username":9},"line":1,"errors":[` +
				`{"type":"field","field":"username","message":"expected a string","line":1}]}]`,
			rest: `{"consumers":["expected a record"],"foo":"unknown field"}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			errs := wrong(t, tt.text)
			body := errs.Body()
			expect(t, "code", body.Code, 14)
			expect(t, "name", body.Name, "invalid declarative configuration")
			expect(t, "fields", encode(t, body.Fields), tt.fields)
			flat := errs.Flatten()
			expect(t, "flattened", encode(t, flat.Flattened), tt.flat)
			expect(t, "fields left", encode(t, flat.Fields), tt.rest)
		})
	}
}

func TestErrors_messageIsALuaTable(t *testing.T) {
	errs := wrong(t, `{"_format_version":"3.0","services":[{"name":"a"},{"name":"a b","host":"h"}]}`)
	expect(t, "message", errs.Body().Message, `declarative config is invalid: {services={{host="required field missing"},`+
		`{name="invalid value 'a b': the only accepted ascii characters are alphanumerics or ., -, _, and ~"}}}`)
}

// TestFlatErrors_JSON looks at the whole body, with the list beside Kong's
// other members.
func TestFlatErrors_JSON(t *testing.T) {
	flat := wrong(t, `{"_format_version":"3.0","foo":1}`).Flatten()
	expect(t, "body", encode(t, flat), `{"code":14,"name":"invalid declarative configuration",`+
		`"message":"declarative config is invalid: {foo=\"unknown field\"}","fields":{"foo":"unknown field"},"flattened_errors":[]}`)

	flat = wrong(t, `{"_format_version":"3.0","consumers":[{}]}`).Flatten()
	flat.Flattened = nil
	expect(t, "body with nothing left", encode(t, flat), `{"code":14,"name":"invalid declarative configuration",`+
		`"message":"declarative config is invalid: {}","fields":{},"flattened_errors":null}`)
}

func TestErrors_sparseListsAreObjectsWhenTooLong(t *testing.T) {
	var b branch
	b.add([]any{"routes", 40_000, "name"}, "x")
	expect(t, "tree", encode(t, b.render()), `{"routes":{"40000":{"name":"x"}}}`)
}

func TestErrors_manyAreSummedUp(t *testing.T) {
	errs := wrong(t, "_format_version: '3.0'\nservices: ["+strings.Repeat("{}, ", 9)+"]")
	if got := errs.Error(); strings.Count(got, "host: required field missing") != 5 || !strings.HasSuffix(got, "; and 4 more") {
		t.Error(got)
	}
}

// TestErrors_manyOfOneEntity makes sure that the work does not grow with the
// square of what is wrong with one entity: it would take many minutes then.
func TestErrors_manyOfOneEntity(t *testing.T) {
	const n = 100_000
	fields := manyKeys(n)
	for name, text := range map[string]string{
		"in the entity":    `{"_format_version":"3.0","services":[{"host":"h",` + fields + `,"name":"s"}]}`,
		"in a record":      `{"_format_version":"3.0","upstreams":[{"name":"s","healthchecks":{` + fields + `}}]}`,
		"in a nested one":  `{"_format_version":"3.0","services":[{"host":"h","name":"x","routes":[{"hosts":["a"],` + fields + `,"name":"s"}]}]}`,
		"without its text": `{"_format_version":"3.0","consumers":[` + strings.Repeat("7,", n-1) + `7]}`,
	} {
		t.Run(name, func(t *testing.T) {
			errs := wrong(t, text)
			expect(t, "problems", len(errs.Problems), n)
			flat := errs.Flatten()
			if name == "without its text" {
				expect(t, "entities", len(flat.Flattened), 0)
				return
			}
			expect(t, "label", errs.Problems[n-1].Entity, "s")
			expect(t, "entities", len(flat.Flattened), 1)
			expect(t, "messages", len(flat.Flattened[0].Errors), n)
		})
	}
}

// wrong answers what is wrong with a text, whether it is found by reading or by
// resolving it.
func wrong(t *testing.T, text string) *Errors {
	t.Helper()
	doc, err := Parse([]byte(text))
	if err != nil {
		return err.(*Errors)
	}
	rows, errs := doc.Resolve(catalog, Options{})
	if errs == nil {
		t.Fatalf("no error in %s", text)
	}
	if rows != nil {
		t.Errorf("rows along with errors: %v", rows)
	}
	return errs
}

func encode(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(b))
}
