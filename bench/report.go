//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// A measured row: for each peer, one sample per round.
type measured struct {
	row
	names   []string // the subject first
	samples map[string][]sample
}

// print writes the row as a table, with what the subject makes of each peer:
// above 1 the subject is better. The ratios are those of each round.
func (m measured) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s: %s\n\n", m.name, m.title)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\t%s\tCPU each\tof its core\tload's core\t%s against it\tby CPU time\n", m.unit, m.subject)
	var foreign, stolen float64
	for _, name := range m.names {
		samples := m.samples[name]
		value := spread(samples, func(s sample) float64 { return s.value })
		cpu := spread(samples, func(s sample) float64 { return float64(s.cpu) })
		share := spread(samples, func(s sample) float64 { return s.share })
		load := spread(samples, func(s sample) float64 { return s.load })
		if cpu.median > 0 {
			foreign = max(foreign, spread(samples, func(s sample) float64 { return s.foreign }).most)
		}
		stolen = max(stolen, spread(samples, func(s sample) float64 { return s.stolen }).most)
		fmt.Fprintf(t, "%s\t%s\t%s\t%.0f %%\t%.0f %%", name, figure(value.median), each(cpu.median), 100*share.median, 100*load.median)
		if name == m.subject {
			fmt.Fprint(t, "\t\t\n")
			continue
		}
		fmt.Fprintf(t, "\t%s\t%s\n", m.ratio(name, func(s sample) float64 { return s.value }, m.less),
			m.ratio(name, func(s sample) float64 { return float64(s.cpu) }, true))
	}
	t.Flush()
	if foreign > 0.05 {
		fmt.Fprintf(w, "Something else had up to %.0f %% of the proxies' core in a round.\n", 100*foreign)
	}
	if stolen > 0.02 {
		fmt.Fprintf(w, "Another machine had up to %.0f %% of a core in a round.\n", 100*stolen)
	}
}

// ratio compares the subject with a peer, round by round.
func (m measured) ratio(peer string, figure func(sample) float64, less bool) string {
	var ratios []float64
	for i, theirs := range m.samples[peer] {
		ours := m.samples[m.subject]
		if i >= len(ours) {
			break
		}
		a, b := figure(ours[i]), figure(theirs)
		if less {
			a, b = b, a
		}
		if a > 0 && b > 0 {
			ratios = append(ratios, a/b)
		}
	}
	if len(ratios) == 0 {
		return "–"
	}
	r := of(ratios)
	return fmt.Sprintf("%.2f (%.2f–%.2f)", r.median, r.least, r.most)
}

type span struct{ least, median, most float64 }

func spread(samples []sample, figure func(sample) float64) span {
	var all []float64
	for _, s := range samples {
		all = append(all, figure(s))
	}
	return of(all)
}

func of(all []float64) span {
	if len(all) == 0 {
		return span{}
	}
	all = slices.Sorted(slices.Values(all))
	half := len(all) / 2
	median := all[half]
	if len(all)%2 == 0 {
		median = (all[half-1] + all[half]) / 2
	}
	return span{all[0], median, all[len(all)-1]}
}

func figure(n float64) string {
	if n < 100 {
		return fmt.Sprintf("%.1f", n)
	}
	return fmt.Sprintf("%.0f", n)
}

func each(nanoseconds float64) string {
	if nanoseconds == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f µs", nanoseconds/float64(time.Microsecond))
}
