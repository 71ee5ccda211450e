// Package metrics keeps the gateway's totals for as long as the process lives.
//
// Caddy makes a fresh registry for each configuration, and counters that live
// in one would start anew with every reload. So the rooms that count declare
// their families here, once, as package variables; each configuration registers
// [Totals], which shows all of them:
//
//	var transitions = metrics.NewCounter("gateway_upstream_health_changes_total",
//		"Changes of the health of a target.", "upstream", "state")
//
// Whoever counts on the data path asks for the series of its labels once, when
// it is compiled, and keeps it: to add to it is then one atomic operation. Who
// gave a series the name of something that can be deleted deletes the series
// with it, so that their number does not grow without end.
package metrics

import "github.com/prometheus/client_golang/prometheus"

// totals are all families of the process.
var totals = prometheus.NewRegistry()

// Totals shows the families of all rooms. A configuration registers it with its
// own registry:
//
//	ctx.GetMetricsRegistry().MustRegister(metrics.Totals())
func Totals() prometheus.Collector { return totals }

// NewCounter declares a family of totals that only grow. The name ends in
// "_total". It panics if the name is taken or not one: that is a mistake in the
// program.
func NewCounter(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	totals.MustRegister(v)
	return v
}

// NewGauge declares a family of values that go up and down. It panics as
// NewCounter does.
func NewGauge(name, help string, labels ...string) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	totals.MustRegister(v)
	return v
}

// NewHistogram declares a family of distributions with the upper bounds of
// their buckets, in the unit that the name ends in. It panics as NewCounter
// does.
func NewHistogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	totals.MustRegister(v)
	return v
}

// Register adds a collector of a room's own making, for values that are better
// read when they are asked for than counted as they change. It panics as
// NewCounter does.
func Register(c prometheus.Collector) { totals.MustRegister(c) }
