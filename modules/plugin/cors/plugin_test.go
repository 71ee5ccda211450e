package cors_test

import (
	"net/http"
	"strings"
	"testing"

	_ "github.com/portcullis-gateway/portcullis/modules/plugin/cors"
	"github.com/portcullis-gateway/portcullis/modules/plugin/plugintest"
)

// shown are the response's headers that are about origins, as one line.
func shown(h http.Header) string {
	var out []string
	for _, name := range []string{"Origin", "Credentials", "Headers", "Methods", "Private-Network"} {
		if v := h.Values("Access-Control-Allow-" + name); len(v) > 0 {
			out = append(out, name+"="+strings.Join(v, "+"))
		}
	}
	for _, name := range []string{"Access-Control-Max-Age", "Access-Control-Expose-Headers", "Vary"} {
		if v := h.Values(name); len(v) > 0 {
			out = append(out, strings.TrimPrefix(name, "Access-Control-")+"="+strings.Join(v, "+"))
		}
	}
	return strings.Join(out, " ")
}

func TestCORS_responses(t *testing.T) {
	for _, tt := range []struct{ name, config, origin, want string }{
		{"default", ``, "http://a.example", "Origin=*"},
		{"no origin", ``, "", "Origin=*"},
		{"no origin, and nothing for it", `{"allow_origin_absent": false}`, "", ""},
		{"all in words", `{"origins": ["*"]}`, "http://a.example", "Origin=*"},
		{"credentials for all", `{"credentials": true}`, "http://a.example", "Origin=http://a.example Credentials=true Vary=Origin"},
		{"credentials for all without an origin", `{"credentials": true}`, "", "Origin=*"},
		{"one origin", `{"origins": ["http://a.example"]}`, "http://a.example", "Origin=http://a.example Vary=Origin"},
		{"one origin for another", `{"origins": ["http://a.example"]}`, "http://b.example", "Origin=http://a.example Vary=Origin"},
		{"one origin with credentials", `{"origins": ["http://a.example"], "credentials": true}`, "", "Origin=http://a.example Credentials=true Vary=Origin"},
		{"several", `{"origins": ["http://a.example", "https://b.example"]}`, "https://b.example", "Origin=https://b.example Vary=Origin"},
		{"several, another", `{"origins": ["http://a.example", "https://b.example"]}`, "https://c.example", "Vary=Origin"},
		{"several without an origin", `{"origins": ["http://a.example", "https://b.example"]}`, "", "Vary=Origin"},
		{"several, none of them, with credentials", `{"origins": ["http://a.example", "https://b.example"], "credentials": true}`, "https://c.example", "Credentials=true Vary=Origin"},
		{"default ports", `{"origins": ["http://a.example:80", "https://b.example"]}`, "https://b.example:443", "Origin=https://b.example Vary=Origin"},
		{"another port", `{"origins": ["http://a.example:80", "https://b.example"]}`, "http://a.example:8080", "Vary=Origin"},
		{"a star among others", `{"origins": ["http://a.example", "*"]}`, "http://b.example", "Origin=* Vary=Origin"},
		{"expression", `{"origins": ["http://(www\\.)?a\\.example"]}`, "http://www.a.example", "Origin=http://www.a.example Vary=Origin"},
		{"expression is for the whole origin", `{"origins": ["http://a\\.example"]}`, "http://a.example.evil", "Vary=Origin"},
		{"each alternative is for the whole origin", `{"origins": ["http://a\\.example|http://b\\.example"]}`, "http://a.example.evil", "Vary=Origin"},
		{"expression with anchors", `{"origins": ["^http://a[.]example$"]}`, "http://a.example", "Origin=http://a.example Vary=Origin"},
		{"expression for the host", `{"origins": [".*\\.example"]}`, "https://a.example:8443", "Origin=https://a.example:8443 Vary=Origin"},
		{"opaque origin", `{"origins": ["http://a.example", ".*\\.example"]}`, "null", "Vary=Origin"},
		{"exposed", `{"exposed_headers": ["X-A", "X-B"]}`, "http://a.example", "Origin=* Expose-Headers=X-A,X-B"},
		{"other settings are for preflight", `{"headers": ["X"], "methods": ["GET"], "max_age": 5, "private_network": true}`, "http://a.example", "Origin=*"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := plugintest.New(t)
			g.Add("cors", tt.config)
			var change []func(*http.Request)
			if tt.origin != "" {
				change = append(change, plugintest.Header("Origin", tt.origin))
			}
			resp := g.Get("/", change...)
			if got := shown(resp.Header); got != tt.want || plugintest.Body(resp) != "ok" {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCORS_anEmptyOriginIsNone(t *testing.T) {
	g := plugintest.New(t)
	g.Add("cors", `{"allow_origin_absent": false}`)
	if got := shown(g.Get("/", plugintest.Header("Origin", "")).Header); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestCORS_preflight(t *testing.T) {
	const methods = "Methods=GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT"
	for _, tt := range []struct {
		name, config, asked string // the headers asked for
		network             string
		want                string
	}{
		{"default", ``, "", "", "Origin=* " + methods},
		{"headers as asked", ``, "X-A, X-B", "", "Origin=* Headers=X-A, X-B " + methods},
		{"headers as configured", `{"headers": ["X-C", "X-D"]}`, "X-A", "", "Origin=* Headers=X-C,X-D " + methods},
		{"methods", `{"methods": ["GET", "POST"]}`, "", "", "Origin=* Methods=GET,POST"},
		{"age", `{"max_age": 23}`, "", "", "Origin=* " + methods + " Max-Age=23"},
		{"age with a fraction", `{"max_age": 1.5}`, "", "", "Origin=* " + methods + " Max-Age=1.5"},
		{"credentials", `{"credentials": true}`, "", "", "Origin=http://a.example Credentials=true " + methods + " Vary=Origin"},
		{"private network", `{"private_network": true}`, "", "true", "Origin=* " + methods + " Private-Network=true"},
		{"private network not asked for", `{"private_network": true}`, "", "", "Origin=* " + methods},
		{"private network not allowed", ``, "", "true", "Origin=* " + methods},
		{"another origin", `{"origins": ["http://b.example", "http://c.example"]}`, "", "", methods + " Vary=Origin"},
		{"exposed headers are not part of it", `{"exposed_headers": ["X-A"]}`, "", "", "Origin=* " + methods},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := plugintest.New(t)
			g.Add("cors", tt.config)
			resp := g.Do("OPTIONS", "/", "", plugintest.Header("Origin", "http://a.example"),
				plugintest.Header("Access-Control-Request-Method", "PUT"), func(r *http.Request) {
					if tt.asked != "" {
						r.Header.Set("Access-Control-Request-Headers", tt.asked)
					}
					if tt.network != "" {
						r.Header.Set("Access-Control-Request-Private-Network", tt.network)
					}
				})
			if got := shown(resp.Header); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if body := plugintest.Body(resp); resp.StatusCode != 200 || body != "" || g.Last != nil {
				t.Errorf("got %d %q, service asked: %v", resp.StatusCode, body, g.Last != nil)
			}
		})
	}
}

func TestCORS_whatIsNoPreflightIsPassedOn(t *testing.T) {
	g := plugintest.New(t)
	g.Add("cors", `{"methods": ["GET"]}`)
	for _, change := range []func(*http.Request){
		plugintest.Header("Origin", "http://a.example"),
		plugintest.Header("Access-Control-Request-Method", "PUT"),
		func(r *http.Request) {
			r.Header = http.Header{"Origin": {""}, "Access-Control-Request-Method": {"PUT"}}
		},
	} {
		if resp := g.Do("OPTIONS", "/", "", change); plugintest.Body(resp) != "ok" || shown(resp.Header) != "Origin=*" {
			t.Errorf("got %q", shown(resp.Header))
		}
	}
}

func TestCORS_preflightOfTheService(t *testing.T) {
	g := plugintest.New(t)
	g.Add("cors", `{"preflight_continue": true, "credentials": true}`)
	g.Service = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "http://its.own")
		w.WriteHeader(204)
	}
	resp := g.Do("OPTIONS", "/", "", plugintest.Header("Origin", "http://a.example"), plugintest.Header("Access-Control-Request-Method", "PUT"))
	if got := shown(resp.Header); got != "Origin=http://its.own" || resp.StatusCode != 204 {
		t.Errorf("got %d %q", resp.StatusCode, got)
	}
}

func TestCORS_responsesOfServicesAreOverruled(t *testing.T) {
	g := plugintest.New(t)
	g.Add("cors", `{"origins": ["http://a.example", "http://b.example"]}`)
	g.Service = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Vary", "Accept")
	}
	if got := shown(g.Get("/", plugintest.Header("Origin", "http://c.example")).Header); got != "Vary=Accept+Origin" {
		t.Errorf("got %q", got)
	}
}

func TestCORS_refusals(t *testing.T) {
	for config, want := range map[string]string{
		`{"origins": ["http://[a"]}`:    "'http://[a' is not a valid regex",
		`{"methods": ["FETCH"]}`:        "expected one of: GET, HEAD, PUT, PATCH, POST, DELETE, OPTIONS, TRACE, CONNECT",
		`{"max_age": "long"}`:           "expected a number",
		`{"allow_origin_absent": null}`: "required field missing",
	} {
		if _, err := plugintest.New(t).TryAdd("cors", config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
	}
}

func BenchmarkCORS(b *testing.B) {
	g := plugintest.New(b)
	g.Add("cors", `{"origins": ["https://a.example", ".*\\.example"]}`)
	plugintest.Bench(b, g, plugintest.Header("Origin", "https://b.example"))
}
