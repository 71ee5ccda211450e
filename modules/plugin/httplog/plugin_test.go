package httplog_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"

	"github.com/portcullis-gateway/portcullis/modules/metrics"
	"github.com/portcullis-gateway/portcullis/modules/patient"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/httplog"
	"github.com/portcullis-gateway/portcullis/modules/plugin/plugintest"
	"github.com/portcullis-gateway/portcullis/modules/queue"
)

// A receiver is a server that takes entries.
type receiver struct {
	*httptest.Server
	got chan received
}

type received struct {
	*http.Request
	body string
}

// receive runs a receiver that answers by the function, or with 200 if it is
// nil.
func receive(t testing.TB, answer http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{got: make(chan received, 1000)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		r.got <- received{req, string(b)}
		if answer != nil {
			answer(w, req)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// next answers what comes next.
func (r *receiver) next(t testing.TB) received {
	t.Helper()
	select {
	case got := <-r.got:
		return got
	case <-time.After(patient.Limit):
		t.Fatal("nothing came")
	}
	return received{}
}

func config(url string, more string) string {
	return fmt.Sprintf(`{"http_endpoint": %q %s}`, url, more)
}

func TestHTTPLog_oneEntry(t *testing.T) {
	r := receive(t, nil)
	g := plugintest.New(t)
	g.Add("http-log", config(strings.Replace(r.URL, "http://", "http://me:s%20cret@", 1)+"/logs?k=v", `,"headers": {"X-Team": "a"}, "method": "PUT"`))
	g.Get("/a?b=c", plugintest.Header("Authorization", "Basic Zm9v"))
	got := r.next(t)
	user, password, _ := got.BasicAuth()
	if got.Method != "PUT" || got.RequestURI != "/logs?k=v" || got.Header.Get("X-Team") != "a" || user+":"+password != "me:s cret" ||
		got.Header.Get("Content-Type") != "application/json" || got.ContentLength != int64(len(got.body)) {
		t.Errorf("got %s %s %v %d", got.Method, got.RequestURI, got.Header, got.ContentLength)
	}
	var entry struct {
		Request  struct{ URI, Method string }
		Response struct{ Status int }
	}
	if err := json.Unmarshal([]byte(got.body), &entry); err != nil {
		t.Fatalf("%v: %s", err, got.body)
	}
	if entry.Request.URI != "/a?b=c" || entry.Request.Method != "GET" || entry.Response.Status != 200 {
		t.Errorf("got %s", got.body)
	}
	if strings.Contains(got.body, "Zm9v") || !strings.Contains(got.body, `"authorization":"REDACTED"`) {
		t.Errorf("the client's secret is in %s", got.body)
	}
}

func TestHTTPLog_batches(t *testing.T) {
	for _, tt := range []struct{ name, config string }{
		{"queue", `,"queue": {"max_batch_size": 3, "max_coalescing_delay": 2}`},
		{"deprecated fields", `,"queue_size": 3, "flush_timeout": 2, "retry_count": 10`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := receive(t, nil)
			g := plugintest.New(t)
			g.Add("http-log", config(r.URL, tt.config))
			for i := range 4 {
				g.Get(fmt.Sprint("/", i))
			}
			for _, want := range [][]string{{"/0", "/1", "/2"}, {"/3"}} {
				var list []struct{ Request struct{ URI string } }
				got := r.next(t)
				if err := json.Unmarshal([]byte(got.body), &list); err != nil {
					t.Fatalf("%v: %s", err, got.body)
				}
				var uris []string
				for _, e := range list {
					uris = append(uris, e.Request.URI)
				}
				if fmt.Sprint(uris) != fmt.Sprint(want) {
					t.Errorf("got %v, want %v", uris, want)
				}
			}
		})
	}
}

// TestHTTPLog_returningReceiver has one that refuses at first, and is not there
// at all later.
func TestHTTPLog_returningReceiver(t *testing.T) {
	var mu sync.Mutex
	refusals := 3
	r := receive(t, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if refusals--; refusals >= 0 {
			w.WriteHeader(302) // is no success
			io.WriteString(w, "no")
		}
	})
	g := plugintest.New(t)
	g.Add("http-log", config(r.URL+"/secret-path", `,"queue": {"initial_retry_delay": 0.001}`))
	g.Get("/first")
	for range 4 {
		if got := r.next(t); !strings.Contains(got.body, "/first") {
			t.Fatalf("got %s", got.body)
		}
	}
	addr := r.Listener.Addr().String()
	r.Close()
	g.Get("/second")
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Skip("somebody else has the port by now")
	}
	back := make(chan string, 10)
	s := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		back <- string(b)
	})}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	select {
	case body := <-back:
		if !strings.Contains(body, "/second") {
			t.Errorf("got %s", body)
		}
	case <-time.After(patient.Limit):
		t.Fatal("the receiver is back and gets nothing")
	}
}

// TestHTTPLog_slowReceiver never answers; clients do not wait for it, and what
// there is no room for is dropped.
func TestHTTPLog_slowReceiver(t *testing.T) {
	release := make(chan struct{})
	r := receive(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	g := plugintest.New(t)
	g.Add("http-log", config(r.URL, `,"queue": {"max_entries": 2}`))
	g.Get("/0")
	r.next(t)
	began := time.Now()
	for i := range 100 {
		g.Get(fmt.Sprint("/", i+1))
	}
	if took := time.Since(began); took > patient.Limit/2 {
		t.Errorf("100 requests took %v", took)
	}
	release <- struct{}{}
	for _, want := range []string{`"/99"`, `"/100"`} {
		if got := r.next(t); !strings.Contains(got.body, want) {
			t.Errorf("got %s, want %s", got.body, want)
		}
		release <- struct{}{}
	}
}

func TestHTTPLog_timeout(t *testing.T) {
	release := make(chan struct{})
	r := receive(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	g := plugintest.New(t)
	g.Add("http-log", config(r.URL, `,"timeout": 50, "queue": {"max_retry_time": -1}`))
	before := lost(t)
	g.Get("/")
	patient.Until(t, "the entry is given up", func() bool { return lost(t) > before })
}

// lost is how many entries were given up.
func lost(t testing.TB) float64 {
	t.Helper()
	text, err := testutil.CollectAndFormat(metrics.Totals(), expfmt.TypeTextPlain, "gateway_queue_entries_total")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), `gateway_queue_entries_total{outcome="lost",plugin="http-log"} `)
	n, _, _ := strings.Cut(after, "\n")
	v, err := strconv.ParseFloat(n, 64)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// TestHTTPLog_end has the plugin go while a batch waits for more.
func TestHTTPLog_end(t *testing.T) {
	r := receive(t, nil)
	t.Run("plugin", func(t *testing.T) {
		g := plugintest.New(t)
		g.Add("http-log", config(r.URL, `,"queue": {"max_batch_size": 100, "max_coalescing_delay": 3600}`))
		g.Get("/last")
	})
	ctx, cancel := context.WithTimeout(t.Context(), patient.Limit)
	defer cancel()
	queue.Drain(ctx)
	if got := r.next(t); !strings.Contains(got.body, "/last") {
		t.Errorf("got %s", got.body)
	}
}

func TestHTTPLog_refusedConfigurations(t *testing.T) {
	for config, want := range map[string]string{
		`{}`:                                  "required field missing",
		`{"http_endpoint": "nohost"}`:         "missing host in url",
		`{"http_endpoint": "//host/x"}`:       "missing scheme in url",
		`{"http_endpoint": "ftp://host/x"}`:   "must be http or https",
		`{"http_endpoint": "http://h:99999"}`: "the port of the url must be between 1 and 65535",
		`{"http_endpoint": "http://h", "headers": {"x-a": "b\r\nc: d"}}`:           "a header has no control characters in it",
		`{"http_endpoint": "{vault://env/x}"}`:                                     "references to vaults are not resolved",
		`{"http_endpoint": "http://h", "headers": {"x-a": "{vault://env/x}"}}`:     "references to vaults are not resolved",
		`{"http_endpoint": "http://h", "method": "GET"}`:                           "expected one of: POST, PUT, PATCH",
		`{"http_endpoint": "http://h", "content_type": "text/plain"}`:              "expected one of: application/json, application/json; charset=utf-8",
		`{"http_endpoint": "http://h", "headers": {"host": "x"}}`:                  "cannot contain 'Host' header",
		`{"http_endpoint": "http://h", "headers": {"Content-length": "1"}}`:        "cannot contain 'Content-Length' header",
		`{"http_endpoint": "http://h", "headers": {"content-Type": "x"}}`:          "cannot contain 'Content-Type' header",
		`{"http_endpoint": "http://a:b@h", "headers": {"authorization": "x"}}`:     "specifying both an 'Authorization' header and user info in 'http_endpoint' is not allowed",
		`{"http_endpoint": "http://h", "queue": {"max_batch_size": 0}}`:            "value should be between 1 and 1000000",
		`{"http_endpoint": "http://h", "queue": {"concurrency_limit": 2}}`:         "expected one of: -1, 1",
		`{"http_endpoint": "http://h", "queue": {"max_coalescing_delay": 4e3}}`:    "value should be between 0 and 3600",
		`{"http_endpoint": "http://h", "custom_fields_by_lua": {"a": "return 1"}}`: "this gateway runs no Lua",
	} {
		if _, err := plugintest.New(t).TryAdd("http-log", config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
	}
	for _, more := range []string{``, `, "custom_fields_by_lua": {}`, `, "queue": {}`} {
		if _, err := plugintest.New(t).TryAdd("http-log", config("http://127.0.0.1:1", more)); err != nil {
			t.Errorf("%s: %v", more, err)
		}
	}
}

func BenchmarkHTTPLog(b *testing.B) {
	r := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { io.Copy(io.Discard, req.Body) }))
	b.Cleanup(r.Close)
	g := plugintest.New(b)
	g.Add("http-log", config(r.URL, `,"queue": {"max_batch_size": 1000}`))
	plugintest.Bench(b, g)
}
