package admin

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func TestNest(t *testing.T) {
	for _, tt := range []struct {
		name, form string
		want       string // JSON
	}{
		{"nothing", "", `{}`},
		{"plain", "a=1&b=", `{"a":"1","b":""}`},
		{"without a value", "a", `{"a":true}`},
		{"dots", "service.id=U&a.b.c=1&a.b.d=2", `{"service":{"id":"U"},"a":{"b":{"c":"1","d":"2"}}}`},
		{"repeated", "a=1&a=2", `{"a":["1","2"]}`},
		{"list of one", "a[]=1", `{"a":["1"]}`},
		{"list", "a[]=1&a[]=2", `{"a":["1","2"]}`},
		{"list and plain", "a=1&a[]=2", `{"a":["1","2"]}`},
		{"positions from 1", "a[2]=2&a[1]=1", `{"a":["1","2"]}`},
		{"holes close", "a[7]=7&a[3]=3", `{"a":["3","7"]}`},
		{"huge position", "a[9999999999]=1", `{"a":["1"]}`},
		{"position beyond numbers", "a[99999999999999999999]=1", `{"a":{"99999999999999999999":"1"}}`},
		{"encoded brackets", "a%5B%5D=1", `{"a":["1"]}`},
		{"brackets encoded twice", "a%255Bk%255D=1", `{"a":{"k":"1"}}`},
		{"map", "config[key]=v", `{"config":{"key":"v"}}`},
		{"dots in a map", "config.headers[x.y]=v", `{"config":{"headers":{"x.y":"v"}}}`},
		{"list in a map", "h[a]=1&h[a]=2&h[b][]=3", `{"h":{"a":["1","2"],"b":["3"]}}`},
		{"records in a list", "a[1].b=1&a[2].b=2", `{"a":[{"b":"1"},{"b":"2"}]}`},
		{"map and positions", "a[x]=1&a[1]=2", `{"a":{"x":"1","1":"2"}}`},
		{"bracket at the start", "[5]=x", `{"[5]":"x"}`},
		{"bracket not closed", "a[b=1", `{"a[b":"1"}`},
		{"text behind a bracket", "a[b]c=1", `{"a[b]c":"1"}`},
		{"dot at the start", ".a=1", `{".a":"1"}`},
		{"dot at the end", "a.=1", `{"a.":"1"}`},
		{"two dots", "a..b=1", `{"a":{"b":"1"}}`},
		{"bad escapes stay", "a=%zz&%=1", `{"a":"%zz","%":"1"}`},
		{"plus is a blank", "a=x+y", `{"a":"x y"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args, err := parseArguments(tt.form)
			if err != nil {
				t.Fatal(err)
			}
			var want schema.Object
			if err := json.Unmarshal([]byte(tt.want), &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, nest(args)); diff != "" {
				t.Errorf("%s (-want +got)\n%s", tt.form, diff)
			}
		})
	}
}

// FuzzForm looks for bodies that break the reader of forms, or make it build
// more than they hold.
func FuzzForm(f *testing.F) {
	for _, form := range []string{
		"name=a&paths[]=/a&paths[]=/b", "service.id=U&config[a.b]=v", "a[2]=x&a[1]=y", "a[1].b[]=c", "a..b&.c&d.&[e]&f[", "%5b%5D%255b",
	} {
		f.Add(form)
	}
	f.Fuzz(func(t *testing.T, form string) {
		args, err := parseArguments(form)
		if err != nil {
			return
		}
		o := nest(args)
		leaves, depth := measure(o)
		if leaves > len(args) {
			t.Errorf("%d values of %d arguments", leaves, len(args))
		}
		if depth > maxDepth+2 {
			t.Errorf("nested %d deep", depth)
		}
		if _, err := json.Marshal(o); err != nil {
			t.Error(err)
		}
		again, _ := parseArguments(form)
		if diff := cmp.Diff(o, nest(again)); diff != "" {
			t.Errorf("not the same each time: %s", diff)
		}
	})
}

// FuzzMultipart looks for bodies that break the reader of multipart forms.
func FuzzMultipart(f *testing.F) {
	f.Add("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x--\r\n")
	f.Add("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Type: application/json\r\n\r\n{\"b\":1}\r\n--x--\r\n")
	f.Add("multipart/form-data", "--x")
	f.Fuzz(func(t *testing.T, contentType, body string) {
		args, err := parseMultipart(contentType, []byte(body))
		if err != nil {
			return
		}
		if _, err := json.Marshal(nest(args)); err != nil {
			t.Error(err)
		}
	})
}

// measure counts the values in an object, and how deep it is.
func measure(v any) (leaves, depth int) {
	each := func(v any) {
		n, d := measure(v)
		leaves += n
		depth = max(depth, d+1)
	}
	switch v := v.(type) {
	case schema.Object:
		for _, e := range v {
			each(e)
		}
	case []any:
		for _, e := range v {
			each(e)
		}
	default:
		leaves = 1
	}
	return leaves, depth
}

func TestParseArguments_tooMany(t *testing.T) {
	form := ""
	for range maxArguments {
		form += "a=1&"
	}
	if _, err := parseArguments(form[:len(form)-1]); err != nil {
		t.Errorf("%d arguments: %v", maxArguments, err)
	}
	if _, err := parseArguments(form + "a=1"); err != errTooManyArguments {
		t.Errorf("%d arguments: %v", maxArguments+1, err)
	}
}

func TestDecodeJSON_wantsUTF8(t *testing.T) {
	if _, err := decodeJSON([]byte(`{"name":"` + "caf\xe9" + `"}`)); err != errJSON {
		t.Errorf("Latin-1: error %v, want %v", err, errJSON)
	}
	if o, err := decodeJSON([]byte(`{"name":"café"}`)); err != nil || o["name"] != "café" {
		t.Errorf("UTF-8: %v, error %v", o, err)
	}
}
