package responsetransformer_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/plugin/plugintest"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/requesttermination"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/responsetransformer"
)

func TestResponseTransformer_headers(t *testing.T) {
	for _, tt := range []struct{ name, config, want string }{
		{"nothing", ``, "X-A=1 X-B=2+3"},
		{"remove", `{"remove": {"headers": ["x-b", "x-none"]}}`, "X-A=1"},
		{"rename", `{"rename": {"headers": ["x-b:x-c", "x-none:x-d"]}}`, "X-A=1 X-C=2+3"},
		{"replace", `{"replace": {"headers": ["x-b:4", "x-none:5"]}}`, "X-A=1 X-B=4"},
		{"add", `{"add": {"headers": ["x-b:4", "x-c:a:b"]}}`, "X-A=1 X-B=2+3 X-C=a:b"},
		{"append", `{"append": {"headers": ["x-a:4", "x-c:5"]}}`, "X-A=1+4 X-B=2+3 X-C=5"},
		{"one after the other", `{"remove": {"headers": ["x-a"]}, "rename": {"headers": ["x-b:x-a"]}, "add": {"headers": ["x-b:new"]}, "append": {"headers": ["x-a:4"]}}`,
			"X-A=2+3+4 X-B=new"},
		{"without a value", `{"add": {"headers": ["x-c:"]}, "replace": {"headers": ["x-a:"]}}`, "X-A=1 X-B=2+3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := plugintest.New(t)
			g.Service = func(w http.ResponseWriter, r *http.Request) {
				w.Header()["X-A"], w.Header()["X-B"] = []string{"1"}, []string{"2", "3"}
			}
			g.Add("response-transformer", tt.config)
			h := g.Get("/").Header
			var got []string
			for _, name := range []string{"X-A", "X-B", "X-C", "X-D", "X-None"} {
				if v := h[name]; v != nil {
					got = append(got, name+"="+strings.Join(v, "+"))
				}
			}
			if line := strings.Join(got, " "); line != tt.want {
				t.Errorf("got %q, want %q", line, tt.want)
			}
		})
	}
}

func TestResponseTransformer_json(t *testing.T) {
	const usual = `{"a":"1","b":[1,2],"n":12345678901234567890}`
	for _, tt := range []struct{ name, config, contentType, body, want string }{
		{name: "remove", config: `{"remove": {"json": ["a", "none"]}}`, want: `{"b":[1,2],"n":12345678901234567890}`},
		{name: "rename", config: `{"rename": {"json": ["a:c", "none:d"]}}`, want: `{"c":"1","b":[1,2],"n":12345678901234567890}`},
		{name: "replace", config: `{"replace": {"json": ["a:x", "none:y"]}}`, want: `{"a":"x","b":[1,2],"n":12345678901234567890}`},
		{name: "add", config: `{"add": {"json": ["a:x", "c:http://y"]}}`, want: `{"a":"1","b":[1,2],"n":12345678901234567890,"c":"http://y"}`},
		{name: "append", config: `{"append": {"json": ["a:x", "b:3", "c:z"]}}`, want: `{"a":["1","x"],"b":[1,2,"3"],"n":12345678901234567890,"c":["z"]}`},
		{name: "types", config: `{"add": {"json": ["c:1.50", "d:true", "e:yes", "f:7"], "json_types": ["number", "boolean", "boolean", "string"]}}`, body: `{}`,
			want: `{"c":1.50,"d":true,"e":false,"f":"7"}`},
		{name: "types are by position", config: `{"append": {"json": ["b:3", "a:4"], "json_types": ["number"]}}`, want: `{"a":["1","4"],"b":[1,2,3],"n":12345678901234567890}`},
		{name: "a number that is none", config: `{"replace": {"json": ["a:x", "b:0x10"], "json_types": ["number", "number"]}}`, want: `{"a":"1","b":16,"n":12345678901234567890}`},
		{name: "dot in the name", config: `{"remove": {"json": ["a.b"]}, "add": {"json": ["c.d:1"]}}`, body: `{"a":{"b":1},"a.b":2}`, want: `{"a":{"b":1},"c.d":"1"}`},
		{name: "type with parameters", config: `{"remove": {"json": ["a"]}}`, contentType: "application/json; charset=utf-8", body: `{"a":1}`, want: `{}`},
		{name: "another type", config: `{"remove": {"json": ["a"]}}`, contentType: "text/plain", body: `{"a":1}`, want: `{"a":1}`},
		{name: "a kind of JSON", config: `{"remove": {"json": ["a"]}}`, contentType: "application/problem+json", body: `{"a":1}`, want: `{"a":1}`},
		{name: "no object", config: `{"remove": {"json": ["a"]}}`, body: `[{"a":1}]`, want: `[{"a":1}]`},
		{name: "no JSON", config: `{"add": {"json": ["a:1"]}}`, body: `{"a":`, want: `{"a":`},
		{name: "nothing", config: `{"add": {"json": ["a:1"]}}`, body: "-", want: ""},
		{name: "nothing to change", config: `{"remove": {"json": ["x"]}}`, body: `{ "a" : 1 }`, want: `{ "a" : 1 }`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := plugintest.New(t)
			g.Service = func(w http.ResponseWriter, r *http.Request) {
				contentType, body := tt.contentType, tt.body
				if contentType == "" {
					contentType = "application/json"
				}
				switch body {
				case "":
					body = usual
				case "-":
					body = ""
				}
				w.Header().Set("Content-Type", contentType)
				w.Header().Set("Content-Length", "99")
				for i := 0; i < len(body); i += 5 { // it comes in pieces
					_, _ = io.WriteString(w, body[i:min(i+5, len(body))])
				}
			}
			g.Add("response-transformer", tt.config)
			resp := g.Get("/")
			if got := plugintest.Body(resp); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			read := !strings.Contains(tt.contentType, "plain") && !strings.Contains(tt.contentType, "problem")
			if got := resp.Header.Get("Content-Length") == ""; got != read {
				t.Errorf("the length is gone: %v, want %v", got, read)
			}
		})
	}
}

// What need not be read passes at once.
func TestResponseTransformer_otherBodiesAreNotKept(t *testing.T) {
	for _, tt := range []struct{ name, config, header, value string }{
		{"only headers", `{"add": {"headers": ["x-a:1"]}}`, "Content-Type", "application/json"},
		{"compressed", `{"remove": {"json": ["a"]}}`, "Content-Encoding", "gzip"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := plugintest.New(t)
			passed := make(chan string, 1)
			g.Service = func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set(tt.header, tt.value)
				_, _ = io.WriteString(w, `{"a":1}`)
				passed <- "written"
			}
			g.Add("response-transformer", tt.config)
			if got := plugintest.Body(g.Get("/")); got != `{"a":1}` || <-passed != "written" {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestResponseTransformer_answersOfPluginsAreChanged(t *testing.T) {
	g := plugintest.New(t)
	g.Add("request-termination", `{"status_code": 404}`)
	g.Add("response-transformer", `{"rename": {"json": ["message:error"]}}`)
	if got := plugintest.Body(g.Get("/")); got != `{"error":"Not found"}` {
		t.Errorf("got %s", got)
	}
}

func TestResponseTransformer_refusals(t *testing.T) {
	for config, want := range map[string]string{
		`{"add": {"headers": ["x"]}}`:                           "invalid value: x",
		`{"add": {"headers": ["x y:1"]}}`:                       "'x y' is not a valid header",
		`{"remove": {"headers": ["x y"]}}`:                      "'x y' is not a valid header",
		`{"rename": {"headers": ["x:y z"]}}`:                    "'y z' is not a valid header",
		`{"rename": {"json": [":b"]}}`:                          "invalid value: :b",
		`{"add": {"json": ["a:1"], "json_types": ["integer"]}}`: "expected one of: boolean, number, string",
		`{"remove": {"json_types": ["string"]}}`:                "unknown field",
		`{"transform": {}}`:                                     "unknown field",
	} {
		if _, err := plugintest.New(t).TryAdd("response-transformer", config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
	}
}

func BenchmarkResponseTransformer_headers(b *testing.B) {
	g := plugintest.New(b)
	g.Add("response-transformer", `{"remove": {"headers": ["x-a"]}, "add": {"headers": ["x-b:1"]}}`)
	plugintest.Bench(b, g)
}
