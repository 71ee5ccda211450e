package router

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
)

// fails answers the attributes of a rule that do not fit the flow.
func (r *streamRule[V]) fails(f *Flow) []Failure {
	var list []Failure
	fail := func(attribute string, expected []string, got string) {
		list = append(list, Failure{Attribute: attribute, Expected: expected, Got: got})
	}
	if r.protocols&f.protocolsFor() == 0 {
		fail("protocol", r.route.Protocols, f.Protocol)
	}
	if len(r.snis) > 0 && !fitsAny(r.snis, f.SNI) {
		fail("sni", r.route.SNIs, f.SNI)
	}
	if len(r.sources) > 0 && !within(r.sources, f.Source) {
		fail("source", endpointTexts(r.route.Sources), addressText(f.Source))
	}
	if len(r.destinations) > 0 && !within(r.destinations, f.Destination) {
		fail("destination", endpointTexts(r.route.Destinations), addressText(f.Destination))
	}
	return list
}

// Explain tells which route a flow takes, and of the others those that come
// closest, at most max. Unlike Match it looks at every route.
func (x *StreamIndex[V]) Explain(f *Flow, max int) Explanation {
	e := Explanation{NearMisses: []NearMiss{}}
	best := x.best(f)
	if best != nil {
		e.Matched = &Winner{Ranked: best.ranked(), Protocols: best.route.Protocols}
	}
	type miss struct {
		rule   *streamRule[V]
		failed []Failure
		fits   bool
	}
	var misses []miss
	seen := map[*streamRule[V]]bool{best: true}
	for _, r := range x.rules() {
		if seen[r] {
			continue
		}
		seen[r] = true
		m := miss{rule: r, failed: r.fails(f)}
		if len(m.failed) == 0 {
			m.fits, m.failed = true, []Failure{r.outrankedBy(best)}
		}
		misses = append(misses, m)
	}
	slices.SortFunc(misses, func(a, b miss) int {
		return cmp.Or(
			boolean(b.fits)-boolean(a.fits),
			len(a.failed)-len(b.failed),
			boolean(b.rule.outranks(a.rule))-boolean(a.rule.outranks(b.rule)))
	})
	for _, m := range misses[:min(max, len(misses))] {
		e.NearMisses = append(e.NearMisses, NearMiss{Ranked: m.rule.ranked(), Failed: m.failed})
	}
	return e
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// outrankedBy says why a rule that fits is not the best.
func (r *streamRule[V]) outrankedBy(best *streamRule[V]) Failure {
	if r.priority == best.priority {
		return Failure{Attribute: "id", Expected: []string{"above " + best.route.ID.String()}, Got: r.route.ID.String()}
	}
	return Failure{
		Attribute: "priority",
		Expected:  []string{fmt.Sprintf("above %d (%s)", uint64(best.priority), best.priority)},
		Got:       strconv.FormatUint(uint64(r.priority), 10),
	}
}

func (r *streamRule[V]) ranked() (k Ranked) {
	k.Route.ID, k.Route.Name, k.Route.Service = r.route.ID, r.route.Name, r.route.Service
	k.Priority, k.Rank = Priority(r.priority), r.priority.String()
	return k
}
