package gateway

import (
	"os"
	"runtime/metrics"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-gateway/portcullis/modules/serve"
)

// nodeMetrics shows what Kong tells of a node whether or not a plugin counts
// requests (kong/plugins/prometheus/exporter.lua). Each configuration has one.
type nodeMetrics struct{ app *App }

func kongDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("kong_"+name, help, labels, nil)
}

var (
	descConnections = kongDesc("nginx_connections_total", "Connections by state.", "node_id", "subsystem", "state")
	descRequests    = kongDesc("nginx_requests_total", "Requests since the process started.", "node_id", "subsystem")
	descReachable   = kongDesc("datastore_reachable", "Whether the store is open; 0: it is not.")
	descNode        = kongDesc("node_info", "The node and the version of Kong that it is compatible with.", "node_id", "version")
	descMemory      = kongDesc("memory_workers_lua_vms_bytes", "Memory of the process's heap.", "node_id", "pid", "kong_subsystem")
)

// Describe implements prometheus.Collector.
func (nodeMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descConnections, descRequests, descReachable, descNode, descMemory} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m nodeMetrics) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	m.app.mu.Lock()
	node := m.app.node
	m.app.mu.Unlock()
	if node == nil {
		gauge(descReachable, 0)
		return
	}
	id := node.ID().String()
	gauge(descReachable, 1)
	gauge(descNode, 1, id, KongVersion)
	c := serve.Counts()
	for _, s := range []struct {
		state string
		n     int64
	}{
		{"accepted", c.Accepted}, {"handled", c.Accepted}, {"total", c.Requests},
		{"active", c.Active}, {"reading", c.Reading}, {"writing", c.Writing}, {"waiting", c.Waiting},
	} {
		gauge(descConnections, float64(s.n), id, "http", s.state)
	}
	gauge(descRequests, float64(c.Requests), id, "http")
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	gauge(descMemory, float64(sample[0].Value.Uint64()), id, strconv.Itoa(os.Getpid()), "http")
}

// Interface guard
var _ prometheus.Collector = nodeMetrics{}
