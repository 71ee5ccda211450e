package health

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-gateway/portcullis/modules/metrics"
)

var changes = metrics.NewCounter("gateway_upstream_health_changes_total",
	"Times that an address of an upstream became healthy or unhealthy.", "upstream", "state")

// forgetMetrics drops the totals of an upstream that is gone.
func forgetMetrics(upstream string) {
	changes.DeletePartialMatch(prometheus.Labels{"upstream": upstream})
}

func init() { metrics.Register(living) }

// living are the checks of this process: as a rule one, but two while a
// configuration with another store takes over.
var living = &collector{checks: make(map[*Checks]bool)}

// A collector shows the health of all addresses that are checked, under Kong's
// name and labels (kong/plugins/prometheus/exporter.lua).
type collector struct {
	mu     sync.Mutex
	checks map[*Checks]bool // protected by mu
}

func (l *collector) add(c *Checks) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checks[c] = true
}

func (l *collector) remove(c *Checks) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.checks, c)
}

var targetHealth = prometheus.NewDesc("kong_upstream_target_health",
	"Health status of targets of upstream. States = healthchecks_off|healthy|unhealthy|dns_error, value is 1 when state is populated.",
	[]string{"upstream", "target", "address", "state", "subsystem"}, nil)

// Describe tells the one family.
func (l *collector) Describe(to chan<- *prometheus.Desc) { to <- targetHealth }

// Collect tells each address of each target of the upstreams that have checks.
func (l *collector) Collect(to chan<- prometheus.Metric) {
	l.mu.Lock()
	all := make([]*Checks, 0, len(l.checks))
	for c := range l.checks {
		all = append(all, c)
	}
	l.mu.Unlock()

	seen := make(map[[3]string]bool) // two worlds may have the same upstream
	show := func(upstream, target, address, state string) {
		key := [3]string{upstream, target, address}
		if seen[key] {
			return
		}
		seen[key] = true
		for _, s := range []string{"healthchecks_off", "healthy", "unhealthy", "dns_error"} {
			value := 0.0
			if s == state {
				value = 1
			}
			to <- prometheus.MustNewConstMetric(targetHealth, prometheus.GaugeValue, value, upstream, target, address, s, "http")
		}
	}
	for _, c := range all {
		for _, u := range c.checked() {
			name := u.rules.Load().upstream
			for _, t := range u.pool.Targets() {
				switch {
				case t.Target.Weight == 0:
					show(name, nameOf(t.Target), "", "healthchecks_off")
				case len(t.Addresses) == 0:
					show(name, nameOf(t.Target), "", "dns_error")
				}
				for _, a := range t.Addresses {
					state := "healthy"
					if !a.Peer.Available() {
						state = "unhealthy"
					}
					show(name, nameOf(t.Target), a.Text, state)
				}
			}
		}
	}
}

// checked are the upstreams that have checks.
func (c *Checks) checked() []*upstream {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]*upstream, 0, len(c.upstreams))
	for _, u := range c.upstreams {
		list = append(list, u)
	}
	return list
}

// Interface guard
var _ prometheus.Collector = (*collector)(nil)
