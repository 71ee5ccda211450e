package health

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/metrics"
)

var changes = metrics.NewCounter("gateway_upstream_health_changes_total",
	"Times that an address of an upstream became healthy or unhealthy.", "upstream", "state")

// forgetMetrics drops the totals of an upstream that is gone.
func forgetMetrics(upstream string) {
	changes.DeletePartialMatch(prometheus.Labels{"upstream": upstream})
}

func init() { metrics.Register(living) }

// shown is how many have asked for the health of targets to be shown.
var shown atomic.Int64

// ShowMetrics switches kong_upstream_target_health on. Whoever does takes it back
// later; as long as one has not, it stays on.
func ShowMetrics(on bool) {
	if on {
		shown.Add(1)
	} else {
		shown.Add(-1)
	}
}

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

// Collect tells each address of each target of all upstreams, if that was asked
// for.
func (l *collector) Collect(to chan<- prometheus.Metric) {
	if shown.Load() == 0 {
		return
	}
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
		for pool, u := range c.known() {
			for _, t := range pool.Targets() {
				switch {
				case t.Target.Weight == 0:
					show(u.name, nameOf(t.Target), "", "healthchecks_off")
				case len(t.Addresses) == 0:
					show(u.name, nameOf(t.Target), "", "dns_error")
				}
				for _, a := range t.Addresses {
					state := "healthy"
					switch {
					case !u.checked:
						state = "healthchecks_off"
					case !a.Peer.Available():
						state = "unhealthy"
					}
					show(u.name, nameOf(t.Target), a.Text, state)
				}
			}
		}
	}
}

// A described upstream is one by its name.
type described struct {
	name    string
	checked bool
}

// known are all upstreams.
func (c *Checks) known() map[*balancer.Pool]described {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[*balancer.Pool]described, len(c.upstreams)+len(c.unchecked))
	for pool, u := range c.upstreams {
		all[pool] = described{u.rules.Load().upstream, true}
	}
	for pool, name := range c.unchecked {
		all[pool] = described{name, false}
	}
	return all
}

// Interface guard
var _ prometheus.Collector = (*collector)(nil)
