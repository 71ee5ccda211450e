package transform_test

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/transform"
)

func literal(s string) (string, bool) { return s, s != "" }

func encoded(s string) (json.RawMessage, bool) { return transform.Text(s), s != "" }

// rules reads "remove a, rename a:b, replace a:b, add a:b, append a:b".
func rules(text string) *transform.Rules[string] {
	r := new(transform.Rules[string])
	for _, rule := range strings.Split(text, ", ") {
		verb, rest, _ := strings.Cut(rule, " ")
		name, value := transform.Split(rest)
		p := transform.Pair[string]{Name: name, Value: value}
		switch verb {
		case "remove":
			r.Remove = append(r.Remove, name)
		case "rename":
			r.Rename = append(r.Rename, p)
		case "replace":
			r.Replace = append(r.Replace, p)
		case "add":
			r.Add = append(r.Add, p)
		case "append":
			r.Append = append(r.Append, p)
		}
	}
	return r
}

func TestObject(t *testing.T) {
	for _, tt := range []struct{ rules, before, after string }{
		{"remove b", `{"a":1,"b":2,"c":3}`, `{"a":1,"c":3}`},
		{"remove x", `{"a": 1}`, ``},
		{"rename a:b", `{"a":1,"c":3}`, `{"b":1,"c":3}`},
		{"rename a:c", `{"a":1,"b":2,"c":3}`, `{"c":1,"b":2}`},
		{"rename x:c", `{"c":3}`, ``},
		{"rename a:a", `{"a":1}`, `{"a":1}`},
		{"replace a:x, replace b:y", `{"a":12345678901234567890.5}`, `{"a":"x"}`},
		{"replace a:", `{"a":1}`, ``},
		{"add a:x, add b:y", `{"a":false}`, `{"a":false,"b":"y"}`},
		{"append a:x, append b:y, append c:z", `{"a":"1","b":[1, 2]}`, `{"a":["1","x"],"b":[1, 2,"y"],"c":["z"]}`},
		{"append a:x", `{"a":[ ]}`, `{"a":["x"]}`},
		{"append a:x", `{"a":7}`, `{"a":[7,"x"]}`},
		{"append a:x", `{"a":{"b":1}}`, `{"a":{"b":1}}`},
		{"append a:x, append a:y", `{}`, `{"a":["x","y"]}`},
		{"remove a, add a:new", `{"a":1}`, `{"a":"new"}`},
		{"add a.b:x", `{"a":{"b":1}}`, `{"a":{"b":1},"a.b":"x"}`},
		{`add q:say "<hi>/"`, `{"n":1e400}`, `{"n":1e400,"q":"say \"<hi>/\""}`},
		{"replace a:x", `{"a":1,"b":2,"a":3}`, `{"b":2,"a":"x"}`},
	} {
		o, err := transform.ParseObject([]byte(tt.before))
		if err != nil {
			t.Fatal(err)
		}
		changed := transform.Apply(rules(tt.rules), o, literal, encoded)
		if got := string(o.Bytes()); changed != (tt.after != "") || changed && got != tt.after {
			t.Errorf("%s on %s: got %s (changed %v), want %s", tt.rules, tt.before, got, changed, tt.after)
		}
	}
	for _, text := range []string{``, `[]`, `1`, `{"a":1`, `{"a":1}{`, `{"a":1} x`, `{a:1}`, `{"a":}`, `null`, `"x"`} {
		if _, err := transform.ParseObject([]byte(text)); err == nil {
			t.Errorf("%s was read", text)
		}
	}
}

func TestArgs(t *testing.T) {
	for _, tt := range []struct{ rules, before, after string }{
		{"remove b", "a=1&b=2&c=3&b", "a=1&c=3"},
		{"remove x", "a=1", ""},
		{"rename a:b", "a=%7e1&x&a=2&b=0", "b=%7e1&x&b=2"},
		{"rename a:b", "a", "b"},
		{"replace a:x y, replace n:1", "b=+%20&a=1&a=2&c", "b=+%20&a=x%20y&c"},
		{"add a:x, add b:y&z", "a", "a&b=y%26z"},
		{"append a:x", "a=1", "a=1&a=x"},
		{"append b:x", "", "b=x"},
		{"remove a b", "a%20b=1&a+b=2&c=%zz", "c=%zz"},
	} {
		a := transform.ParseArgs(tt.before)
		changed := transform.Apply(rules(tt.rules), a, literal, literal)
		if got := a.String(); changed != (tt.after != "") || changed && got != tt.after {
			t.Errorf("%s on %s: got %s (changed %v), want %s", tt.rules, tt.before, got, changed, tt.after)
		}
	}
}

func TestHeader(t *testing.T) {
	shared := make([]string, 1, 2)
	shared[0] = "1"
	h := http.Header{"X-A": shared, "X-B": {"2"}, "X-C": {"3", "4"}, "X-D": {"5"}}
	transform.Apply(rules("remove x-b, rename x-c:x-e, replace x-d:6, replace x-f:7, add x-g:8, add x-a:9, append x-a:10"), transform.Header(h), literal, literal)
	want := http.Header{"X-A": {"1", "10"}, "X-E": {"3", "4"}, "X-D": {"6"}, "X-G": {"8"}}
	if !reflect.DeepEqual(h, want) {
		t.Errorf("got %v, want %v", h, want)
	}
	if got := shared[:2]; got[1] != "" {
		t.Error("a list that may be shared was written to")
	}
}

// TestArgs_model compares the arguments with Go's map of values, which knows no
// order.
func TestArgs_model(t *testing.T) {
	verbs := []string{"remove", "rename", "replace", "add", "append"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		var parts []string
		for range random.IntN(5) {
			parts = append(parts, string(rune('a'+random.IntN(3)))+"="+string(rune('0'+random.IntN(3))))
		}
		query := strings.Join(parts, "&")
		verb := verbs[random.IntN(len(verbs))]
		name, value := string(rune('a'+random.IntN(3))), string(rune('a'+random.IntN(3)))
		a := transform.ParseArgs(query)
		transform.Apply(rules(verb+" "+name+":"+value), a, literal, literal)
		want, _ := url.ParseQuery(query)
		switch {
		case verb == "remove":
			want.Del(name)
		case verb == "rename" && want.Has(name) && name != value:
			want[value] = want[name]
			want.Del(name)
		case verb == "replace" && want.Has(name), verb == "add" && !want.Has(name):
			want.Set(name, value)
		case verb == "append":
			want.Add(name, value)
		}
		if got, err := url.ParseQuery(a.String()); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s %s:%s on %q: got %v, want %v", verb, name, value, query, got, want)
		}
	}
}

// What was read is written so that it means the same.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{`{"a":1}`, `{"a":[1,{"b":null}],"a":"é"}`, `{"":{}}`} {
		f.Add([]byte(seed), "a:x")
	}
	f.Fuzz(func(t *testing.T, text []byte, pair string) {
		o, err := transform.ParseObject(text)
		if err != nil {
			return
		}
		if !json.Valid(text) {
			t.Fatalf("read what is no JSON: %q", text)
		}
		same := func(b []byte) (v map[string]any) {
			d := json.NewDecoder(strings.NewReader(string(b)))
			d.UseNumber()
			if err := d.Decode(&v); err != nil {
				t.Fatalf("%q: %v", b, err)
			}
			return v
		}
		if !reflect.DeepEqual(same(o.Bytes()), same(text)) {
			t.Fatalf("%q became %q", text, o.Bytes())
		}
		for _, verb := range []string{"append", "replace", "add", "rename", "remove"} {
			transform.Apply(rules(verb+" "+pair), o, literal, encoded)
			same(o.Bytes())
		}
		if name, _ := transform.Split(pair); !strings.Contains(pair, ",") && o.Has(name) {
			t.Fatalf("%q is still there: %q", name, o.Bytes())
		}
	})
}

func BenchmarkObject(b *testing.B) {
	text := []byte(`{"id":1,"name":"anna","roles":["a","b"],"address":{"street":"x","zip":"1"}}`)
	r := rules("remove id, rename name:username, add x:y")
	b.ReportAllocs()
	for b.Loop() {
		o, err := transform.ParseObject(text)
		if err != nil {
			b.Fatal(err)
		}
		transform.Apply(r, o, literal, encoded)
		o.Bytes()
	}
}
