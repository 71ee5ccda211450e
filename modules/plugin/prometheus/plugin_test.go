package prometheus

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/metrics"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/keyauth"
	"github.com/portcullis-gateway/portcullis/modules/plugin/plugintest"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// begin makes the test the only one that counts.
func begin(t testing.TB) {
	rows.mu.Lock()
	defer rows.mu.Unlock()
	for _, r := range rows.rows {
		r.gone.Store(true)
	}
	rows.rows, rows.personal, rows.looked = map[labels]*row{}, 0, time.Time{}
	for _, v := range []interface{ Reset() }{requests, sessions, bandwidth, gatewayLatency, upstreamLatency, requestLatency, sessionDuration} {
		v.Reset()
	}
}

// shown answers the lines of the metrics given, without those of buckets.
func shown(t testing.TB, names ...string) string {
	t.Helper()
	all, err := testutil.CollectAndFormat(metrics.Totals(), expfmt.TypeTextPlain, names...)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(all)) {
		if !strings.HasPrefix(line, "#") && !strings.Contains(line, "_bucket{") && !strings.Contains(line, "_sum{") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "\n")
}

const every = `{"status_code_metrics": true, "latency_metrics": true, "bandwidth_metrics": true}`

func TestPrometheus_countsWhatIsSwitchedOn(t *testing.T) {
	families := []string{"kong_http_requests_total", "kong_kong_latency_ms", "kong_upstream_latency_ms", "kong_request_latency_ms", "kong_bandwidth_bytes"}
	for _, tt := range []struct{ name, config, want string }{
		{"nothing", ``, ""},
		{"status", `{"status_code_metrics": true}`,
			`kong_http_requests_total{code="200",consumer="",route="route",service="service",source="service",workspace="default"} 1` + "\n" +
				`kong_http_requests_total{code="418",consumer="",route="route",service="service",source="service",workspace="default"} 2`},
		{"latency", `{"latency_metrics": true}`,
			`kong_kong_latency_ms_count{route="route",service="service",workspace="default"} 3` + "\n" +
				`kong_request_latency_ms_count{route="route",service="service",workspace="default"} 3` + "\n" +
				`kong_upstream_latency_ms_count{route="route",service="service",workspace="default"} 3`},
		{"bandwidth", `{"bandwidth_metrics": true}`, // plugintest says that heads are of 100 bytes
			`kong_bandwidth_bytes{consumer="",direction="egress",route="route",service="service",workspace="default"} 312` + "\n" +
				`kong_bandwidth_bytes{consumer="",direction="ingress",route="route",service="service",workspace="default"} 305`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			begin(t)
			g := plugintest.New(t)
			g.Add("prometheus", tt.config)
			g.Service = func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/tea" {
					w.WriteHeader(418)
				}
				io.WriteString(w, "1234")
			}
			g.Get("/")
			g.Get("/tea")
			g.Do("POST", "/tea", "hello")
			if got := shown(t, families...); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestPrometheus_consumersAndWhoAnswered(t *testing.T) {
	begin(t)
	g := plugintest.New(t)
	g.Add("key-auth", "")
	g.Insert("keyauth_credentials", schema.Object{"consumer": g.Consumer("anna"), "key": "k"})
	g.Add("prometheus", `{"status_code_metrics": true, "per_consumer": true, "latency_metrics": true}`)
	g.Get("/")
	g.Get("/", plugintest.Header("apikey", "k"))
	want := `kong_http_requests_total{code="200",consumer="anna",route="route",service="service",source="service",workspace="default"} 1` + "\n" +
		`kong_http_requests_total{code="401",consumer="",route="route",service="service",source="kong",workspace="default"} 1` + "\n" +
		`kong_upstream_latency_ms_count{route="route",service="service",workspace="default"} 1`
	if got := shown(t, "kong_http_requests_total", "kong_upstream_latency_ms"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestPrometheus_sessions(t *testing.T) {
	begin(t)
	p := &Plugin{StatusCodeMetrics: true, LatencyMetrics: true, BandwidthMetrics: true}
	s := &plugin.Session{
		Route: &entity.Route{ID: uuid.New(), Name: "stream"}, Service: &entity.Service{ID: uuid.New(), Host: "db.test"},
		Start: time.Now(),
		Outcome: plugin.SessionOutcome{Status: 200, Received: 5, Sent: 7, Duration: time.Second,
			Tries: []plugin.Try{{Address: "127.0.0.1:1", Start: time.Now()}}},
	}
	p.LogSession(s)
	s.Outcome.Status, s.Outcome.Tries = 502, nil
	p.LogSession(s)
	s.Route = nil
	p.LogSession(s)
	want := `kong_bandwidth_bytes{consumer="",direction="egress",route="stream",service="db.test",workspace="default"} 14
kong_bandwidth_bytes{consumer="",direction="ingress",route="stream",service="db.test",workspace="default"} 10
kong_kong_latency_ms_count{route="stream",service="db.test",workspace="default"} 1
kong_session_duration_ms_count{route="stream",service="db.test",workspace="default"} 2
kong_stream_sessions_total{code="200",route="stream",service="db.test",source="service",workspace="default"} 1
kong_stream_sessions_total{code="502",route="stream",service="db.test",source="kong",workspace="default"} 1`
	if got := shown(t, "kong_stream_sessions_total", "kong_session_duration_ms", "kong_kong_latency_ms", "kong_bandwidth_bytes"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func exchange(r *entity.Route, c *entity.Consumer) *plugin.Exchange {
	return &plugin.Exchange{Route: r, Consumer: c, Outcome: plugin.Outcome{Status: 200, FromUpstream: true, Proxy: time.Millisecond}}
}

// count answers how many series a family has, and their sum.
func count(t testing.TB, family *prometheus.CounterVec) (series int, sum float64) {
	t.Helper()
	for line := range strings.Lines(shown(t, nameOf(family))) {
		var v float64
		if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' '):], &v); err != nil {
			t.Fatal(line)
		}
		series++
		sum += v
	}
	return series, sum
}

func nameOf(v *prometheus.CounterVec) string {
	if v == requests {
		return "kong_http_requests_total"
	}
	return "kong_bandwidth_bytes"
}

func TestPrometheus_labelsAreBounded(t *testing.T) {
	for _, tt := range []struct {
		name  string
		count func(p *Plugin, i int)
	}{
		{"routes", func(p *Plugin, i int) {
			p.Log(exchange(&entity.Route{ID: uuid.New(), Name: fmt.Sprint("r", i)}, nil))
		}},
		{"consumers", func() func(p *Plugin, i int) {
			r := &entity.Route{ID: uuid.New(), Name: "r"}
			return func(p *Plugin, i int) { p.Log(exchange(r, &entity.Consumer{Username: fmt.Sprint("c", i)})) }
		}()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			begin(t)
			errors := testutil.ToFloat64(refused)
			p := &Plugin{StatusCodeMetrics: true, PerConsumer: true}
			const n = maxRows + 500
			for i := range n {
				tt.count(p, i)
			}
			series, sum := count(t, requests)
			if series != maxRows+1 || sum != n {
				t.Errorf("%d series of %v requests, want %d of %d", series, sum, maxRows+1, n)
			}
			if got := testutil.ToFloat64(refused) - errors; got != 500 {
				t.Errorf("%v errors", got)
			}
			if !strings.Contains(shown(t, "kong_http_requests_total"), "(other)") {
				t.Error("there are no others")
			}

			// What was idle for long makes room.
			rows.mu.Lock()
			rows.makeRoom(time.Now())
			rows.makeRoom(time.Now().Add(2 * time.Hour))
			left := len(rows.rows)
			rows.mu.Unlock()
			if series, _ := count(t, requests); left != 0 || series != 0 {
				t.Errorf("%d rows and %d series are left", left, series)
			}
			tt.count(p, 0) // its row was dropped
			if series, sum := count(t, requests); series != 1 || sum != 1 {
				t.Errorf("afterwards: %d series of %v requests", series, sum)
			}
		})
	}
}

func TestPrometheus_statusesAreBounded(t *testing.T) {
	begin(t)
	p := &Plugin{StatusCodeMetrics: true}
	r := &entity.Route{ID: uuid.New(), Name: "r"}
	for status := 100; status < 1000; status++ {
		x := exchange(r, nil)
		x.Outcome.Status = status
		p.Log(x)
	}
	if series, sum := count(t, requests); series != maxCodes+1 || sum != 900 {
		t.Errorf("%d series of %v requests", series, sum)
	}
}

func TestPrometheus_renamedRouteHasANewRow(t *testing.T) {
	begin(t)
	p := &Plugin{StatusCodeMetrics: true}
	id := uuid.New()
	s := &entity.Service{Name: "one"}
	for _, x := range []*plugin.Exchange{
		exchange(&entity.Route{ID: id}, nil),
		exchange(&entity.Route{ID: id, Name: "named"}, nil),
	} {
		x.Service = s
		p.Log(x)
		x.Service = &entity.Service{Name: "two"} // the service was renamed
		p.Log(x)
	}
	got := shown(t, "kong_http_requests_total")
	for _, want := range []string{
		`route="` + id.String() + `",service="one"`, `route="` + id.String() + `",service="two"`,
		`route="named",service="one"`, `route="named",service="two"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

func BenchmarkPrometheus(b *testing.B) {
	begin(b)
	g := plugintest.New(b)
	g.Add("prometheus", every)
	plugintest.Bench(b, g)
}

func BenchmarkPrometheus_none(b *testing.B) {
	plugintest.Bench(b, plugintest.New(b))
}

// BenchmarkLog measures the phase log alone.
func BenchmarkLog(b *testing.B) {
	begin(b)
	p := &Plugin{StatusCodeMetrics: true, LatencyMetrics: true, BandwidthMetrics: true, PerConsumer: true}
	x := exchange(&entity.Route{ID: uuid.New(), Name: "r"}, &entity.Consumer{Username: "anna"})
	x.Service = &entity.Service{Name: "s"}
	x.Outcome.RequestSize, x.Outcome.ResponseSize = 300, 700
	b.ReportAllocs()
	for b.Loop() {
		p.Log(x)
	}
}

func TestPrometheus_logDoesNotAllocate(t *testing.T) {
	begin(t)
	p := &Plugin{StatusCodeMetrics: true, LatencyMetrics: true, BandwidthMetrics: true, PerConsumer: true}
	x := exchange(&entity.Route{ID: uuid.New(), Name: "r"}, &entity.Consumer{Username: "anna"})
	if n := testing.AllocsPerRun(1000, func() { p.Log(x) }); n != 0 {
		t.Errorf("%v allocations for a request", n)
	}
}
