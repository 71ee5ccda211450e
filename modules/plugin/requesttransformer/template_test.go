package requesttransformer

import (
	"net/http"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/plugin"
)

func request() *values {
	x := &plugin.Exchange{Shared: map[string]any{"team": "blue", "n": 3, "user": map[string]any{"id": 7.5, "ok": true}}}
	x.Accept(&http.Request{Host: "a.example"}, nil)
	return &values{
		x:       x,
		headers: http.Header{"X-A": {"Anna", "2"}, "X-B-C": {"dash"}},
		query:   "q=1&q=2&bare&empty=&s=a%20b",
	}
}

func TestTemplate(t *testing.T) {
	for _, tt := range []struct{ template, want string }{
		{"plain", "plain"},
		{"$5 (or so) $ (x)", "$5 (or so) $ (x)"},
		{"$(headers.x_a)", "Anna"},
		{`$(headers["X-A"])`, "Anna"},
		{"$(headers.x_b_c)/$(headers['x-b-c'])", "dash/dash"},
		{"$(headers.host)", "a.example"},
		{"[$(headers.none)]", "[]"},
		{"$(headers.none or 'default')", "default"},
		{"$(headers.none or query_params.q)", "1"},
		{"$(query_params.bare)", "true"},
		{"[$(query_params.empty)]", "[]"},
		{"$(query_params['s'])", "a b"},
		{"$(uri_captures.name or uri_captures[1] or 'none')", "none"},
		{"$(shared.team) $(shared.n) $(shared.user.id) $(shared.user.ok)", "blue 3 7.5 true"},
		{"a$('b' .. \"c\" .. 1)d", "abc1d"},
		{"$(headers.x_a and 'yes' or 'no')$(headers.none and 'yes' or 'no')", "yesno"},
		{"$(not headers.none and 'yes')", "yes"},
		{"$(headers.x_a == 'Anna' and 1 or 2)$(headers.x_a ~= 'Anna' and 1 or 2)", "12"},
		{"$(string.upper(headers.x_a))$(headers.x_a:lower())", "ANNAanna"},
		{"$(string.sub(headers.x_a, 2, 3)) $(headers.x_a:sub(-2)) $(headers.x_a:sub(3, 2))|$(headers.x_a:sub(0))", "nn na |Anna"},
		{"$(string.len('abc'))$(tonumber('12'))$(tonumber('x') or 'x')$(tostring(nil))", "312xnil"},
		{"$((headers.none or 'a') .. (')'))", "a)"},
		{`$("a\"\\\n" .. '\'')`, "a\"\\\n'"},
		{"$(nil)$(false)$(true)$(-1.5)", "true-1.5"},
		{"$( headers.x_a )$(	'x' )", "Annax"},
	} {
		parsed, err := parseTemplate(tt.template)
		if err != nil {
			t.Errorf("%s: %v", tt.template, err)
			continue
		}
		if got, err := parsed.render(request()); err != nil || got != tt.want {
			t.Errorf("%s: got %q, %v, want %q", tt.template, got, err, tt.want)
		}
	}
}

func TestTemplate_refusals(t *testing.T) {
	for template, want := range map[string]string{
		"$(":                         "expected an expression, got the end",
		"$()":                        `expected headers, query_params`,
		"$(headers)":                 `expected a name behind headers, such as headers.name, got ")"`,
		"$(os.execute('x'))":         `shared, string.lower, string.upper, string.len, string.sub, tostring or tonumber, got "os.execute('x'))"`,
		"$(headers.x":                `expected ")" at the end of the expression, got the end`,
		"$(headers.x or)":            `expected headers, query_params`,
		"$('x)":                      `expected ' at the end of a text, got the end`,
		`$('\x')`:                    `expected one of \n, \t, \r, \\, \' and \", got "\\x"`,
		"$(headers.x:rep(9))":        "expected one of the methods lower(), upper(), len() and sub()",
		"$(string.rep('x', 9))":      "expected headers, query_params",
		"$(function() return 1 end)": "expected headers, query_params",
		"$(headers.x + 1)":           `expected ")" at the end of the expression, got "+ 1)"`,
		"$(headers['x')":             `expected "]"`,
		"$(headers.)":                "expected a name",
		"$(tostring(1 2))":           `expected "," or ")"`,
		strings.Repeat("$(", 1) + strings.Repeat("(", 60): "nested less than 50 times",
	} {
		if _, err := parseTemplate(template); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", template, err, want)
		}
	}
}

func TestTemplate_failures(t *testing.T) {
	for template, want := range map[string]string{
		"$(headers.none .. 'x')":     "attempt to concatenate a nil value",
		"$(headers.x_a.b)":           "attempt to index a string value",
		"$(shared.none.x)":           "attempt to index a nil value",
		"$(shared.user)":             "a table is no text",
		"$(string.lower(nil))":       "expected a string, got a nil value",
		"$(string.sub('x', 'y'))":    "expected a number, got a string value",
		"$(shared.user == shared.n)": "tables cannot be compared",
	} {
		parsed, err := parseTemplate(template)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parsed.render(request()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %q, %v, want %q", template, got, err, want)
		}
	}
}

// No template makes the reader or the evaluation fail other than with an error.
func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{"a$(headers.x or 'y')", `$(uri_captures["a"]:sub(1,2) .. 3)`, "$(not (1 == 2))", "$(string.sub('é',-9,9))"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := parseTemplate(text)
		if err != nil {
			return
		}
		got, err := parsed.render(request())
		if err == nil && !strings.Contains(text, "$(") && got != text {
			t.Fatalf("%q became %q", text, got)
		}
	})
}
