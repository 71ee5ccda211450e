package prometheus

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-gateway/portcullis/modules/metrics"
)

// The families, with Kong's names, labels and buckets
// (kong/plugins/prometheus/exporter.lua).
var (
	requests = metrics.NewCounter("kong_http_requests_total",
		"HTTP requests by service, route, status, and who answered.",
		"service", "route", "code", "source", "workspace", "consumer")
	sessions = metrics.NewCounter("kong_stream_sessions_total",
		"Stream sessions by service, route, status, and whether the service was reached.",
		"service", "route", "code", "source", "workspace")
	bandwidth = metrics.NewCounter("kong_bandwidth_bytes",
		"Bytes from (ingress) and to (egress) clients.",
		"service", "route", "direction", "workspace", "consumer")

	gatewayLatency = metrics.NewHistogram("kong_kong_latency_ms",
		"Time that the gateway and its plugins took.",
		[]float64{1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 750, 1000, 3000, 6000},
		"service", "route", "workspace")
	upstreamLatency = metrics.NewHistogram("kong_upstream_latency_ms",
		"Time that the service took to begin its response.", long, "service", "route", "workspace")
	requestLatency = metrics.NewHistogram("kong_request_latency_ms",
		"Time from the head of a request to the end of its response.", long, "service", "route", "workspace")
	sessionDuration = metrics.NewHistogram("kong_session_duration_ms",
		"How long stream sessions were.", long, "service", "route", "workspace")

	refused = metrics.NewCounter("kong_nginx_metric_errors_total",
		"Times that there was no room for the labels of a request.").WithLabelValues()
)

var long = []float64{25, 50, 80, 100, 250, 400, 700, 1000, 2000, 5000, 10000, 30000, 60000}

const (
	// workspace is the one there is.
	workspace = "default"

	// other stands for labels that there is no room for.
	other = "(other)"

	// maxRows is how many rows without a consumer there are at most, and how many with
	// one. A row has up to 70 series.
	maxRows = 10000

	// maxCodes is how many statuses a row tells apart.
	maxCodes = 50

	// idleFor is how long a row must have been idle to make room for another.
	idleFor = time.Hour
)

// labels are what rows are told apart by. The consumer may be empty.
type labels struct{ service, route, consumer string }

func (l labels) personal() bool { return l.consumer != "" && l.consumer != other }

// A row has the series of one service, route and consumer. Each is made when
// it is needed: what is not switched on is not shown.
type row struct {
	labels
	used atomic.Bool // since makeRoom looked
	gone atomic.Bool // it has made room
	seen time.Time   // protected by table.mu; when makeRoom found it used

	mu       sync.Mutex // held to make series of statuses
	statuses atomic.Pointer[[]coded]
	bytes    atomic.Pointer[[2]prometheus.Counter] // in and out
	http     atomic.Pointer[httpTimes]
	stream   atomic.Pointer[streamTimes]
}

// coded is the series of one status.
type coded struct {
	status  int
	service bool // it comes from there
	stream  bool
	counter prometheus.Counter
}

type (
	httpTimes   struct{ gateway, upstream, request prometheus.Observer }
	streamTimes struct{ gateway, session prometheus.Observer }
)

// touch notes that the row is used, and reports whether it may be.
func (r *row) touch() bool {
	if !r.used.Load() {
		r.used.Store(true)
	}
	return !r.gone.Load()
}

// A table has all rows of the process, whatever configuration they come from.
type table struct {
	mu       sync.Mutex
	rows     map[labels]*row // protected by mu
	personal int             // protected by mu; of the rows, those with a consumer
	looked   time.Time       // protected by mu; when makeRoom did
}

var rows = table{rows: make(map[labels]*row)}

// find answers the row with the labels, and makes it if there is room. If there
// is none, it answers one for others.
func (t *table) find(l labels) *row {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rows[l] != nil || t.room(l) {
		return t.row(l)
	}
	refused.Inc()
	if l.personal() {
		if l.consumer = other; t.rows[l] != nil || t.room(l) {
			return t.row(l)
		}
	}
	return t.row(labels{other, other, l.consumer})
}

// row answers the row with the labels. The caller holds mu.
func (t *table) row(l labels) *row {
	r := t.rows[l]
	if r == nil {
		r = &row{labels: l}
		t.rows[l] = r
		if l.personal() {
			t.personal++
		}
	}
	r.used.Store(true)
	return r
}

// room reports whether there is room for a row with the labels. The caller holds
// mu.
func (t *table) room(l labels) bool {
	full := func() bool {
		if l.personal() {
			return t.personal >= maxRows
		}
		return len(t.rows)-t.personal >= maxRows
	}
	if full() && time.Since(t.looked) > time.Minute {
		t.makeRoom(time.Now())
	}
	return !full()
}

// makeRoom drops the rows that were idle for long. The caller holds mu.
func (t *table) makeRoom(now time.Time) {
	t.looked = now
	for l, r := range t.rows {
		if r.used.Swap(false) || r.seen.IsZero() {
			r.seen = now
		}
		if now.Sub(r.seen) < idleFor {
			continue
		}
		r.gone.Store(true)
		delete(t.rows, l)
		if l.personal() {
			t.personal--
		}
		r.forget()
	}
}

// forget drops the series of the row: each by its labels, as to search for them
// takes the longer the more there are.
func (r *row) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if list := r.statuses.Load(); list != nil {
		for _, c := range *list {
			c.drop(r, strconv.Itoa(c.status))
		}
		if len(*list) == maxCodes {
			for i := range 4 {
				coded{service: i&1 > 0, stream: i&2 > 0}.drop(r, other)
			}
		}
	}
	for _, direction := range []string{"ingress", "egress"} {
		bandwidth.DeleteLabelValues(r.service, r.route, direction, workspace, r.consumer)
	}
	for _, v := range []*prometheus.HistogramVec{gatewayLatency, upstreamLatency, requestLatency, sessionDuration} {
		if r.consumer == "" {
			v.DeleteLabelValues(r.service, r.route, workspace)
		}
	}
}

// answered counts a request.
func (r *row) answered(status int, service bool) { r.count(coded{status: status, service: service}) }

// ended counts a session.
func (r *row) ended(status int, service bool) {
	r.count(coded{status: status, service: service, stream: true})
}

func (r *row) count(key coded) {
	list := r.statuses.Load()
	if c := key.in(list); c != nil {
		c.Inc()
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	list = r.statuses.Load()
	c := key.in(list)
	if c == nil {
		var grown []coded
		if list != nil {
			grown = append(grown, *list...)
		}
		code := strconv.Itoa(key.status)
		if len(grown) >= maxCodes {
			code = other
		}
		key.counter = key.series(r, code)
		c = key.counter
		if code != other {
			grown = append(grown, key)
			r.statuses.Store(&grown)
		}
	}
	c.Inc()
}

func (k coded) in(list *[]coded) prometheus.Counter {
	if list == nil {
		return nil
	}
	for i := range *list {
		c := &(*list)[i]
		if c.status == k.status && c.service == k.service && c.stream == k.stream {
			return c.counter
		}
	}
	return nil
}

func (k coded) series(r *row, code string) prometheus.Counter {
	if k.stream {
		return sessions.WithLabelValues(r.service, r.route, code, k.source(), workspace)
	}
	return requests.WithLabelValues(r.service, r.route, code, k.source(), workspace, r.consumer)
}

func (k coded) drop(r *row, code string) {
	if k.stream {
		sessions.DeleteLabelValues(r.service, r.route, code, k.source(), workspace)
	} else {
		requests.DeleteLabelValues(r.service, r.route, code, k.source(), workspace, r.consumer)
	}
}

func (k coded) source() string {
	if k.service {
		return "service"
	}
	return "kong"
}

// carried counts bytes from and to the client.
func (r *row) carried(in, out int64) {
	b := r.bytes.Load()
	if b == nil {
		b = &[2]prometheus.Counter{
			bandwidth.WithLabelValues(r.service, r.route, "ingress", workspace, r.consumer),
			bandwidth.WithLabelValues(r.service, r.route, "egress", workspace, r.consumer),
		}
		r.bytes.Store(b)
	}
	if in > 0 {
		b[0].Add(float64(in))
	}
	if out > 0 {
		b[1].Add(float64(out))
	}
}

// took is for latencies. The row must have no consumer.
func (r *row) took() *httpTimes {
	t := r.http.Load()
	if t == nil {
		t = &httpTimes{gateway: r.of(gatewayLatency), upstream: r.of(upstreamLatency), request: r.of(requestLatency)}
		r.http.Store(t)
	}
	return t
}

// lasted is what took is, for sessions.
func (r *row) lasted() *streamTimes {
	t := r.stream.Load()
	if t == nil {
		t = &streamTimes{gateway: r.of(gatewayLatency), session: r.of(sessionDuration)}
		r.stream.Store(t)
	}
	return t
}

func (r *row) of(v *prometheus.HistogramVec) prometheus.Observer {
	return v.WithLabelValues(r.service, r.route, workspace)
}
