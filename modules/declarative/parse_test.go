package declarative

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParse_errorsHaveTheirLine(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "line 1: expected an object"},
		{"a comment only", "# services\n", "line 1: expected an object"},
		{"a word", "hello", "line 1: expected an object"},
		{"a list in JSON", `["a"]`, "line 1: expected an object"},
		{"a list in YAML", "\n- a\n", "line 2: expected an object"},
		{"no value", "{\"a\":\n\n]", "line 3: expected a value, got ']'"},
		{"no end", "{\"a\": 1,\n\"b\": [1,\n2", "line 3: expected ',' or ']', but the text ends"},
		{"no quotes", "{\n\"a\": b\n c: 1}", "line 2: expected a value, got 'b'"},
		{"text behind the end", "{}\n\n}", "line 3: expected the end of the text, got '}'"},
		{"a tab in a string", "{\n\"a\": \"b\tc\n\"d\": 1}", "line 2: expected no control characters within a string, got '\\t'"},
		{"a wrong escape", "{\n\"a\": \"\\x\"}}", `line 2: unknown escape "\\x" in a string`},
		{"half an escape", `{"a": "\u12"}`, `line 1: expected four hexadecimal digits after \u`},
		{"too large a number", "{\"a\": 1e999}}", "line 1: number 1e999 is out of range"},
		{"a bad number", "{\"a\": 01]", "line 1: expected ',' or '}', got '1'"},
		{"too deep", "[" + strings.Repeat("[", 1000), "line 1: nested deeper than 1000 levels"},
		{"too deep in YAML", "a: " + strings.Repeat("[", 1000) + strings.Repeat("]", 1000), "line 1: nested deeper than 1000 levels"},
		{"repeated keys in JSON", "{\"a\": 1,\n\"b\": {\"c\": 1,\n\"c\": 2},\n\"a\": 2}", "line 3: duplicate key \"c\" (first on line 2); line 4: duplicate key \"a\" (first on line 1)"},
		{"a repeated key among many", "{" + strings.Repeat("\n", 9) + manyKeys(40) + ",\n\"k7\": 1}", "line 11: duplicate key \"k7\" (first on line 10)"},
		{"repeated keys in YAML", "a: 1\nb:\n- c: 1\n  d: 2\n  c: 3\na: 2\n", "line 5: duplicate key \"c\" (first on line 3); line 6: duplicate key \"a\" (first on line 1)"},
		{"two documents", "a: 1\n---\nb: 1\n", "line 3: a second document begins here, where one is expected"},
		{"indentation in YAML", "a:\n  b: 1\n c: 2\n", "line 3: did not find expected key"},
		{"colons in YAML", "a: b: c\n", "line 1: mapping values are not allowed in this context"},
		{"an open list in YAML", "a: 1\nb: [1,\nc: 2\n", "line 2: did not find expected ',' or ']'"},
		{"a tab in YAML", "a:\n\tb: 1\n", "line 2: found character that cannot start any token"},
		{"a control character in YAML", "a: 1\nb: \"\x01\"\n", "line 2: control characters are not allowed"},
		{"an unknown anchor", "a: 1\nb: *c\n", "line 2: unknown anchor 'c' referenced"},
		{"an anchor in itself", "a: 1\nb: &c [*c]\n", "line 2: the anchor \"c\" contains itself"},
		{"a list as a key", "a: 1\n? [b]\n: 1\n", "line 2: expected a key that is a string"},
		{"a merge of a word", "a: 1\n<<: b\n", "line 2: only mappings can be merged"},
		{"infinity", "a: 1\nb: .inf\n", "line 2: number .inf is out of range"},
		{"no UTF-8", "a: 1\nb: \xff\n", "line 2: invalid UTF-8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			doc, err := Parse([]byte(tt.text))
			if err == nil {
				t.Fatalf("%q is %v", tt.text, doc.root)
			}
			expect(t, fmt.Sprintf("%q", tt.text), err.Error(), tt.want)
		})
	}
}

func manyKeys(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("\"k%d\": 1", i)
	}
	return strings.Join(list, ",")
}

// TestParse_billionLaughs makes sure that a small text cannot become large.
func TestParse_billionLaughs(t *testing.T) {
	text := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := range 12 {
		alias := fmt.Sprintf("*a%d,", i)
		text += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.Repeat(alias, 10))
	}
	_, err := Parse([]byte(text))
	if err == nil || !strings.Contains(err.Error(), "more than 10000000 values, most of them by aliases") {
		t.Error(err)
	}
}

// TestParse_mergesOfManyKeys makes sure that the work does not grow with the
// square of the keys: it would take many minutes then.
func TestParse_mergesOfManyKeys(t *testing.T) {
	const n = 200_000
	var b strings.Builder
	b.WriteString("a: &a\n")
	for i := range n {
		fmt.Fprintf(&b, "  k%d: 1\n", i)
	}
	b.WriteString("b:\n  k7: 2\n  <<: [*a, *a, {k8: 2, k: 2}]\n")
	merged := parse(t, b.String()).root[1].value.(members)
	expect(t, "keys", len(merged), n+1)
	for key, want := range map[string]int64{"k7": 2, "k8": 1, "k": 2} {
		expect(t, key, merged.get(key).value, any(want))
	}
}

// TestParse_YAMLScalars reads them as Kong's parser and decK do.
func TestParse_YAMLScalars(t *testing.T) {
	for text, want := range map[string]any{
		"1": int64(1), "-7": int64(-7), "0x1F": int64(31), "1_000": int64(1000), "1.5": 1.5, "1e3": 1000.0,
		"9223372036854775808": 9223372036854775808.0,
		"true":                true, "False": false, "yes": true, "No": false, "on": true, "OFF": false,
		"'yes'": "yes", "\"off\"": "off", "y": "y",
		"null": nil, "~": nil, "": nil, "''": "",
		"2024-01-02": "2024-01-02", "10.0.0.1": "10.0.0.1", "1.2.3": "1.2.3", "::1": "::1", "~/a": "~/a",
		"!!str 12": "12", "!!binary aGk=": "hi", "|\n  a\n  b\n": "a\nb\n",
	} {
		doc := parse(t, "a: "+text)
		if got := doc.root[0].value; !reflect.DeepEqual(got, want) {
			t.Errorf("%q is %#v, want %#v", text, got, want)
		}
	}
}

func TestParse_mergeKeys(t *testing.T) {
	doc := parse(t, "_ignore:\n- &a {x: 1, y: 1}\n- &b {y: 2, z: 2}\nc:\n  <<: [*a, *b]\n  x: 3\nd:\n  <<: *a\n")
	plain := node{value: doc.root}.plain().(map[string]any)
	expect(t, "c", encode(t, plain["c"]), `{"x":3,"y":1,"z":2}`)
	expect(t, "d", encode(t, plain["d"]), `{"x":1,"y":1}`)
}

func TestParse_acceptsWhatEditorsWrite(t *testing.T) {
	for _, text := range []string{
		"\ufeff_format_version: '3.0'\n",
		"\ufeff{\"_format_version\": \"3.0\"}",
		"--- # kong\n_format_version: '3.0'\n...\n",
		"_format_version: '3.0'\n---\n",
		"_format_version: '3.0'\r\nservices:\r\n- name: a\r\n  host: b\r\n",
		"{_format_version: '3.0',}",
		"  {\n\t\"_format_version\" : \"3.0\" }\n\n",
	} {
		if _, errs := parse(t, text).Resolve(catalog, Options{}); errs != nil {
			t.Errorf("%q: %v", text, errs)
		}
	}
}

func TestDocument_hash(t *testing.T) {
	doc := parse(t, "_format_version: '3.0'\n")
	expect(t, "of a text", doc.Hash(), "d77d2ce3e8823b105929691c9b13ae54")
	expect(t, "of an object", FromObject(map[string]any{"_format_version": "3.0"}).Hash(), "")
	rows := resolve(t, "_format_version: '3.0'\nservices: [{host: a}]", start)
	expect(t, "of what a text became", doc.HashOf(rows), doc.Hash())
	expect(t, "of a text without entities", doc.HashOf(nil), EmptyHash)
	expect(t, "of an object without entities", (&Document{}).HashOf(nil), EmptyHash)
	a, b := "_format_version: '3.0'\nservices: [{host: a, id: 0b5a1c9e-6f0c-4f5b-8a52-4d4a53a4c3f1}]", "_format_version: '3.0'\nservices: [{host: b, id: 0b5a1c9e-6f0c-4f5b-8a52-4d4a53a4c3f1}]"
	if x, y := (&Document{}).HashOf(resolve(t, a, start)), (&Document{}).HashOf(resolve(t, a, start)); x != y || len(x) != 32 {
		t.Errorf("the same rows have the hashes %s and %s", x, y)
	}
	if x, y := (&Document{}).HashOf(resolve(t, a, start)), (&Document{}).HashOf(resolve(t, b, start)); x == y {
		t.Errorf("different rows have the same hash %s", x)
	}
}

func TestFromObject_isLikeItsText(t *testing.T) {
	const text = `{"_format_version":"3.0","services":[{"name":"a","host":"b","tags":["x"],"routes":[{"paths":["/a"],"headers":{"x":["1"]}}]}]}`
	var o map[string]any
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	same := func() any { return encode(t, node{value: FromObject(o).root}.plain()) }
	expect(t, "tree", same(), any(encode(t, node{value: parse(t, text).root}.plain())))
	rows, errs := FromObject(o).Resolve(catalog, Options{Now: start})
	if errs != nil || len(rows) != 2 || rows[0].Line != 0 {
		t.Errorf("%v, %v", rows, errs)
	}
}

// FuzzParseJSON compares with the standard decoder.
func FuzzParseJSON(f *testing.F) {
	for _, text := range []string{
		`{"a":[1,-2.5e3,0,"x\n\u00e9\ud83d\ude00",true,false,null,{}],"b":{"c":[]}}`, "[1 , 2]", `"\ud83d"`, `{"a":1,"a":2}`,
		"1e400", "-0", "0.0", "9223372036854775808", " [ ] ", "{\"\\\"\":\"\\/\"}", "[1,]", "nul", "01",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return // checked before
		}
		n, err := parseJSON(text, func(int, string, ...any) {})
		var want any
		wantErr := json.Unmarshal([]byte(text), &want)
		if err != nil && wantErr == nil && !strings.Contains(err.Error(), "nested deeper") {
			t.Fatalf("%q: %v, but it is valid", text, err)
		}
		if err == nil && wantErr != nil {
			t.Fatalf("%q is taken as %v, but: %v", text, n, wantErr)
		}
		if err == nil && wantErr == nil && !reflect.DeepEqual(floats(n.plain()), want) {
			t.Errorf("%q is %v, want %v", text, n.plain(), want)
		}
		if err == nil && 1+strings.Count(text, "\n") < n.line {
			t.Errorf("%q: line %d", text, n.line)
		}
	})
}

// floats turns all numbers into those of the standard decoder.
func floats(v any) any {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case []any:
		for i := range v {
			v[i] = floats(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = floats(v[k])
		}
	}
	return v
}

// lineEnd is what YAML takes for one.
var lineEnd = regexp.MustCompile("\r\n|[\r\n\u0085\u2028\u2029]")

// FuzzResolve makes sure that no text brings the reader down, and that a
// problem never lies outside of the text.
func FuzzResolve(f *testing.F) {
	f.Add([]byte("_format_version: '3.0'\nservices:\n- name: a\n  url: http://b\n  routes: [{paths: [/x]}]\nroutes: [{service: a}]\n"))
	f.Add([]byte(`{"_format_version":"2.1","plugins":[{"name":"key-auth","config":null,"route":{"id":7}}],"snis":[{}],"certificates":[{"snis":[{"name":"*"}]}]}`))
	f.Add([]byte("_format_version: '1.1'\nroutes: [{paths: ['/%2e%zz(', 7, null]}]\nupstreams: [{name: a, targets: [{target: '[::1'}]}]\n"))
	f.Add([]byte("_format_version: '3.0'\nworkspaces: [{name: default}, 3]\nkey_sets: [{name: a, keys: [{kid: b, pem: {}}]}]\nvaults: [{name: env, prefix: a}]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		doc, err := Parse(text)
		var errs *Errors
		if err != nil {
			errs = err.(*Errors)
		} else if _, errs = doc.Resolve(catalog, Options{}); errs == nil {
			return
		}
		if len(errs.Problems) == 0 {
			t.Fatal("an error without a problem")
		}
		encode(t, errs.Body())
		encode(t, errs.Flatten())
		lines := 1 + len(lineEnd.FindAll(text, -1))
		for _, p := range errs.Problems {
			if p.Line < 1 || p.Line > lines || p.Message == "" {
				t.Errorf("%q: %+v in a text of %d lines", text, p, lines)
			}
		}
	})
}
