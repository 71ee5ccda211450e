// Package prometheus is the plugin prometheus: it counts requests and stream
// sessions under the names and labels of Kong's metrics.
package prometheus

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/modules/balancer/health"
	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func init() { caddy.RegisterModule(new(Plugin)) }

// Plugin counts requests and stream sessions for Prometheus, under the names and
// labels that dashboards made for Kong ask for.
//
// The metrics are at `/metrics` of the Status API and the Admin API, and at
// Caddy's own. Totals live as long as the process. Each of the fields below
// switches a family on; without any the plugin counts nothing.
//
// There are at most 10,000 pairs of service and route, and as many with a
// consumer. Beyond that, requests are counted with the labels `(other)`, and
// `kong_nginx_metric_errors_total` goes up.
type Plugin struct {
	// Whether the label `consumer` has the consumer's username. Default: false.
	PerConsumer bool `json:"per_consumer"`

	// Whether requests and sessions are counted by status:
	// `kong_http_requests_total`, `kong_stream_sessions_total`. Default: false.
	StatusCodeMetrics bool `json:"status_code_metrics"`

	// Counts what plugins ask of language models. No plugin of this gateway
	// does, so there is nothing to count, and a warning says so. Default:
	// false.
	AIMetrics bool `json:"ai_metrics"`

	// Whether latencies are measured: `kong_kong_latency_ms`,
	// `kong_upstream_latency_ms`, `kong_request_latency_ms`,
	// `kong_session_duration_ms`. Default: false.
	LatencyMetrics bool `json:"latency_metrics"`

	// Whether bytes are counted: `kong_bandwidth_bytes`. Default: false.
	BandwidthMetrics bool `json:"bandwidth_metrics"`

	// Whether the health of all targets is shown:
	// `kong_upstream_target_health`. One plugin that says so is enough, on
	// whatever route. Default: false.
	UpstreamHealthMetrics bool `json:"upstream_health_metrics"`

	// Shows the metrics of Wasm filters. This gateway runs none, so there is
	// nothing to show, and a warning says so. Default: false.
	WasmMetrics bool `json:"wasm_metrics"`

	shows bool // UpstreamHealthMetrics has been acted upon

	cells  sync.Map // of *entity.Route: *cell
	filled atomic.Int64
}

// CaddyModule returns the Caddy module information.
func (*Plugin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway.plugins.prometheus", New: func() caddy.Module { return new(Plugin) }}
}

// Describe answers Kong's schema (kong/plugins/prometheus/schema.lua).
func (*Plugin) Describe() entity.PluginKind {
	flag := func(name, doc string) schema.Field {
		return schema.Field{Name: name, Kind: schema.Boolean, Default: false, Doc: doc}
	}
	return entity.PluginKind{Priority: 13, Forgets: true, Routed: true, Config: &schema.Fields{List: []schema.Field{
		flag("per_consumer", "Whether the label consumer has the consumer's username."),
		flag("status_code_metrics", "Whether requests and sessions are counted by status."),
		flag("ai_metrics", "Does nothing: no plugin of this gateway asks language models."),
		flag("latency_metrics", "Whether latencies are measured."),
		flag("bandwidth_metrics", "Whether bytes are counted."),
		flag("upstream_health_metrics", "Whether the health of all targets is shown."),
		flag("wasm_metrics", "Does nothing: this gateway runs no Wasm filters."),
	}}}
}

// Provision switches the health of targets on.
func (p *Plugin) Provision(ctx caddy.Context) error {
	if p.AIMetrics {
		ctx.Logger().Warn("ai_metrics has nothing to count: no plugin of this gateway asks language models")
	}
	if p.WasmMetrics {
		ctx.Logger().Warn("wasm_metrics has nothing to show: this gateway runs no Wasm filters")
	}
	if p.UpstreamHealthMetrics {
		p.shows = true
		health.ShowMetrics(true)
	}
	return nil
}

// Cleanup takes that back.
func (p *Plugin) Cleanup() error {
	if p.shows {
		p.shows = false
		health.ShowMetrics(false)
	}
	return nil
}

// Log counts a request. Those that no route matched are not counted.
func (p *Plugin) Log(x *plugin.Exchange) {
	if x.Route == nil {
		return
	}
	c := p.cell(x.Route, x.Service)
	o := &x.Outcome
	r := c.row()
	if p.LatencyMetrics {
		l := r.took()
		l.request.Observe(milli(o.Request))
		if o.Proxy >= 0 {
			l.upstream.Observe(milli(o.Proxy))
		}
		l.gateway.Observe(milli(o.Gateway))
	}
	if p.PerConsumer && x.Consumer != nil {
		r = c.personal(x.Consumer)
	}
	if p.StatusCodeMetrics {
		r.answered(o.Status, o.FromUpstream)
	}
	if p.BandwidthMetrics {
		r.carried(o.RequestSize, o.ResponseSize)
	}
}

// LogSession counts a stream session, as Log does.
func (p *Plugin) LogSession(s *plugin.Session) {
	if s.Route == nil {
		return
	}
	r := p.cell(s.Route, s.Service).row()
	o := &s.Outcome
	if p.LatencyMetrics {
		l := r.lasted()
		l.session.Observe(milli(o.Duration))
		if n := len(o.Tries); n > 0 {
			l.gateway.Observe(milli(o.Tries[n-1].Start.Sub(s.Start)))
		}
	}
	if p.StatusCodeMetrics {
		r.ended(o.Status, o.Status == 200)
	}
	if p.BandwidthMetrics {
		r.carried(o.Received, o.Sent)
	}
}

func milli(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// A cell remembers the rows of a route, so that they need not be looked up for
// each request.
type cell struct {
	service   *entity.Service // that the route had
	labels    labels
	base      atomic.Pointer[row]
	consumers sync.Map // of *entity.Consumer: *row
	filled    atomic.Int64
}

// maxCells is how many entities of one kind are remembered; then it begins anew,
// as some of them may be gone.
const maxCells = 2 * maxRows

// cell answers the cell of a route. Entities that change are others.
func (p *Plugin) cell(r *entity.Route, s *entity.Service) *cell {
	if v, ok := p.cells.Load(r); ok {
		if c := v.(*cell); c.service == s {
			return c
		}
	}
	c := &cell{service: s, labels: labels{route: r.Name}}
	if r.Name == "" {
		c.labels.route = r.ID.String()
	}
	if s != nil {
		if c.labels.service = s.Name; s.Name == "" {
			c.labels.service = s.Host
		}
	}
	if p.filled.Add(1) > maxCells {
		p.cells.Clear()
		p.filled.Store(1)
	}
	p.cells.Store(r, c)
	return c
}

// row is the row of requests without a consumer.
func (c *cell) row() *row {
	if r := c.base.Load(); r != nil && r.touch() {
		return r
	}
	r := rows.find(c.labels)
	c.base.Store(r)
	return r
}

// personal is the row of a consumer's requests.
func (c *cell) personal(consumer *entity.Consumer) *row {
	if v, ok := c.consumers.Load(consumer); ok {
		if r := v.(*row); r.touch() {
			return r
		}
	}
	l := c.labels
	l.consumer = consumer.Username
	r := rows.find(l)
	if c.filled.Add(1) > maxCells {
		c.consumers.Clear()
		c.filled.Store(1)
	}
	c.consumers.Store(consumer, r)
	return r
}

// Interface guards
var (
	_ plugin.Described     = (*Plugin)(nil)
	_ plugin.Logger        = (*Plugin)(nil)
	_ plugin.SessionLogger = (*Plugin)(nil)
	_ caddy.Provisioner    = (*Plugin)(nil)
	_ caddy.CleanerUpper   = (*Plugin)(nil)
)
