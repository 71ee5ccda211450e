package requesttransformer_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/plugin/plugintest"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/requesttransformer"
)

// got is what the service got, as one line.
func got(g *plugintest.Gateway) string {
	out := []string{g.Last.Method, g.Last.Host, g.Last.RequestURI}
	var names []string
	for name := range g.Last.Header {
		if strings.HasPrefix(name, "X-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		out = append(out, name+"="+strings.Join(g.Last.Header[name], "+"))
	}
	return strings.Join(out, " ")
}

func TestRequestTransformer(t *testing.T) {
	const before = "GET example.com /p?a=1&b=2&a=3 X-A=1 X-B=2+3"
	for _, tt := range []struct{ name, config, want string }{
		{"nothing", ``, before},
		{"remove header", `{"remove": {"headers": ["x-a", "x-none", "x-b:ignored", "host"]}}`, "GET example.com /p?a=1&b=2&a=3"},
		{"rename header", `{"rename": {"headers": ["x-b:x-c", "x-none:x-d"]}}`, "GET example.com /p?a=1&b=2&a=3 X-A=1 X-C=2+3"},
		{"replace header", `{"replace": {"headers": ["x-b:4", "x-none:5"]}}`, "GET example.com /p?a=1&b=2&a=3 X-A=1 X-B=4"},
		{"replace host", `{"replace": {"headers": ["Host:b.example"]}}`, "GET b.example /p?a=1&b=2&a=3 X-A=1 X-B=2+3"},
		{"host cannot be changed otherwise", `{"add": {"headers": ["Host:b"]}, "append": {"headers": ["host:c"]}, "rename": {"headers": ["host:x-h", "x-a:host"]}}`, before},
		{"add header", `{"add": {"headers": ["x-b:4", "x-c:http://d"]}}`, before + " X-C=http://d"},
		{"append header", `{"append": {"headers": ["x-a:4", "x-c:5"]}}`, "GET example.com /p?a=1&b=2&a=3 X-A=1+4 X-B=2+3 X-C=5"},
		{"header without a value", `{"add": {"headers": ["x-c:"]}, "replace": {"headers": ["x-a:"]}}`, before},
		{"one after the other", `{"remove": {"headers": ["x-a"]}, "rename": {"headers": ["x-b:x-a"]}, "add": {"headers": ["x-b:new"]}, "append": {"headers": ["x-a:4"]}}`,
			"GET example.com /p?a=1&b=2&a=3 X-A=2+3+4 X-B=new"},
		{"remove argument", `{"remove": {"querystring": ["a", "none"]}}`, "GET example.com /p?b=2 X-A=1 X-B=2+3"},
		{"remove all arguments", `{"remove": {"querystring": ["a", "b"]}}`, "GET example.com /p X-A=1 X-B=2+3"},
		{"rename argument", `{"rename": {"querystring": ["a:c", "none:d"]}}`, "GET example.com /p?c=1&b=2&c=3 X-A=1 X-B=2+3"},
		{"replace argument", `{"replace": {"querystring": ["a:x y", "none:d"]}}`, "GET example.com /p?a=x%20y&b=2 X-A=1 X-B=2+3"},
		{"add argument", `{"add": {"querystring": ["a:x", "c:&"]}}`, "GET example.com /p?a=1&b=2&a=3&c=%26 X-A=1 X-B=2+3"},
		{"append argument", `{"append": {"querystring": ["a:x", "c:y"]}}`, "GET example.com /p?a=1&b=2&a=3&a=x&c=y X-A=1 X-B=2+3"},
		{"method", `{"http_method": "PUT"}`, "PUT example.com /p?a=1&b=2&a=3 X-A=1 X-B=2+3"},
		{"path", `{"replace": {"uri": "/other/path"}}`, "GET example.com /other/path?a=1&b=2&a=3 X-A=1 X-B=2+3"},
		{"path that needs escaping", `{"replace": {"uri": "/a b/%20/ü"}}`, "GET example.com /a%20b/%20/%C3%BC?a=1&b=2&a=3 X-A=1 X-B=2+3"},
		{"path with arguments", `{"replace": {"uri": "/x?c=4"}}`, "GET example.com /x?c=4&a=1&b=2&a=3 X-A=1 X-B=2+3"},
		{"templates", `{"replace": {"uri": "/$(headers.x_a)/$(query_params.b)"}, "add": {"headers": ["x-c:$(headers.x_b)-$(query_params.a)"], "querystring": ["c:$(headers.none or 'none')"]}}`,
			"GET example.com /1/2?a=1&b=2&a=3&c=none X-A=1 X-B=2+3 X-C=2-1"},
		{"templates see the request as it was", `{"remove": {"headers": ["x-a"], "querystring": ["b"]}, "add": {"headers": ["x-c:$(headers.x_a)"], "querystring": ["c:$(headers.x_a)$(query_params.b)"]}}`,
			"GET example.com /p?a=1&a=3&c=12 X-B=2+3 X-C=1"},
		{"empty templates change nothing", `{"replace": {"uri": "$(headers.none)", "headers": ["x-a:$(headers.none)"], "querystring": ["a:$(headers.none)"]}, "add": {"headers": ["x-c:$(headers.none)"]}}`, before},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := plugintest.New(t)
			g.Add("request-transformer", tt.config)
			resp := g.Get("/p?a=1&b=2&a=3", plugintest.Header("X-A", "1"), plugintest.Header("X-B", "2", "3"))
			if resp.StatusCode != 200 {
				t.Fatalf("got %d %s", resp.StatusCode, plugintest.Body(resp))
			}
			if line := got(g); line != tt.want {
				t.Errorf("got  %s\nwant %s", line, tt.want)
			}
		})
	}
}

func TestRequestTransformer_bodies(t *testing.T) {
	const (
		form  = "application/x-www-form-urlencoded"
		json  = "application/json; charset=utf-8"
		parts = `multipart/form-data; boundary=B`
	)
	part := func(lines ...string) string {
		var b strings.Builder
		for _, l := range lines {
			b.WriteString("--B\r\nContent-Disposition: form-data; " + l + "\r\n")
		}
		if len(lines) > 0 {
			b.WriteString("--B--\r\n")
		}
		return b.String()
	}
	file := "name=f; filename=a.txt\r\nContent-Type: text/plain\r\n\r\nfile"
	for _, tt := range []struct{ name, config, contentType, body, want string }{
		{"JSON: remove", `{"remove": {"body": ["a"]}}`, json, `{"a":1,"b":2}`, `{"b":2}`},
		{"JSON: rename", `{"rename": {"body": ["a:c"]}}`, json, `{"a":1,"b":2}`, `{"c":1,"b":2}`},
		{"JSON: replace", `{"replace": {"body": ["a:x", "c:y"]}}`, json, `{"a":1,"b":2}`, `{"a":"x","b":2}`},
		{"JSON: add", `{"add": {"body": ["a:x", "c:y"]}}`, json, `{"a":1,"b":2}`, `{"a":1,"b":2,"c":"y"}`},
		{"JSON: append", `{"append": {"body": ["a:x", "c:y"]}}`, json, `{"a":"1"}`, `{"a":["1","x"],"c":["y"]}`},
		{"JSON: template", `{"add": {"body": ["who:$(headers.x_who)"]}}`, json, `{}`, `{"who":"anna"}`},
		{"JSON: nothing yet", `{"add": {"body": ["a:x"]}}`, json, ``, `{"a":"x"}`},
		{"JSON: no object", `{"add": {"body": ["a:x"]}}`, json, `[1, 2]`, `[1, 2]`},
		{"JSON: broken", `{"add": {"body": ["a:x"]}}`, json, `{"a":`, `{"a":`},
		{"JSON: as it was", `{"remove": {"body": ["x"]}}`, json, `{ "a": 1 }`, `{ "a": 1 }`},
		{"form: remove", `{"remove": {"body": ["a"]}}`, form, `a=1&b=2&a=3`, `b=2`},
		{"form: rename", `{"rename": {"body": ["a:c"]}}`, form, `a=1&b=2`, `c=1&b=2`},
		{"form: replace", `{"replace": {"body": ["a:x y"]}}`, form, `a=1&b=2`, `a=x%20y&b=2`},
		{"form: add", `{"add": {"body": ["a:x", "c:y"]}}`, form, `a=1`, `a=1&c=y`},
		{"form: append", `{"append": {"body": ["a:x"]}}`, form, `a=1`, `a=1&a=x`},
		{"form: nothing yet", `{"add": {"body": ["a:x"]}}`, form, ``, `a=x`},
		{"parts: remove", `{"remove": {"body": ["a"]}}`, parts, part("name=a\r\n\r\n1", file), part(file)},
		{"parts: rename", `{"rename": {"body": ["f:g"]}}`, parts, part("name=a\r\n\r\n1", file), part("name=a\r\n\r\n1", `name="g"; filename="a.txt"`+"\r\nContent-Type: text/plain\r\n\r\nfile")},
		{"parts: replace", `{"replace": {"body": ["a:x"]}}`, parts, part("name=a\r\n\r\n1", "name=a\r\n\r\n2", file), part(`name="a"`+"\r\n\r\nx", file)},
		{"parts: add", `{"add": {"body": ["a:x", "b:y"]}}`, parts, part("name=a\r\n\r\n1"), part("name=a\r\n\r\n1", `name="b"`+"\r\n\r\ny")},
		{"parts: a name with quotes", `{"rename": {"body": ["f:\"ü\""]}}`, parts, part(file), part(`name="%22ü%22"; filename="a.txt"` + "\r\nContent-Type: text/plain\r\n\r\nfile")},
		{"parts: append does nothing", `{"append": {"body": ["a:x"]}}`, parts, part("name=a\r\n\r\n1"), part("name=a\r\n\r\n1")},
		{"parts: without a boundary", `{"add": {"body": ["a:x"]}}`, "multipart/form-data", "x", "x"},
		{"another type", `{"add": {"body": ["a:x"]}}`, "text/plain", "hello", "hello"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := plugintest.New(t)
			g.Add("request-transformer", tt.config)
			resp := g.Do("POST", "/", tt.body, plugintest.Header("Content-Type", tt.contentType), plugintest.Header("X-Who", "anna"))
			if resp.StatusCode != 200 || g.LastBody != tt.want {
				t.Errorf("got %d %q, want %q", resp.StatusCode, g.LastBody, tt.want)
			}
			if g.Last.ContentLength != int64(len(tt.want)) {
				t.Errorf("length %d", g.Last.ContentLength)
			}
		})
	}
}

func TestRequestTransformer_methodsWithoutABody(t *testing.T) {
	for _, tt := range []struct{ method, contentType, want string }{
		{"GET", "application/x-www-form-urlencoded", "GET example.com /?q=0&a=1&b=x%20y"},
		{"PUT", "application/x-www-form-urlencoded", "PUT example.com /?q=0"},
		{"GET", "text/plain", "GET example.com /?q=0"},
	} {
		g := plugintest.New(t)
		g.Add("request-transformer", `{"http_method": "`+tt.method+`"}`)
		g.Do("POST", "/?q=0", "a=1&b=x%20y", plugintest.Header("Content-Type", tt.contentType))
		if line := got(g); line != tt.want || g.LastBody != "a=1&b=x%20y" {
			t.Errorf("got %s, want %s; body %q", line, tt.want, g.LastBody)
		}
	}
}

func TestRequestTransformer_largeBodiesPass(t *testing.T) {
	g := plugintest.New(t)
	g.Add("request-transformer", `{"remove": {"body": ["a"]}}`)
	large := `{"a":"` + strings.Repeat("x", 11<<20) + `"}`
	g.Do("POST", "/", large, plugintest.Header("Content-Type", "application/json"))
	if g.LastBody != large || g.Logs.FilterMessage("the body is too large to be changed").Len() != 1 {
		t.Errorf("got %d bytes of %d, %d log lines", len(g.LastBody), len(large), g.Logs.Len())
	}
}

func TestRequestTransformer_failures(t *testing.T) {
	for config, want := range map[string]string{
		`{"add": {"headers": ["x-a:$(headers.none .. 'x')"]}}`: "attempt to concatenate a nil value",
		`{"replace": {"uri": "$(headers.host)"}}`:              "expected a path that begins with a slash, got",
	} {
		g := plugintest.New(t)
		g.Add("request-transformer", config)
		resp := g.Get("/")
		if body := plugintest.Body(resp); resp.StatusCode != 500 || !strings.Contains(body, "An unexpected error occurred") {
			t.Errorf("%s: got %d %s", config, resp.StatusCode, body)
		}
		found := false
		for _, e := range g.Logs.All() {
			err, _ := e.ContextMap()["error"].(string)
			found = found || strings.Contains(err, want)
		}
		if !found {
			t.Errorf("%s: nothing in the log of %q", config, want)
		}
	}
}

func TestRequestTransformer_refusals(t *testing.T) {
	for config, want := range map[string]string{
		`{"add": {"body": ["x"]}}`:                         "key 'x' has no value",
		`{"add": {"querystring": ["x:"]}}`:                 "key 'x' has no value",
		`{"add": {"headers": ["x"]}}`:                      "invalid value: x",
		`{"add": {"headers": ["x y:1"]}}`:                  "'x y' is not a valid header",
		`{"remove": {"headers": ["x y"]}}`:                 "'x y' is not a valid header",
		`{"rename": {"headers": ["x:y z"]}}`:               "'y z' is not a valid header",
		`{"http_method": "get"}`:                           "invalid value: get",
		`{"add": {"headers": ["x:$(os.exit())"]}}`:         "value '$(os.exit())' is not in supported format, error: expected headers, query_params, uri_captures, shared",
		`{"replace": {"uri": "/$(headers"}}`:               "value '/$(headers' is not in supported format, error: expected a name behind headers",
		`{"remove": {"uri": "/"}}`:                         "unknown field",
		`{"add": {"body": ["a:$(string.rep('x', 1e9))"]}}`: "is not in supported format",
	} {
		if _, err := plugintest.New(t).TryAdd("request-transformer", config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
	}
}

func BenchmarkRequestTransformer(b *testing.B) {
	for name, config := range map[string]string{
		"plain":    `{"remove": {"headers": ["x-a"]}, "add": {"headers": ["x-b:1"], "querystring": ["a:1"]}}`,
		"template": `{"add": {"headers": ["x-b:$(headers.x_a or 'none')"]}, "replace": {"uri": "/$(headers.x_a)"}}`,
	} {
		b.Run(name, func(b *testing.B) {
			g := plugintest.New(b)
			g.Add("request-transformer", config)
			plugintest.Bench(b, g, func(r *http.Request) { r.Header.Set("X-A", "1") })
		})
	}
}
