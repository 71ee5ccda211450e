package metrics

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestTotals_outliveARegistry(t *testing.T) {
	c := NewCounter("test_doors_opened_total", "Doors opened.", "door")
	c.WithLabelValues("front").Inc()

	for _, want := range []string{"1", "2"} { // one registry for each configuration
		registry := prometheus.NewRegistry()
		registry.MustRegister(Totals())
		expected := "# HELP test_doors_opened_total Doors opened.\n# TYPE test_doors_opened_total counter\n" +
			`test_doors_opened_total{door="front"} ` + want + "\n"
		if err := testutil.GatherAndCompare(registry, strings.NewReader(expected), "test_doors_opened_total"); err != nil {
			t.Error(err)
		}
		c.WithLabelValues("front").Inc()
	}
}

func TestNewCounter_takenNameIsAMistake(t *testing.T) {
	NewCounter("test_twice_total", "")
	defer func() {
		if recover() == nil {
			t.Error("a second family took the name of the first")
		}
	}()
	NewGauge("test_twice_total", "")
}
