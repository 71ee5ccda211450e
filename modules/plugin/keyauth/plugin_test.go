package keyauth_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	_ "github.com/portcullis-gateway/portcullis/modules/plugin/keyauth"
	"github.com/portcullis-gateway/portcullis/modules/plugin/plugintest"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func TestKeyAuth(t *testing.T) {
	key := plugintest.Header
	for _, tt := range []struct {
		name, config, method, target, body string
		change                             func(*http.Request)
		status                             int
		message, consumer                  string
		service                            string // "header|query|body" that the service gets, of the key
	}{
		{name: "no key", target: "/", status: 401, message: "No API key found in request"},
		{name: "empty key", target: "/", change: key("apikey", ""), status: 401, message: "No API key found in request"},
		{name: "unknown key", target: "/", change: key("apikey", "x"), status: 401, message: "Unauthorized"},
		{name: "twice", target: "/", change: key("apikey", "secret", "secret"), status: 401, message: "Duplicate API key found"},
		{name: "header", target: "/", change: key("apikey", "secret"), status: 200, consumer: "anna", service: "secret||"},
		{name: "query", target: "/?apikey=secret&b=1", status: 200, consumer: "anna", service: "|apikey=secret&b=1|"},
		{name: "header wins", target: "/?apikey=secret", change: key("apikey", "x"), status: 401, message: "Unauthorized"},
		{name: "not in the query", config: `{"key_in_query": false}`, target: "/?apikey=secret", status: 401, message: "No API key found in request"},
		{name: "hidden header", config: `{"hide_credentials": true}`, target: "/", change: key("apikey", "secret"), status: 200, consumer: "anna", service: "||"},
		{name: "hidden in the query", config: `{"hide_credentials": true}`, target: "/?a=1&apikey=secret&b=2", status: 200, consumer: "anna", service: "|a=1&b=2|"},
		{name: "another name", config: `{"key_names": ["x-key", "k"]}`, target: "/?k=secret", status: 200, consumer: "anna", service: "|k=secret|"},
		{name: "form", config: `{"key_in_body": true, "hide_credentials": true}`, method: "POST", target: "/", body: "a=1&apikey=secret",
			change: key("Content-Type", "application/x-www-form-urlencoded"), status: 200, consumer: "anna", service: "||a=1"},
		{name: "JSON", config: `{"key_in_body": true, "hide_credentials": true}`, method: "POST", target: "/", body: `{"apikey":"secret","a":1}`,
			change: key("Content-Type", "application/json"), status: 200, consumer: "anna", service: `||{"a":1}`},
		{name: "body not asked for", method: "POST", target: "/", body: "apikey=secret",
			change: key("Content-Type", "application/x-www-form-urlencoded"), status: 401, message: "No API key found in request"},
		{name: "anonymous", config: `{"anonymous": "guest"}`, target: "/", status: 200, consumer: "guest", service: "||"},
		{name: "anonymous is nobody", config: `{"anonymous": "ghost"}`, target: "/", status: 500, message: "anonymous consumer ghost is configured but doesn't exist"},
		{name: "preflight", config: `{"run_on_preflight": false}`, method: "OPTIONS", target: "/", status: 200, service: "||"},
		{name: "preflight by default", method: "OPTIONS", target: "/", status: 401, message: "No API key found in request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := plugintest.New(t)
			g.Consumer("guest")
			g.Insert("keyauth_credentials", schema.Object{"consumer": g.Consumer("anna"), "key": "secret"})
			g.Add("key-auth", tt.config)
			if tt.method == "" {
				tt.method = "GET"
			}
			if tt.change == nil {
				tt.change = func(*http.Request) {}
			}
			resp := g.Do(tt.method, tt.target, tt.body, tt.change)
			if body := plugintest.Body(resp); resp.StatusCode != tt.status || !strings.Contains(body, tt.message) {
				t.Fatalf("got %d %s, want %d %q", resp.StatusCode, body, tt.status, tt.message)
			}
			if tt.status == 401 && resp.Header.Get("WWW-Authenticate") != "Key" {
				t.Errorf("challenge %q", resp.Header.Get("WWW-Authenticate"))
			}
			if tt.status != 200 {
				if g.Last != nil {
					t.Error("the service was called")
				}
				return
			}
			if got := g.Last.Header.Get("X-Consumer-Username"); got != tt.consumer {
				t.Errorf("consumer %q, want %q", got, tt.consumer)
			}
			if got := g.Last.Header.Get("apikey") + "|" + g.Last.URL.RawQuery + "|" + g.LastBody; got != tt.service {
				t.Errorf("the service got %q, want %q", got, tt.service)
			}
			if anonymous := g.Last.Header.Get("X-Anonymous-Consumer") == "true"; anonymous != (tt.consumer == "guest") {
				t.Errorf("anonymous: %t", anonymous)
			}
		})
	}
}

func BenchmarkKeyAuth(b *testing.B) {
	g := plugintest.New(b)
	g.Insert("keyauth_credentials", schema.Object{"consumer": g.Consumer("anna"), "key": "secret"})
	g.Add("key-auth", "")
	plugintest.Bench(b, g, plugintest.Header("apikey", "secret"))
}

// BenchmarkKeyAuth_credentials looks keys up among few and among a million: all
// tables of credentials are indexed alike.
func BenchmarkKeyAuth_credentials(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			g := plugintest.New(b)
			anna := g.Consumer("anna")
			key := func(i int) string { return "key-" + strconv.Itoa(i*7919) }
			g.Fill("keyauth_credentials", n, func(i int) schema.Object { return schema.Object{"consumer": anna, "key": key(i)} })
			g.Add("key-auth", "")
			g.Service = func(http.ResponseWriter, *http.Request) {}
			asked := make([]string, 4096) // a new key each time
			for i := range asked {
				asked[i] = key(i * 104729 % n)
			}
			r, w, i := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder(), 0
			next := func() {
				r.Header["Apikey"] = asked[i%len(asked) : i%len(asked)+1]
				g.ServeHTTP(w, r)
				i++
			}
			for range asked {
				next()
			}
			b.ReportAllocs()
			for b.Loop() {
				next()
			}
			if w.Code != http.StatusOK {
				b.Errorf("got %d", w.Code)
			}
		})
	}
}
