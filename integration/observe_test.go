package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/modules/ports"
)

// scrape reads metrics as Prometheus does.
func scrape(t testing.TB, url, accept string) map[string]*dto.MetricFamily {
	t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if f := expfmt.ResponseFormat(resp.Header); f.FormatType() != expfmt.TypeTextPlain {
		t.Fatalf("%s: %s", url, resp.Header.Get("Content-Type"))
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	return families
}

// series answers the value of a series: that of a counter or gauge, or how many
// a histogram has seen. False: there is none with these labels exactly.
func series(families map[string]*dto.MetricFamily, name string, labels ...string) (float64, bool) {
	for _, m := range families[name].GetMetric() {
		found := len(m.GetLabel()) == len(labels)/2
		for i := 0; i < len(labels) && found; i += 2 {
			found = false
			for _, l := range m.GetLabel() {
				found = found || l.GetName() == labels[i] && (labels[i+1] == "*" || l.GetValue() == labels[i+1])
			}
		}
		if found {
			return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount()), true
		}
	}
	return 0, false
}

func TestObserve_prometheus(t *testing.T) {
	t.Parallel()
	behind := upstream(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "0123456789") })
	p := newHome(t, usual).start()
	status, caddys := "http://"+p.addr("STATUS")+"/metrics", "http://"+p.addr("CADDY")+"/metrics"

	// What Kong tells without the plugin.
	families := scrape(t, status, "")
	for _, want := range [][]string{
		{"kong_datastore_reachable"},
		{"kong_node_info", "node_id", "*", "version", "3.9.1"},
		{"kong_nginx_requests_total", "node_id", "*", "subsystem", "http"},
		{"kong_nginx_connections_total", "node_id", "*", "subsystem", "http", "state", "active"},
		{"kong_memory_workers_lua_vms_bytes", "node_id", "*", "pid", "*", "kong_subsystem", "http"},
		{"kong_nginx_metric_errors_total"},
	} {
		if v, ok := series(families, want[0], want[1:]...); !ok || v == 0 != (want[0] == "kong_nginx_metric_errors_total") {
			t.Errorf("%v: %v %v", want, v, ok)
		}
	}

	p.admin("POST", "/services", `{"name":"s","url":"`+behind.URL+`"}`, 201)
	p.admin("POST", "/services/s/routes", `{"name":"a","paths":["/a"]}`, 201)
	p.admin("POST", "/consumers", `{"username":"anna"}`, 201)
	p.admin("POST", "/consumers/anna/key-auth", `{"key":"k"}`, 201)
	p.admin("POST", "/plugins", `{"name":"key-auth"}`, 201)
	plugin := p.admin("POST", "/plugins", `{"name":"prometheus","config":{"per_consumer":true,"status_code_metrics":true,
		"latency_metrics":true,"bandwidth_metrics":true,"upstream_health_metrics":true}}`, 201)
	p.admin("POST", "/upstreams", `{"name":"pool"}`, 201)
	p.admin("POST", "/upstreams/pool/targets", `{"target":"10.0.0.1:80"}`, 201)
	if strings.Contains(plugin.body, `"wasm_metrics":null`) {
		t.Errorf("got %s", plugin.body)
	}

	for range 3 {
		p.get("/a", 200, "apikey", "k")
	}
	p.get("/a", 401)
	p.get("/nowhere", 404) // is not counted
	check := func(place, url string, want float64) {
		t.Helper()
		var wrong []string
		defer func() {
			for _, w := range wrong {
				t.Errorf("%s: %s", place, w)
			}
		}()
		wanted := []struct {
			value  float64 // 0: more than that
			series []string
		}{
			{want, []string{"kong_http_requests_total", "service", "s", "route", "a", "code", "200", "source", "service", "workspace", "default", "consumer", "anna"}},
			{1, []string{"kong_http_requests_total", "service", "s", "route", "a", "code", "401", "source", "kong", "workspace", "default", "consumer", ""}},
			{want + 1, []string{"kong_request_latency_ms", "service", "s", "route", "a", "workspace", "default"}},
			{want + 1, []string{"kong_kong_latency_ms", "service", "s", "route", "a", "workspace", "default"}},
			{want, []string{"kong_upstream_latency_ms", "service", "s", "route", "a", "workspace", "default"}},
			{0, []string{"kong_bandwidth_bytes", "service", "s", "route", "a", "direction", "egress", "workspace", "default", "consumer", "anna"}},
			{0, []string{"kong_bandwidth_bytes", "service", "s", "route", "a", "direction", "ingress", "workspace", "default", "consumer", ""}},
			{1, []string{"kong_upstream_target_health", "upstream", "pool", "target", "10.0.0.1:80", "address", "10.0.0.1:80", "state", "healthchecks_off", "subsystem", "http"}},
		}
		patient.Until(t, "the requests are counted", func() bool {
			wrong = nil
			families := scrape(t, url, "")
			for _, w := range wanted {
				v, ok := series(families, w.series[0], w.series[1:]...)
				if !ok || w.value > 0 && v != w.value || v == 0 {
					wrong = append(wrong, fmt.Sprintf("%v: got %v, want %v", w.series, v, w.value))
				}
			}
			if n := len(families["kong_http_requests_total"].GetMetric()); n != 2 {
				wrong = append(wrong, fmt.Sprintf("%d series of requests", n))
			}
			if kind := families["kong_bandwidth_bytes"].GetType(); kind != dto.MetricType_COUNTER {
				wrong = append(wrong, fmt.Sprintf("bandwidth is a %v", kind))
			}
			return wrong == nil
		})
	}
	check("status", status, 3)
	check("admin", "http://"+p.addr("ADMIN")+"/metrics", 3)
	check("caddy", caddys, 3)
	p.reload()
	p.get("/a", 200, "apikey", "k")
	check("after a reload", status, 4)

	// Prometheus prefers OpenMetrics where it can have it.
	scrape(t, status, "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")

	var made struct{ ID string }
	json.Unmarshal([]byte(plugin.body), &made)
	p.admin("DELETE", "/plugins/"+made.ID, "", 204)
	p.get("/a", 200, "apikey", "k")
	patient.Until(t, "without the plugin the health of targets is not shown", func() bool {
		families = scrape(t, status, "")
		return families["kong_upstream_target_health"] == nil
	})
	if v, _ := series(families, "kong_request_latency_ms", "service", "s", "route", "a", "workspace", "default"); v != 5 {
		t.Errorf("without the plugin it goes on counting: %v", v)
	}
}

// TestObserve_dashboard holds the example dashboard to the metrics that there
// are.
func TestObserve_dashboard(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../examples/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Title  string
		Panels []struct {
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	behind := upstream(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "0123456789") })
	p := newHome(t, usual).start()
	p.admin("POST", "/upstreams", `{"name":"pool"}`, 201)
	p.admin("POST", "/upstreams/pool/targets", `{"target":"`+strings.TrimPrefix(behind.URL, "http://")+`"}`, 201)
	p.admin("POST", "/services", `{"name":"s","host":"pool"}`, 201)
	p.admin("POST", "/services/s/routes", `{"name":"a","paths":["/a"]}`, 201)
	p.admin("POST", "/plugins", `{"name":"prometheus","config":{"status_code_metrics":true,"latency_metrics":true,"bandwidth_metrics":true,"upstream_health_metrics":true}}`, 201)
	p.admin("POST", "/plugins", `{"name":"file-log","config":{"path":"`+filepath.Join(p.dir, "a.log")+`"}}`, 201)
	p.get("/a", 200)
	name := regexp.MustCompile(`\b(kong|gateway|process|go)_[a-z_]+`)
	queries := 0
	var missing []string
	defer func() {
		for _, m := range missing {
			t.Error(m)
		}
	}()
	patient.Until(t, "all metrics of the dashboard are there", func() bool {
		families := scrape(t, "http://"+p.addr("STATUS")+"/metrics", "")
		queries, missing = 0, nil
		for _, panel := range dashboard.Panels {
			for _, target := range panel.Targets {
				for _, n := range name.FindAllString(target.Expr, -1) {
					queries++
					if families[n] == nil && families[strings.TrimSuffix(n, "_bucket")] == nil {
						missing = append(missing, fmt.Sprintf("%s: there is no %s", panel.Title, n))
					}
				}
			}
		}
		return missing == nil
	})
	if queries < 10 {
		t.Errorf("%d metrics in the dashboard", queries)
	}
}

// collected is a server that keeps what it gets.
func collected(t testing.TB) (url string, next func() string) {
	t.Helper()
	got := make(chan string, 100)
	s := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- string(b)
	})
	return s.URL, func() string {
		t.Helper()
		select {
		case b := <-got:
			return b
		case <-time.After(patience):
			t.Fatal("no entry came")
		}
		return ""
	}
}

// TestObserve_logObject reads the entry of a request that a failed try, a
// consumer and other plugins had a part in, field for field.
func TestObserve_logObject(t *testing.T) {
	t.Parallel()
	behind := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("X-Two", "1")
		w.Header().Add("X-Two", "2")
		w.WriteHeader(201)
		io.WriteString(w, "0123456789")
	})
	receiver, next := collected(t)
	p := newHome(t, usual).start()
	dead := "127.0.0.1:" + strconv.Itoa(ports.Free(t))
	p.admin("POST", "/upstreams", `{"name":"pool","slots":10}`, 201)
	p.admin("POST", "/upstreams/pool/targets", `{"target":"`+dead+`"}`, 201)
	p.admin("POST", "/services", `{"name":"s","host":"pool","path":"/base","retries":5}`, 201)
	p.admin("POST", "/services/s/routes", `{"name":"a","paths":["/a"],"tags":["t"]}`, 201)
	p.admin("POST", "/consumers", `{"username":"anna","custom_id":"7"}`, 201)
	p.admin("POST", "/consumers/anna/key-auth", `{"key":"very-secret"}`, 201)
	p.admin("POST", "/plugins", `{"name":"key-auth","config":{"hide_credentials":true}}`, 201)
	p.admin("POST", "/plugins", `{"name":"correlation-id"}`, 201)
	p.admin("POST", "/plugins", `{"name":"http-log","config":{"http_endpoint":"`+receiver+`"}}`, 201)

	read := func() (entry map[string]any) {
		t.Helper()
		text := next()
		if err := json.Unmarshal([]byte(text), &entry); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if strings.Contains(text, "very-secret") || strings.Contains(text, "Zm9v") {
			t.Errorf("a secret is in %s", text)
		}
		return entry
	}
	at := func(entry map[string]any, path string) any {
		var v any = entry
		for part := range strings.SplitSeq(path, ".") {
			switch in := v.(type) {
			case map[string]any:
				v = in[part]
			case []any:
				i, _ := strconv.Atoi(part)
				if i >= len(in) {
					return nil
				}
				v = in[i]
			default:
				return nil
			}
		}
		return v
	}
	expect := func(entry map[string]any, want map[string]any) {
		t.Helper()
		for path, w := range want {
			if got := at(entry, path); fmt.Sprint(got) != fmt.Sprint(w) {
				t.Errorf("%s is %v, want %v", path, got, w)
			}
		}
	}

	// Nobody is there.
	began := time.Now()
	p.get("/a?x", 502, "apikey", "very-secret")
	e := read()
	expect(e, map[string]any{
		"response.status": 502, "upstream_status": "502, 502, 502, 502, 502, 502", "source": "kong",
		"tries.0.state": "failed", "tries.0.code": 502, "tries.5.code": 502, "tries.6": nil,
	})

	// One of two is.
	p.admin("POST", "/upstreams/pool/targets", `{"target":"`+strings.TrimPrefix(behind.URL, "http://")+`"}`, 201)
	for {
		p.get("/a/b?x=1&x=2&y&z=", 201, "apikey", "very-secret", "Authorization", "Basic Zm9v", "X-Many", "a")
		if e = read(); at(e, "tries.1") != nil {
			break
		}
	}
	_, deadPort, _ := strings.Cut(dead, ":")
	port := p.ports["PROXY"]
	expect(e, map[string]any{
		"request.uri": "/a/b?x=1&x=2&y&z=", "request.method": "GET", "request.tls": nil,
		"request.url":                   fmt.Sprintf("http://127.0.0.1:%d/a/b?x=1&x=2&y&z=", port),
		"request.querystring":           map[string]any{"x": []any{"1", "2"}, "y": true, "z": ""},
		"request.headers.authorization": "REDACTED", "request.headers.apikey": nil, "request.headers.x-many": "a",
		"request.headers.host": fmt.Sprintf("127.0.0.1:%d", port), "request.headers.x-consumer-username": "anna",
		"upstream_uri": "/base/b?x=1&x=2&y&z=", "upstream_status": "502, 201",
		"response.status": 201, "response.headers.x-two": []any{"1", "2"}, "response.headers.content-length": "10",
		"tries.0.ip": "127.0.0.1", "tries.0.port": deadPort, "tries.0.state": "failed", "tries.0.code": 502,
		"tries.1.ip": "127.0.0.1", "tries.1.state": nil, "tries.1.code": nil, "tries.2": nil,
		"route.name": "a", "route.paths.0": "/a", "route.tags.0": "t", "route.service.id": at(e, "service.id"),
		"route.ws_id": at(e, "workspace"), "service.name": "s", "service.host": "pool", "service.retries": 5,
		"consumer.username": "anna", "consumer.custom_id": "7", "authenticated_entity.consumer_id": at(e, "consumer.id"),
		"client_ip": "127.0.0.1", "source": "upstream", "workspace_name": "default",
	})
	for path, pattern := range map[string]string{
		"request.id": `^[0-9a-f]{32}$`, "correlation_id": `^[0-9a-f-]{36}#\d+$`, "authenticated_entity.id": `^[0-9a-f-]{36}$`,
		"workspace": `^[0-9a-f-]{36}$`, "request.headers.kong-request-id": `#`,
	} {
		if got := fmt.Sprint(at(e, path)); !regexp.MustCompile(pattern).MatchString(got) {
			t.Errorf("%s is %s", path, got)
		}
	}
	number := func(path string) float64 {
		t.Helper()
		f, ok := at(e, path).(float64)
		if !ok {
			t.Errorf("%s is no number: %v", path, at(e, path))
		}
		return f
	}
	if at := number("started_at"); at < float64(began.UnixMilli()) || at > float64(time.Now().UnixMilli()) {
		t.Errorf("it started at %v", at)
	}
	if ms, ns := number("tries.1.balancer_start"), number("tries.1.balancer_start_ns"); ms != float64(int64(ns/1e6)) || ms < number("started_at") {
		t.Errorf("the try began at %v ms, %v ns", ms, ns)
	}
	number("tries.1.balancer_latency")
	number("tries.1.balancer_latency_ns")
	if n := number("response.size"); n < 10+100 || n > 1000 {
		t.Errorf("the response had %v bytes", n)
	}
	if n := number("request.size"); n < 100 || n > 1000 {
		t.Errorf("the request had %v bytes", n)
	}
	if number("latencies.request") < number("latencies.proxy") || number("latencies.kong") < 0 || number("latencies.receive") < 0 {
		t.Errorf("latencies: %v", at(e, "latencies"))
	}

	// Refused by a plugin: it was not passed on.
	p.get("/a", 401)
	expect(read(), map[string]any{
		"response.status": 401, "upstream_uri": "/base", "upstream_status": "", "latencies.proxy": -1, "tries": []any{},
		"source": "kong", "consumer": nil, "authenticated_entity": nil, "route.name": "a", "service.name": "s",
	})

	// There is no route: global plugins see it.
	p.get("/nowhere", 404)
	expect(read(), map[string]any{
		"response.status": 404, "upstream_uri": "", "route": nil, "service": nil, "tries": nil, "source": "kong", "correlation_id": nil,
	})

	// The route wants another protocol; so do they.
	p.admin("POST", "/services/s/routes", `{"name":"tls","paths":["/tls"],"protocols":["https"]}`, 201)
	p.get("/tls", 426)
	expect(read(), map[string]any{"response.status": 426, "route": nil, "service": nil, "source": "kong"})
	resp := do(t, "GET", "https://"+p.addr("PROXY_SSL")+"/tls", "", "apikey", "very-secret")
	if resp.status != 201 {
		t.Fatalf("over TLS: %d", resp.status)
	}
	e = read()
	expect(e, map[string]any{"request.tls.client_verify": "NONE", "request.tls.version": "TLSv1.3"})
	if c := fmt.Sprint(at(e, "request.tls.cipher")); !strings.HasPrefix(c, "TLS_") {
		t.Errorf("cipher %s", c)
	}
}

// TestObserve_queueSurvives has entries wait while other entities change, the
// configuration is loaded anew, and the process ends.
func TestObserve_queueSurvives(t *testing.T) {
	t.Parallel()
	behind := upstream(t, func(w http.ResponseWriter, r *http.Request) {})
	receiver, next := collected(t)
	h := newHome(t, usual)
	p := h.start()
	p.admin("POST", "/services", `{"name":"s","url":"`+behind.URL+`"}`, 201)
	p.admin("POST", "/services/s/routes", `{"name":"a","paths":["/a"]}`, 201)
	path := filepath.Join(p.dir, "requests.log")
	p.admin("POST", "/plugins", `{"name":"file-log","config":{"path":"`+path+`"}}`, 201)
	p.admin("PUT", "/plugins/4e3ad2e4-0bc4-4638-8e34-c84a417ba39b", `{"name":"http-log","config":{"http_endpoint":"`+receiver+`",
		"queue":{"max_batch_size":5,"max_coalescing_delay":3600}}}`, 200)
	lines := func() int {
		text, _ := os.ReadFile(path)
		return strings.Count(string(text), "\n")
	}
	// The file gets its line behind the queue, so requests are logged in the
	// order in which they were sent.
	ask := func(n int) {
		t.Helper()
		p.get(fmt.Sprintf("/a?%d", n), 200)
		patient.Until(t, "the request is logged", func() bool { return lines() == n })
	}
	ask(1)
	p.admin("POST", "/services/s/routes", `{"name":"b","paths":["/b"]}`, 201)
	ask(2)
	p.reload()
	ask(3)
	p.admin("PATCH", "/plugins/4e3ad2e4-0bc4-4638-8e34-c84a417ba39b", `{"tags":["x"]}`, 200)
	ask(4)
	ask(5)
	uris := func(text string) string {
		var list []struct{ Request struct{ URI string } }
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		var out []string
		for _, e := range list {
			out = append(out, e.Request.URI)
		}
		return strings.Join(out, " ")
	}
	if got := uris(next()); got != "/a?1 /a?2 /a?3 /a?4 /a?5" {
		t.Errorf("got %s", got)
	}

	// Another configuration has another queue; what waits is not held back.
	ask(6)
	p.admin("PATCH", "/plugins/4e3ad2e4-0bc4-4638-8e34-c84a417ba39b", `{"config":{"queue":{"max_batch_size":6}}}`, 200)
	if got := uris(next()); got != "/a?6" {
		t.Errorf("got %s", got)
	}
	p.get("/a?7", 200)
	p.stop()
	if got := uris(next()); got != "/a?7" {
		t.Errorf("at the end: %s", got)
	}
	if n := lines(); n != 7 {
		t.Errorf("%d lines in the file", n)
	}
}
