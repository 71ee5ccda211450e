package ratelimiting_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/portcullis-gateway/portcullis/modules/plugin/keyauth"
	"github.com/portcullis-gateway/portcullis/modules/plugin/plugintest"
	"github.com/portcullis-gateway/portcullis/modules/plugin/ratelimiting"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// noon is a moment in the middle of all windows.
var noon = time.Date(2026, 3, 15, 12, 30, 30, 500e6, time.UTC)

// limited is a gateway with the plugin, at noon.
func limited(t testing.TB, config string) *plugintest.Gateway {
	t.Helper()
	g := plugintest.New(t)
	g.Now = noon
	g.Add("rate-limiting", config)
	return g
}

func asJSON(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// headersOf lists the headers about limits, in the order of their names.
func headersOf(h http.Header) string {
	var list []string
	for _, name := range []string{
		"X-RateLimit-Limit-Second", "X-RateLimit-Remaining-Second", "X-RateLimit-Limit-Minute", "X-RateLimit-Remaining-Minute",
		"X-RateLimit-Limit-Hour", "X-RateLimit-Remaining-Hour", "X-RateLimit-Limit-Day", "X-RateLimit-Remaining-Day",
		"X-RateLimit-Limit-Month", "X-RateLimit-Remaining-Month", "X-RateLimit-Limit-Year", "X-RateLimit-Remaining-Year",
		"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "Retry-After",
	} {
		if v := h.Values(name); len(v) > 0 {
			list = append(list, strings.TrimPrefix(name, "X-RateLimit-")+"="+strings.Join(v, ","))
		}
	}
	return strings.Join(list, " ")
}

func want(t *testing.T, r *http.Response, status int, headers string) {
	t.Helper()
	if got := headersOf(r.Header); r.StatusCode != status || got != headers {
		t.Errorf("got %d %s\nwant %d %s", r.StatusCode, got, status, headers)
	}
}

func TestHeaders(t *testing.T) {
	for _, tt := range []struct {
		name, config string
		status       []int
		headers      []string
	}{
		{"a minute", `{"minute": 2}`, []int{200, 200, 429, 429}, []string{
			"Limit-Minute=2 Remaining-Minute=1 RateLimit-Limit=2 RateLimit-Remaining=1 RateLimit-Reset=30",
			"Limit-Minute=2 Remaining-Minute=0 RateLimit-Limit=2 RateLimit-Remaining=0 RateLimit-Reset=30",
			"Limit-Minute=2 Remaining-Minute=0 RateLimit-Limit=2 RateLimit-Remaining=0 RateLimit-Reset=30 Retry-After=30",
			"Limit-Minute=2 Remaining-Minute=0 RateLimit-Limit=2 RateLimit-Remaining=0 RateLimit-Reset=30 Retry-After=30",
		}},
		{"the window that is full is told, and the other one keeps what it has", `{"second": 1, "hour": 10}`, []int{200, 429, 429}, []string{
			"Limit-Second=1 Remaining-Second=0 Limit-Hour=10 Remaining-Hour=9 RateLimit-Limit=1 RateLimit-Remaining=0 RateLimit-Reset=1",
			"Limit-Second=1 Remaining-Second=0 Limit-Hour=10 Remaining-Hour=9 RateLimit-Limit=1 RateLimit-Remaining=0 RateLimit-Reset=1 Retry-After=1",
			"Limit-Second=1 Remaining-Second=0 Limit-Hour=10 Remaining-Hour=9 RateLimit-Limit=1 RateLimit-Remaining=0 RateLimit-Reset=1 Retry-After=1",
		}},
		{"of equal ones the longest", `{"minute": 1, "day": 1, "month": 1}`, []int{200, 429}, []string{
			"Limit-Minute=1 Remaining-Minute=0 Limit-Day=1 Remaining-Day=0 Limit-Month=1 Remaining-Month=0 RateLimit-Limit=1 RateLimit-Remaining=0 RateLimit-Reset=1337370",
			"Limit-Minute=1 Remaining-Minute=0 Limit-Day=1 Remaining-Day=0 Limit-Month=1 Remaining-Month=0 RateLimit-Limit=1 RateLimit-Remaining=0 RateLimit-Reset=1337370 Retry-After=1337370",
		}},
		{"all periods", `{"second": 10, "minute": 20, "hour": 30, "day": 40, "month": 50, "year": 60}`, []int{200}, []string{
			"Limit-Second=10 Remaining-Second=9 Limit-Minute=20 Remaining-Minute=19 Limit-Hour=30 Remaining-Hour=29 " +
				"Limit-Day=40 Remaining-Day=39 Limit-Month=50 Remaining-Month=49 Limit-Year=60 Remaining-Year=59 " +
				"RateLimit-Limit=10 RateLimit-Remaining=9 RateLimit-Reset=1",
		}},
		{"a fraction lets one more in", `{"minute": 1.5}`, []int{200, 200, 429}, []string{
			"Limit-Minute=1.5 Remaining-Minute=0.5 RateLimit-Limit=1.5 RateLimit-Remaining=0.5 RateLimit-Reset=30",
			"Limit-Minute=1.5 Remaining-Minute=0 RateLimit-Limit=1.5 RateLimit-Remaining=0 RateLimit-Reset=30",
			"Limit-Minute=1.5 Remaining-Minute=0 RateLimit-Limit=1.5 RateLimit-Remaining=0 RateLimit-Reset=30 Retry-After=30",
		}},
		{"hidden", `{"minute": 1, "hide_client_headers": true}`, []int{200, 429}, []string{"", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := limited(t, tt.config)
			for i, status := range tt.status {
				want(t, g.Get("/"), status, tt.headers[i])
			}
		})
	}
}

func TestAnswer(t *testing.T) {
	g := limited(t, `{"minute": 1, "error_code": 503, "error_message": "come back later"}`)
	want(t, g.Get("/"), 200, "Limit-Minute=1 Remaining-Minute=0 RateLimit-Limit=1 RateLimit-Remaining=0 RateLimit-Reset=30")
	r := g.Get("/")
	if body := plugintest.Body(r); r.StatusCode != 503 || !strings.Contains(body, `"message":"come back later"`) {
		t.Errorf("got %d %s", r.StatusCode, body)
	}
	if g.Last != nil {
		t.Error("the service was called")
	}
}

// TestWindows moves a clock over borders: each list has moments, and the status
// that a request has then if one may be made in each window.
func TestWindows(t *testing.T) {
	for _, tt := range []struct {
		period string
		at     []string
		status []int
	}{
		{"second", []string{"2026-03-15T12:30:30.999Z", "2026-03-15T12:30:30.9999Z", "2026-03-15T12:30:31Z"}, []int{200, 429, 200}},
		{"minute", []string{"2026-03-15T12:30:00Z", "2026-03-15T12:30:59Z", "2026-03-15T12:31:00Z"}, []int{200, 429, 200}},
		{"hour", []string{"2026-03-15T12:30:00Z", "2026-03-15T12:59:59Z", "2026-03-15T13:00:00Z"}, []int{200, 429, 200}},
		{"day", []string{"2026-03-15T00:00:00Z", "2026-03-15T23:59:59Z", "2026-03-16T00:00:00Z"}, []int{200, 429, 200}},
		{"day", []string{"2026-03-15T23:59:59+02:00", "2026-03-16T00:30:00+02:00", "2026-03-16T02:00:00+02:00"}, []int{200, 429, 200}},
		{"month", []string{"2024-02-01T00:00:00Z", "2024-02-29T23:59:59Z", "2024-03-01T00:00:00Z", "2024-03-31T23:59:59Z", "2024-04-01T00:00:00Z"},
			[]int{200, 429, 200, 429, 200}},
		{"year", []string{"2024-01-01T00:00:00Z", "2024-12-31T23:59:59Z", "2025-01-01T00:00:00Z"}, []int{200, 429, 200}},
		{"minute", []string{"2026-03-15T12:31:00Z", "2026-03-15T12:30:59Z", "2026-03-15T12:31:01Z"}, []int{200, 429, 429}},
	} {
		t.Run(tt.period+" "+tt.at[0], func(t *testing.T) {
			g := limited(t, `{"`+tt.period+`": 1}`)
			for i, at := range tt.at {
				g.Now, _ = time.Parse(time.RFC3339Nano, at)
				if r := g.Get("/"); r.StatusCode != tt.status[i] {
					t.Errorf("%s: got %d, want %d", at, r.StatusCode, tt.status[i])
				}
			}
		})
	}
}

// TestWindows_aClockThatIsSetBack lets nobody wait for the time before.
func TestWindows_aClockThatIsSetBack(t *testing.T) {
	g := limited(t, `{"second": 1}`)
	if r := g.Get("/"); r.StatusCode != 200 {
		t.Fatal(r.StatusCode)
	}
	g.Now = noon.Add(-time.Hour)
	if r := g.Get("/"); r.StatusCode != 200 {
		t.Errorf("got %d an hour before", r.StatusCode)
	}
	if r := g.Get("/"); r.StatusCode != 429 {
		t.Errorf("got %d for the second request of that time", r.StatusCode)
	}
}

func TestReset_countsDownAsInKong(t *testing.T) {
	for at, reset := range map[string]string{
		"2026-03-15T12:30:59Z": "1", "2026-03-15T12:30:00Z": "60", "2026-03-15T12:30:01.9Z": "59",
	} {
		g := limited(t, `{"minute": 5}`)
		g.Now, _ = time.Parse(time.RFC3339Nano, at)
		if got := g.Get("/").Header.Get("RateLimit-Reset"); got != reset {
			t.Errorf("%s: got %s, want %s", at, got, reset)
		}
	}
	// a month has 30 days
	g := limited(t, `{"month": 5}`)
	g.Now = time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)
	if got := g.Get("/").Header.Get("RateLimit-Reset"); got != "1" {
		t.Errorf("on the 31st: got %s, want 1", got)
	}
}

func TestLimitBy(t *testing.T) {
	from := plugintest.From
	header := plugintest.Header
	all := func(changes ...func(*http.Request)) func(*http.Request) {
		return func(r *http.Request) {
			for _, c := range changes {
				c(r)
			}
		}
	}
	type request struct {
		target string
		change func(*http.Request)
		status int
	}
	for _, tt := range []struct {
		name, config string
		requests     []request
	}{
		{"consumer", `{"minute": 1}`, []request{
			{"/", all(header("apikey", "a1"), from("1.1.1.1:1")), 200},
			{"/", all(header("apikey", "a2"), from("2.2.2.2:1")), 429}, // anna's other key
			{"/", all(header("apikey", "b"), from("1.1.1.1:1")), 200},
			{"/", all(header("apikey", "none"), from("1.1.1.1:1")), 200}, // guest
			{"/", all(header("apikey", "none"), from("3.3.3.3:1")), 429},
		}},
		{"credential", `{"minute": 1, "limit_by": "credential"}`, []request{
			{"/", all(header("apikey", "a1"), from("1.1.1.1:1")), 200},
			{"/", all(header("apikey", "a2"), from("1.1.1.1:1")), 200},
			{"/", all(header("apikey", "a1"), from("2.2.2.2:1")), 429},
			{"/", all(header("apikey", "none"), from("1.1.1.1:1")), 200}, // by address
			{"/", all(header("apikey", "none"), from("1.1.1.1:2")), 429},
			{"/", all(header("apikey", "none"), from("2.2.2.2:1")), 200},
		}},
		{"ip", `{"minute": 1, "limit_by": "ip"}`, []request{
			{"/", all(header("apikey", "a1"), from("1.1.1.1:1")), 200},
			{"/", all(header("apikey", "b"), from("1.1.1.1:2")), 429},
			{"/", all(header("apikey", "a1"), from("[2001:db8::1]:2")), 200},
			{"/", all(header("apikey", "a1"), from("[2001:db8::1]:3")), 429},
		}},
		{"service", `{"minute": 1, "limit_by": "service"}`, []request{
			{"/", from("1.1.1.1:1"), 200},
			{"/x", from("2.2.2.2:1"), 429},
		}},
		{"header", `{"minute": 1, "limit_by": "header", "header_name": "x-app"}`, []request{
			{"/", all(header("X-App", "1", "2"), from("1.1.1.1:1")), 200},
			{"/", all(header("X-App", "1"), from("2.2.2.2:1")), 429},
			{"/", all(header("X-App", "2"), from("1.1.1.1:1")), 200},
			{"/", all(header("X-App", strings.Repeat("x", 1000)+"1"), from("1.1.1.1:1")), 200},
			{"/", all(header("X-App", strings.Repeat("x", 1000)+"2"), from("1.1.1.1:1")), 200},
			{"/", all(header("X-App", strings.Repeat("x", 1000)+"2"), from("1.1.1.1:1")), 429},
			{"/", from("1.1.1.1:1"), 200},
			{"/", from("1.1.1.1:1"), 429},
		}},
		{"host", `{"minute": 1, "limit_by": "header", "header_name": "host"}`, []request{
			{"http://a.test/", from("1.1.1.1:1"), 200},
			{"http://a.test/", from("2.2.2.2:1"), 429},
			{"http://b.test/", from("2.2.2.2:1"), 200},
		}},
		{"path", `{"minute": 1, "limit_by": "path", "path": "/a"}`, []request{
			{"/a?x=1", from("1.1.1.1:1"), 200},
			{"/a", from("2.2.2.2:1"), 429},
			{"/a/b", from("1.1.1.1:1"), 200},
			{"/c", from("1.1.1.1:1"), 429}, // by address
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := plugintest.New(t)
			g.Now = noon
			g.Consumer("guest")
			anna := g.Consumer("anna")
			g.Insert("keyauth_credentials", schema.Object{"consumer": anna, "key": "a1"})
			g.Insert("keyauth_credentials", schema.Object{"consumer": anna, "key": "a2"})
			g.Insert("keyauth_credentials", schema.Object{"consumer": g.Consumer("bert"), "key": "b"})
			if tt.name == "consumer" || tt.name == "credential" {
				g.Add("key-auth", `{"anonymous": "guest"}`)
			}
			g.Add("rate-limiting", tt.config)
			for i, q := range tt.requests {
				if r := g.Get(q.target, q.change); r.StatusCode != q.status {
					t.Errorf("request %d: got %d, want %d", i, r.StatusCode, q.status)
				}
			}
		})
	}
}

func TestConfig_refused(t *testing.T) {
	for _, tt := range []struct{ name, config, fields string }{
		{"no limit", `{}`, `{"@entity":["at least one of these fields must be non-empty: 'config.second', 'config.minute', 'config.hour', 'config.day', 'config.month', 'config.year'"]}`},
		{"zero", `{"minute": 0}`, `{"config":{"minute":"value must be greater than 0"}}`},
		{"a text", `{"minute": "5"}`, `{"config":{"minute":"expected a number"}}`},
		{"a longer period with less", `{"second": 20, "hour": 10}`, `{"config":"The limit for hour(10.0) cannot be lower than the limit for second(20.0)"}`},
		{"the year with less than the month", `{"second": 10, "minute": 20, "hour": 30, "day": 40, "month": 60, "year": 50}`,
			`{"config":"The limit for year(50.0) cannot be lower than the limit for month(60.0)"}`},
		{"no header", `{"minute": 1, "limit_by": "header"}`,
			`{"@entity":["failed conditional validation given value of field 'config.limit_by'"],"config":{"header_name":"required field missing"}}`},
		{"no path", `{"minute": 1, "limit_by": "path"}`,
			`{"@entity":["failed conditional validation given value of field 'config.limit_by'"],"config":{"path":"required field missing"}}`},
		{"no host", `{"minute": 1, "policy": "redis", "redis": {"port": 1}}`,
			`{"@entity":["failed conditional validation given value of field 'config.policy'"],"config":{"redis":{"host":"required field missing"}}}`},
		{"an unknown policy", `{"minute": 1, "policy": "memcached"}`, `{"config":{"policy":"expected one of: local, cluster, redis"}}`},
		{"limit_by of Kong's other edition", `{"minute": 1, "limit_by": "consumer-group"}`,
			`{"config":{"limit_by":"expected one of: consumer, credential, ip, service, header, path"}}`},
		{"sync_rate without redis", `{"minute": 1, "sync_rate": 1}`, `{"config":"sync_rate can only be used with the redis policy"}`},
		{"a sync_rate too small", `{"minute": 1, "policy": "redis", "redis": {"host": "a"}, "sync_rate": 0.01}`,
			`{"config":"sync_rate must be greater than 0.02, or -1 to disable"}`},
		{"bad fields of redis", `{"minute": 1, "redis": {"host": "", "port": -5, "timeout": -5, "username": 1, "password": 4, "database": "abc", "ssl": "abc", "ssl_verify": "x"}}`,
			`{"config":{"redis":{"database":"expected an integer","host":"length must be at least 1","password":"expected a string",` +
				`"port":"value should be between 0 and 65535","ssl":"expected a boolean","ssl_verify":"expected a boolean",` +
				`"timeout":"value should be between 0 and 2147483646","username":"expected a string"}}}`},
		{"sentinels without a name", `{"minute": 1, "policy": "redis", "redis": {"sentinel_nodes": [{"host": "a"}]}}`,
			`{"config":{"redis":{"@entity":["all or none of these fields must be set: 'sentinel_master', 'sentinel_nodes'"]}}}`},
		{"a server and a cluster", `{"minute": 1, "policy": "redis", "redis": {"host": "a", "cluster_nodes": [{"ip": "a"}]}}`,
			`{"config":{"redis":{"@entity":["only one or none of these fields must be set: 'host', 'sentinel_nodes', 'cluster_nodes'"]}}}`},
		{"a status that is none", `{"minute": 1, "error_code": 20}`, `{"config":{"error_code":"value should be between 200 and 599"}}`},
		{"cluster without a database", `{"minute": 1, "policy": "cluster"}`, `policy: "cluster" needs a store with a database`},
		{"a vault", `{"minute": 1, "policy": "redis", "redis": {"host": "a", "password": "{vault://env/x}"}}`, `references to vaults are not resolved`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := plugintest.New(t).TryAdd("rate-limiting", tt.config)
			var e *schema.Error
			got := fmt.Sprint(err)
			if errors.As(err, &e) {
				got = asJSON(e.Fields)
			}
			if !strings.Contains(got, tt.fields) || err == nil {
				t.Errorf("got  %s\nwant %s", got, tt.fields)
			}
		})
	}
}

// TestDeprecatedFields_areThoseOfRedis shows the config that the old fields make.
func TestDeprecatedFields_areThoseOfRedis(t *testing.T) {
	g := plugintest.New(t)
	in := g.Add("rate-limiting", `{"minute": 1, "policy": "redis", "redis_host": "a.test", "redis_port": 1, "redis_password": "p",
		"redis_username": "u", "redis_ssl": true, "redis_ssl_verify": true, "redis_server_name": "b.test", "redis_timeout": 5, "redis_database": 3}`)
	for _, part := range []string{`"host":"a.test"`, `"port":1`, `"password":"p"`, `"username":"u"`, `"ssl":true`, `"ssl_verify":true`,
		`"server_name":"b.test"`, `"timeout":5`, `"database":3`} {
		if !strings.Contains(string(in.Config), part) {
			t.Errorf("no %s in %s", part, in.Config)
		}
	}
}

// TestLocal_exactWhenManyComeAtATime counts who is let in: with a thousand
// requests at once for four clients, each gets exactly its limit.
func TestLocal_exactWhenManyComeAtATime(t *testing.T) {
	exact(t, `{"second": 40, "hour": 50, "limit_by": "header", "header_name": "x-app"}`, 40)
}

func exact(t *testing.T, config string, limit int64) {
	t.Helper()
	exactWith(t, func(*plugintest.Gateway) {}, config, limit)
}

func exactWith(t *testing.T, prepare func(*plugintest.Gateway), config string, limit int64) {
	t.Helper()
	g := plugintest.New(t)
	g.Now = noon
	prepare(g)
	g.Add("rate-limiting", config)
	var passed, refused [4]atomic.Int64
	var remaining [4]sync.Map // each number is told once
	var wg sync.WaitGroup
	for worker := range 20 {
		wg.Go(func() {
			for i := range 50 {
				client := (worker + i) % 4
				w := httptest.NewRecorder()
				r := httptest.NewRequest("GET", "/", nil)
				r.Header.Set("X-App", strconv.Itoa(client))
				g.ServeHTTP(w, r)
				if w.Code != 200 {
					refused[client].Add(1)
					continue
				}
				passed[client].Add(1)
				left := w.Header().Get("RateLimit-Remaining")
				if _, again := remaining[client].LoadOrStore(left, true); again {
					t.Errorf("client %d was told twice that %s remain", client, left)
				}
			}
		})
	}
	wg.Wait()
	for c := range passed {
		if p, r := passed[c].Load(), refused[c].Load(); p != limit || p+r != 250 {
			t.Errorf("client %d: %d passed and %d were refused of 250, want %d to pass", c, p, r, limit)
		}
	}
}

// TestTableAndStructAgree holds the defaults of the module against those of the
// schema.
func TestTableAndStructAgree(t *testing.T) {
	var table ratelimiting.Plugin
	if err := json.Unmarshal(plugintest.New(t).Add("rate-limiting", `{"minute": 1}`).Config, &table); err != nil {
		t.Fatal(err)
	}
	module := new(ratelimiting.Plugin).CaddyModule().New().(*ratelimiting.Plugin)
	module.Minute = table.Minute
	if got, want := asJSON(&table), asJSON(module); got != want {
		t.Errorf("the schema says %s\nand the module %s", got, want)
	}
}

func BenchmarkLocal(b *testing.B) {
	g := limited(b, `{"minute": 1000000000}`)
	plugintest.Bench(b, g)
}

// TestSchema_null takes what Kong does: null is none of the values that want
// another field.
func TestSchema_null(t *testing.T) {
	for _, config := range []string{`{"minute": 1, "limit_by": null}`, `{"minute": 1, "policy": null}`} {
		if _, err := plugintest.New(t).TryAdd("rate-limiting", config); err != nil {
			t.Errorf("%s: %v", config, err)
		}
	}
}
