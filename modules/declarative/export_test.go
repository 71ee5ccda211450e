package declarative

import (
	"bufio"
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestExport_YAML(t *testing.T) {
	w := newWorld(t)
	w.sync(`_format_version: "3.0"
services:
- name: a
  url: http://a.com:81/x
  tags: ["on", "12"]
  routes:
  - name: r
    paths: ['~/a\d', /b]
    headers: {x-a: [it's], "7": ["#"]}
  plugins:
  - name: rate-limiting
    config: {minute: 1.5}
`, SyncOptions{})
	expect(t, "text", w.export(YAML), `_format_version: '3.0'
_transform: false
services:
- id: 72734e2a-702d-5711-b9ef-697178108ad8
  created_at: 1700003600
  updated_at: 1700003600
  name: a
  retries: 5
  protocol: http
  host: a.com
  port: 81
  path: /x
  connect_timeout: 60000
  write_timeout: 60000
  read_timeout: 60000
  tags:
  - 'on'
  - '12'
  client_certificate: null
  tls_verify: null
  tls_verify_depth: null
  ca_certificates: null
  enabled: true
  proxy_protocol: null
  source_addresses: null
routes:
- id: da7ba03a-f1be-52d4-8a7e-c8f32640689a
  created_at: 1700003600
  updated_at: 1700003600
  name: r
  protocols:
  - http
  - https
  https_redirect_status_code: 426
  strip_path: true
  preserve_host: false
  request_buffering: true
  response_buffering: true
  tags: null
  service: 72734e2a-702d-5711-b9ef-697178108ad8
  snis: null
  sources: null
  destinations: null
  methods: null
  hosts: null
  paths:
  - '~/a\d'
  - /b
  headers:
    '7':
    - '#'
    x-a:
    - 'it''s'
  regex_priority: 0
  path_handling: v0
plugins:
- id: cbf4458a-295a-57f5-a5f2-604f50ca7b6c
  name: rate-limiting
  instance_name: null
  created_at: 1700003600
  updated_at: 1700003600
  route: null
  service: 72734e2a-702d-5711-b9ef-697178108ad8
  consumer: null
  config:
    minute: 1.5
    hour: null
    redis:
      host: null
      port: 6379
  protocols:
  - grpc
  - grpcs
  - http
  - https
  enabled: true
  ordering: null
  tags: null
`)
}

func TestExport_empty(t *testing.T) {
	w := newWorld(t)
	expect(t, "yaml", w.export(YAML), "_format_version: '3.0'\n_transform: false\n")
	expect(t, "json", w.export(JSON), "{\n\"_format_version\":\"3.0\",\n\"_transform\":false\n}\n")
	if err := Export(new(bytes.Buffer), w.image, "xml"); err == nil {
		t.Error("there is no format xml")
	}
}

// TestExport_stopsWhenNobodyReads makes sure that a client that leaves does
// not let the gateway write on.
func TestExport_stopsWhenNobodyReads(t *testing.T) {
	w := newWorld(t)
	w.sync(string(manyRoutes(3000, JSON)), SyncOptions{})
	gone := &gone{}
	if err := Export(gone, w.image, YAML); !errors.Is(err, errGone) || gone.writes != 1 {
		t.Errorf("%v after %d writes", err, gone.writes)
	}
}

var errGone = errors.New("gone")

type gone struct{ writes int }

func (g *gone) Write([]byte) (int, error) { g.writes++; return 0, errGone }

// TestYAMLWriter_readsBack writes any strings and shapes, and reads them with
// the library.
func TestYAMLWriter_readsBack(t *testing.T) {
	text := rapid.OneOf(
		rapid.String(),
		rapid.StringMatching(`[ \n\t:#'"\-a~!&*?{}\[\]|>%@,0-9.]{0,8}`),
		rapid.StringMatching(`(line [0-9]+:? ?\n){1,3}( x)?`),
		rapid.SampledFrom([]string{"", "null", "Null", "~", "yes", "NO", "on", "true", "y", "1", "1e3", "0x1", "1_0", ".5", ".inf", "-", "- a", "a: b", "<<", "=",
			"2001-01-01", "12:30", "{vault://env/x}", "a\nb\n", "a\n\n", "\n", " a\nb", "a \nb", "\u2028", "\u0085", "\x00", "\ufeff", "é😀", "---", "..."}),
	)
	var value func(depth int) *rapid.Generator[node]
	value = func(depth int) *rapid.Generator[node] {
		scalars := rapid.OneOf(
			rapid.Map(text, func(s string) node { return node{value: s} }),
			rapid.Map(rapid.Int64Range(-1<<53, 1<<53), func(i int64) node { return node{value: i} }),
			rapid.Map(rapid.Float64Range(-1e6, 1e6), func(x float64) node { return node{value: x} }),
			rapid.Map(rapid.Bool(), func(b bool) node { return node{value: b} }),
			rapid.Just(node{}),
		)
		if depth == 0 {
			return scalars
		}
		return rapid.OneOf(scalars,
			rapid.Map(rapid.SliceOfN(value(depth-1), 0, 3), func(list []node) node { return node{value: list} }),
			rapid.Map(rapid.SliceOfNDistinct(text, 0, 3, rapid.ID), func(keys []string) node {
				m := members{}
				for i, key := range keys {
					m = append(m, member{key, value(depth - 1).Example(i)})
				}
				return node{value: m}
			}))
	}
	rapid.Check(t, func(t *rapid.T) {
		value := value(3).Draw(t, "value")
		tree := members{{"list", node{value: []node{{value: members{{"key", value}}}}}}}
		report := func(line int, format string, args ...any) { t.Errorf(format, args...) }
		for _, format := range []Format{YAML, JSON} {
			var b bytes.Buffer
			out := bufio.NewWriter(&b)
			read := parseJSON
			if format == JSON {
				(&jsonWriter{w: out}).value(tree)
			} else {
				(&yamlWriter{w: out}).members(tree, 0, false)
				read = func(text string, _ func(int, string, ...any)) (node, error) { return parseYAML([]byte(text), report) }
			}
			out.Flush()
			got, err := read(b.String(), report)
			if err != nil {
				t.Fatalf("%v\n%s", err, b.String())
			}
			if got, want := numbers(got.plain()), numbers(node{value: tree}.plain()); !reflect.DeepEqual(got, want) {
				t.Fatalf("%#v is read back as %#v\n%s", want, got, b.String())
			}
		}
	})
}

// numbers makes whole numbers integers, as which they are written.
func numbers(v any) any {
	switch v := v.(type) {
	case float64:
		if i := int64(v); float64(i) == v {
			return i
		}
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	}
	return v
}

func TestScalarText_isReadable(t *testing.T) {
	for s, want := range map[string]string{
		"plain-text_1.x/y": "plain-text_1.x/y", "/api/v1": "/api/v1", "0b5a1c9e-6f0c-4f5b-8a52-4d4a53a4c3f1": "0b5a1c9e-6f0c-4f5b-8a52-4d4a53a4c3f1",
		"yes": "'yes'", "1": "'1'", `~/a\d`: `'~/a\d'`, "it's": "'it''s'", "": "''", "a b": "'a b'",
		"-----BEGIN\nx\n-----END\n": "|\n  -----BEGIN\n  x\n  -----END", "a\nb": "|-\n  a\n  b", " a\nb": `" a\nb"`, "a\tb": `"a\u0009b"`,
	} {
		expect(t, s, scalarText(s, 2), want)
	}
	if strings.Contains(scalarText("a\nb", 0), "\n") {
		t.Error("a key goes over two lines")
	}
}
