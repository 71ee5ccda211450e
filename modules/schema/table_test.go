package schema

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/uuid"
)

const (
	parentID = "11111111-1111-4111-8111-111111111111"
	newID    = "22222222-2222-4222-8222-222222222222"
)

// things is a table with a field of each kind and each check.
func things() *Table {
	parents := &Table{Name: "parents", Path: "parents", Key: "name", Fields: &Fields{List: []Field{
		{Name: "id", Kind: String, UUID: true, Auto: AutoID},
		{Name: "name", Kind: String, Unique: true, LenMax: new(8)},
		{Name: "alias", Kind: String, Unique: true},
	}}}
	limits := &Fields{
		List: []Field{
			{Name: "second", Kind: Integer, Between: []float64{0, 10}},
			{Name: "minute", Kind: Integer},
			{Name: "policy", Kind: String, Default: "local", OneOf: Values("local", "redis")},
			{Name: "redis", Kind: Record, Required: true, Fields: &Fields{List: []Field{
				{Name: "host", Kind: String},
				{Name: "port", Kind: Integer, Default: int64(6379)},
			}}},
		},
		Checks: []Check{
			AtLeastOneOf("second", "minute"),
			Conditional(When{If: "policy", Match: Field{OneOf: Values("redis")},
				Then: "redis.host", Must: Field{Required: true}}),
		},
		Shorthands: []Shorthand{{Field: Field{Name: "redis_host", Kind: String}, Expand: func(v any) Object {
			return Object{"redis": Object{"host": v}}
		}},
			{Field: Field{Name: "redis_port", Kind: Integer}, Replaced: "redis.port"},
			{Field: Field{Name: "redis_secret", Kind: String, Encrypted: true}, Replaced: "redis.host"},
		},
	}
	t := &Table{
		Name: "things", Path: "things", Key: "name",
		CacheKey:     []string{"name", "parent"},
		VariantKey:   "type",
		VariantError: "type '%s' is not known",
		Variants: map[string]*Fields{
			"plain": {},
			"limited": {
				List: []Field{
					{Name: "config", Kind: Record, Required: true, Fields: limits},
					{Name: "flag", Kind: Boolean, NotEqual: true, Default: false, Err: "cannot set 'flag'"},
					{Name: "ratio", Kind: Number, Null: true},
				},
				Checks: []Check{CustomCheck(func(o Object) string {
					if o["count"] == int64(13) {
						return "thirteen is unlucky"
					}
					return ""
				}, "count")},
			},
		},
		Fields: &Fields{
			List: []Field{
				{Name: "id", Kind: String, UUID: true, Auto: AutoID},
				{Name: "created_at", Kind: Integer, Timestamp: true, Auto: AutoCreate},
				{Name: "updated_at", Kind: Number, Timestamp: true, Auto: AutoUpdate},
				{Name: "token", Kind: String, Auto: AutoString},
				{Name: "type", Kind: String, Required: true, Default: "plain"},
				{Name: "name", Kind: String, Unique: true, NotOneOf: Values("forbidden"), Rules: []Rule{
					StartsWith("n"),
					Match("^[^!]+$", func(s string) bool { return !strings.Contains(s, "!") }),
					MatchNone("%?", "no question marks", func(s string) bool { return strings.Contains(s, "?") }),
					MatchNone("%$", "no dollars", func(s string) bool { return strings.Contains(s, "$") }),
					Custom(func(s string) string {
						if s == "nope" {
							return "not that name"
						}
						return ""
					}),
				}},
				{Name: "count", Kind: Integer, Required: true, Default: int64(5), Between: []float64{1, 100}},
				{Name: "ratio", Kind: Number},
				{Name: "flag", Kind: Boolean, Default: true},
				{Name: "list", Kind: Array, LenMax: new(3), Elem: &Field{Kind: Integer, Between: []float64{0, 9}}},
				{Name: "set", Kind: Set, LenMin: new(1), Elem: &Field{Kind: String},
					Rules: []Rule{DisjointSets([]string{"a", "b"}, []string{"c"})}},
				{Name: "map", Kind: Map, Keys: &Field{Kind: String, LenMin: new(2)},
					Elem: &Field{Kind: Array, Elem: &Field{Kind: String}}},
				{Name: "records", Kind: Array, Elem: &Field{Kind: Record, Fields: &Fields{
					List:   []Field{{Name: "ip", Kind: String}, {Name: "port", Kind: Integer, Between: []float64{0, 65535}}},
					Checks: []Check{AtLeastOneOf("ip", "port")},
				}}},
				{Name: "parent", Kind: Foreign, Reference: "parents"},
				{Name: "config", Kind: Record, Abstract: true},
				{Name: "extra", Kind: JSON},
				{Name: "secret", Kind: String, Referenceable: true, LenEq: new(4)},
				{Name: "one", Kind: String}, {Name: "two", Kind: String}, {Name: "three", Kind: String},
				{Name: "seen", Kind: Array, Elem: &Field{Kind: String}, Transient: true},
			},
			Checks: []Check{
				MutuallyExclusive("one", "two"),
				MutuallyRequired("two", "three"),
				Distinct("one", "three"),
			},
			Shorthands: []Shorthand{{Field: Field{Name: "both", Kind: String}, Expand: func(v any) Object {
				s, _ := v.(string)
				a, b, _ := strings.Cut(s, "/")
				return Object{"two": a, "three": b}
			}}},
		},
		Transform: func(o Object) {
			if s, ok := o["name"].(string); ok {
				o["name"] = strings.ToLower(s)
			}
		},
	}
	Link([]*Table{parents, t})
	return t
}

func testEnv() *Env {
	return &Env{
		Now:   1700000000.1239,
		NewID: func() uuid.UUID { return uuid.MustParse(newID) },
		Resolve: func(table, field, value string) (uuid.UUID, bool) {
			if table == "parents" && field == "name" && value == "mum" {
				return uuid.MustParse(parentID), true
			}
			return uuid.Nil, false
		},
	}
}

func decode(t testing.TB, text string) Object {
	t.Helper()
	if text == "" {
		return nil
	}
	var o Object
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return o
}

func encode(t testing.TB, v any) string {
	t.Helper()
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(b.String())
}
