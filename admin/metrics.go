package admin

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metricsOf serves a registry in the format of Prometheus.
func metricsOf(registry *prometheus.Registry) handler {
	serve := promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry})
	return func(c *call) (*answer, error) {
		serve.ServeHTTP(c.w, c.r)
		return nil, nil
	}
}
