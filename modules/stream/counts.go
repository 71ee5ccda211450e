package stream

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-gateway/portcullis/modules/metrics"
	"github.com/portcullis-gateway/portcullis/modules/relay"
	"github.com/portcullis-gateway/portcullis/modules/snapshot"
)

// drained and dropped are what no route can be blamed for.
var (
	drained = metrics.NewCounter("gateway_stream_drained_total",
		"Connections and UDP sessions that were closed because a grace period was over.").WithLabelValues()
	dropped = metrics.NewCounter("gateway_stream_dropped_datagrams_total",
		"Datagrams that were not passed on, since a queue or the table of sessions was full, or nobody took them.").WithLabelValues()
)

// routeCounts are the totals of one route.
type routeCounts struct {
	id   uuid.UUID
	name atomic.Pointer[string]

	total, open, up, down atomic.Int64
	seconds               atomic.Int64 // nanoseconds, of flows that have ended

	failures failures
}

func (c *routeCounts) begin() {
	c.total.Add(1)
	c.open.Add(1)
}

func (c *routeCounts) end() { c.open.Add(-1) }

// failures counts by reason.
type failures struct{ byReason sync.Map } // string to *atomic.Int64

func (f *failures) add(reason string) {
	n, ok := f.byReason.Load(reason)
	if !ok {
		n, _ = f.byReason.LoadOrStore(reason, new(atomic.Int64))
	}
	n.(*atomic.Int64).Add(1)
}

// routeless are the failures of flows without a route.
var routeless failures

func failed(c *routeCounts, reason string) {
	if c == nil {
		routeless.add(reason)
		return
	}
	c.failures.add(reason)
}

// byRoute are the counts of all routes that had a flow: id to *routeCounts.
var byRoute sync.Map

// countsOf answers the counts of a route.
func countsOf(r *snapshot.Route) *routeCounts {
	v, ok := byRoute.Load(r.ID)
	if !ok {
		v, _ = byRoute.LoadOrStore(r.ID, &routeCounts{id: r.ID})
	}
	c := v.(*routeCounts)
	if name := routeName(r.Name, ""); c.name.Load() == nil || *c.name.Load() != name {
		c.name.Store(&name)
	}
	return c
}

// engines are those that are open. A route that none of them has any more is
// forgotten, once its last flow has ended.
var engines struct {
	mu  sync.Mutex
	set map[*Engine]bool // protected by mu
}

func know(e *Engine) {
	engines.mu.Lock()
	defer engines.mu.Unlock()
	if engines.set == nil {
		engines.set = make(map[*Engine]bool)
	}
	engines.set[e] = true
}

func forget(e *Engine) {
	engines.mu.Lock()
	defer engines.mu.Unlock()
	delete(engines.set, e)
}

// exists reports whether an engine has the route.
func exists(route uuid.UUID) bool {
	engines.mu.Lock()
	defer engines.mu.Unlock()
	for e := range engines.set {
		if _, ok := e.node.View().Image.Get("routes", route); ok {
			return true
		}
	}
	return false
}

func init() { metrics.Register(collector{}) }

// collector shows the counts.
type collector struct{}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("gateway_stream_"+name, help, labels, nil)
}

var (
	descTotal    = desc("sessions_total", "TCP connections and UDP sessions that a route was found for.", "route")
	descOpen     = desc("sessions_open", "TCP connections and UDP sessions that are open.", "route")
	descBytes    = desc("bytes_total", "Bytes passed on: up is to the service, down to the client.", "route", "direction")
	descSeconds  = desc("session_seconds_total", "How long the sessions took that have ended, all together.", "route")
	descFailures = desc("failures_total", "Connections and UDP sessions that were not served to an end in order, by reason.", "route", "reason")
	descSpliced  = desc("spliced_bytes_total", "Bytes that were copied inside of the kernel.")
)

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descTotal, descOpen, descBytes, descSeconds, descFailures, descSpliced} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (collector) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	reasons := func(f *failures, route string) {
		f.byReason.Range(func(reason, n any) bool {
			send(descFailures, prometheus.CounterValue, float64(n.(*atomic.Int64).Load()), route, reason.(string))
			return true
		})
	}
	send(descSpliced, prometheus.CounterValue, float64(relay.Spliced()))
	reasons(&routeless, "")
	seen := map[string]bool{}
	byRoute.Range(func(id, v any) bool {
		c := v.(*routeCounts)
		if c.open.Load() == 0 && !exists(c.id) {
			byRoute.Delete(id)
			return true
		}
		route := *c.name.Load()
		if route == "" || seen[route] { // an open flow of a deleted route may have its name
			route = c.id.String()
		}
		seen[route] = true
		send(descTotal, prometheus.CounterValue, float64(c.total.Load()), route)
		send(descOpen, prometheus.GaugeValue, float64(c.open.Load()), route)
		send(descBytes, prometheus.CounterValue, float64(c.up.Load()), route, "up")
		send(descBytes, prometheus.CounterValue, float64(c.down.Load()), route, "down")
		send(descSeconds, prometheus.CounterValue, time.Duration(c.seconds.Load()).Seconds(), route)
		reasons(&c.failures, route)
		return true
	})
}

// Interface guard
var _ prometheus.Collector = collector{}
