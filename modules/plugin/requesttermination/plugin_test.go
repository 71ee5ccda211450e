package requesttermination_test

import (
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/plugin/plugintest"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/requesttermination"
)

func TestRequestTermination(t *testing.T) {
	for _, tt := range []struct {
		name, config, target string
		status               int
		body, contentType    string
	}{
		{"default", ``, "/", 503, `{"message":"Service unavailable"}`, "application/json; charset=utf-8"},
		{"status with a message of its own", `{"status_code": 404}`, "/", 404, `{"message":"Not found"}`, "application/json; charset=utf-8"},
		{"status without one", `{"status_code": 418}`, "/", 418, "", ""},
		{"message", `{"message": "closed <today>"}`, "/", 503, `{"message":"closed <today>"}`, "application/json; charset=utf-8"},
		{"body", `{"body": "<p>", "content_type": "text/html"}`, "/", 503, "<p>", "text/html"},
		{"body without a type", `{"body": "{}"}`, "/", 503, "{}", "application/json; charset=utf-8"},
		{"trigger is not there", `{"trigger": "x-stop"}`, "/", 200, "ok", ""},
		{"trigger in the query", `{"trigger": "x-stop"}`, "/?x-stop=", 503, `{"message":"Service unavailable"}`, "application/json; charset=utf-8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := plugintest.New(t)
			g.Add("request-termination", tt.config)
			resp := g.Get(tt.target)
			if body := plugintest.Body(resp); resp.StatusCode != tt.status || body != tt.body || resp.Header.Get("Content-Type") != tt.contentType {
				t.Errorf("got %d %q %q", resp.StatusCode, body, resp.Header.Get("Content-Type"))
			}
		})
	}
	g := plugintest.New(t)
	g.Add("request-termination", `{"echo": true, "status_code": 200}`)
	body := plugintest.Body(g.Do("POST", "http://example.com/a?b=c&d&e=1&e=&f=%zz&g=%3D", "hello", plugintest.Header("X-One", "1", "2")))
	for _, want := range []string{
		`"raw_body":"hello"`, `"path":"/a"`, `"query":{"b":"c","d":true,"e":["1",""],"g":"="}`, `"host":"example.com"`, `"matched_route":{`,
		`"headers":{"host":"example.com","x-one":["1","2"]}`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("echo has no %s: %s", want, body)
		}
	}
}

func TestRequestTermination_echoReadsTheBody(t *testing.T) {
	for _, tt := range []struct{ contentType, body, want string }{
		{"application/json; charset=utf-8", `{"a": [1]}`, `"body":{"a":[1]}`},
		{"application/x-www-form-urlencoded", "a=1&b=2&b=3", `"body":{"a":"1","b":["2","3"]}`},
		{"application/json", "{", `"raw_body":"{"`},
		{"text/plain", "a=1", `"raw_body":"a=1"`},
	} {
		g := plugintest.New(t)
		g.Add("request-termination", `{"echo": true, "status_code": 200}`)
		body := plugintest.Body(g.Do("POST", "http://example.com/a", tt.body, plugintest.Header("Content-Type", tt.contentType)))
		if !strings.Contains(body, tt.want) || strings.Contains(body, `"body":null`) || !strings.Contains(body, `"uri_captures":{"named":{},"unnamed":[]}`) {
			t.Errorf("%s: %s lacks %s", tt.contentType, body, tt.want)
		}
	}
}

func TestRequestTermination_refusesWhatDoesNotGoTogether(t *testing.T) {
	for config, want := range map[string]string{
		`{"message": "a", "body": "b"}`: "message cannot be used with content_type or body",
		`{"content_type": "text/html"}`: "config: content_type requires a body",
		`{"echo": true, "body": "b"}`:   "config: echo cannot be used with content_type and body",
		`{"status_code": 99}`:           "value should be between 100 and 599",
		`{"status_code": 101}`:          "config: status_code must be 200 at least",
		`{"statuscode": 200}`:           "unknown field",

		`{"echo": true, "content_type": "text/html"}`:                "config: content_type requires a body",
		`{"message": "a", "echo": true, "body": "b"}`:                "config: message cannot be used with content_type or body",
		`{"echo": true, "content_type": "text/html", "body": "<p>"}`: "config: echo cannot be used with content_type and body",
	} {
		if _, err := plugintest.New(t).TryAdd("request-termination", config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
	}
}

func BenchmarkRequestTermination(b *testing.B) {
	g := plugintest.New(b)
	g.Add("request-termination", "")
	plugintest.Bench(b, g)
}
