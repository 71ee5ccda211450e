package store

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzMembers compares the scanner with encoding/json, which is slower and
// accepts the same texts.
func FuzzMembers(f *testing.F) {
	for _, text := range []string{
		`{}`, ` { } `, `{"id":"x","tags":["a","b"],"n":-1.5e+3,"o":{"a":null},"t":true,"f":false}`,
		`{"a":"\u00e9\n\\"}`, `{"é":1}`, `{"a":1,}`, `{"a" 1}`, `{"a":01}`, `{"a":.5}`, `{"a":1.}`, `{"a":-}`,
		`{"a":tru}`, `{"a":"x`, `{"a":"\x"}`, `{"a":"\u12"}`, `[1]`, `{}{}`, `{"a":[1 2]}`, "{\"a\":\"\x01\"}", ``, `{`, `{"a":1e}`,
		"{\"a\":\"\xff\"}", `{"a":[[[{}]]]}`, `{"a":nul`, "{\"a\":\x00}", `{"a":1}` + "\x00",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got := make(map[string]string)
		err := members(text, func(k, v []byte) {
			var key string
			if err := json.Unmarshal([]byte(`"`+string(k)+`"`), &key); err != nil {
				t.Errorf("the key %q cannot be read: %v", k, err)
			}
			got[key] = string(v)
		})
		var want map[string]json.RawMessage
		wantErr := json.Unmarshal(text, &want)
		valid := wantErr == nil && want != nil && utf8.Valid(text)
		if (err == nil) != valid {
			t.Fatalf("members(%q) = %v, encoding/json says %v", text, err, wantErr)
		}
		if err != nil {
			return
		}
		if len(got) != len(want) {
			t.Fatalf("members(%q) gave %d keys, want %d", text, len(got), len(want))
		}
		for k, v := range want {
			if got[k] != string(v) {
				t.Errorf("members(%q): %q is %s, want %s", text, k, got[k], v)
			}
		}
	})
}

func TestMembers_refusesWhatIsNestedWithoutEnd(t *testing.T) {
	deep := `{"a":` + strings.Repeat("[", 1e6) + strings.Repeat("]", 1e6) + `}`
	if err := members([]byte(deep), func(_, _ []byte) {}); err == nil {
		t.Error("a million nested arrays were accepted")
	}
}
