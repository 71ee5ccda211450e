package ratelimiting

import (
	"net/http"
	"strconv"

	"github.com/portcullis-gateway/portcullis/modules/plugin"
)

// limits are the limits of an instance. They do not change.
type limits struct {
	set   []int            // the periods that have one, from the shortest
	value [periods]float64 // by period

	// told are the headers that do not depend on the request: the limit of
	// each period that is set. Nil: clients are told nothing.
	told []header
}

// header has the names of a period's headers, and the value of the first.
type header struct {
	limit, remaining, value string
}

func newLimits(values [periods]*float64, tell bool) *limits {
	l := new(limits)
	for p, v := range values {
		if v == nil {
			continue
		}
		l.set = append(l.set, p)
		l.value[p] = *v
		if tell {
			l.told = append(l.told, header{
				limit:     http.CanonicalHeaderKey("X-RateLimit-Limit-" + titles[p]),
				remaining: http.CanonicalHeaderKey("X-RateLimit-Remaining-" + titles[p]),
				value:     text(*v),
			})
		}
	}
	return l
}

// full reports whether a window has no room for a request.
func (l *limits) full(used *counts) bool {
	for _, p := range l.set {
		if float64(used[p]) >= l.value[p] {
			return true
		}
	}
	return false
}

// told is what a client is told: what remains in each period that is set, and
// then the three headers of the draft: limit, remaining and reset.
type told struct {
	values [periods + 3]string
	n      int // of values
}

func (t *told) reset() string { return t.values[t.n-1] }

// tell makes the values of the headers (kong/plugins/rate-limiting/handler.lua).
// The draft's are of the period that has the least left; of equal ones, of the
// longest.
func (l *limits) tell(used *counts, at *windows, full bool) *told {
	t := new(told)
	least, which := 0.0, -1
	for i, p := range l.set {
		left := l.value[p] - float64(used[p])
		if !full {
			left-- // this request
		}
		left = max(0, left)
		t.values[i] = text(left)
		if which < 0 || left <= least {
			least, which = left, i
		}
	}
	n := len(l.set)
	p := l.set[which]
	t.values[n] = l.told[which].value
	t.values[n+1] = t.values[which]
	t.values[n+2] = strconv.FormatInt(max(1, lengths[p]-(at[second]-at[p])), 10)
	t.n = n + 3
	return t
}

// The headers of the draft, as net/http writes them.
var (
	draftLimit     = http.CanonicalHeaderKey("RateLimit-Limit")
	draftRemaining = http.CanonicalHeaderKey("RateLimit-Remaining")
	draftReset     = http.CanonicalHeaderKey("RateLimit-Reset")
)

// write puts the headers into a response.
func (l *limits) write(x *plugin.Exchange, t *told) {
	for i := range l.told {
		x.SetResponseHeader(l.told[i].limit, l.told[i].value)
		x.SetResponseHeader(l.told[i].remaining, t.values[i])
	}
	n := len(l.set)
	x.SetResponseHeader(draftLimit, t.values[n])
	x.SetResponseHeader(draftRemaining, t.values[n+1])
	x.SetResponseHeader(draftReset, t.values[n+2])
}

// text writes a number as Kong does: without a fraction if it has none.
func text(v float64) string {
	if n := int64(v); float64(n) == v {
		return strconv.FormatInt(n, 10)
	}
	return strconv.FormatFloat(v, 'g', 14, 64)
}
