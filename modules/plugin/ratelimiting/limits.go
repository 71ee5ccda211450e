package ratelimiting

import (
	"net/http"
	"strconv"

	"github.com/portcullis-gateway/portcullis/modules/http1"
)

// limits are the limits of an instance. They do not change.
type limits struct {
	set   []int            // the periods that have one, from the shortest
	value [periods]float64 // by period

	// told are the headers of a response: for each period that is set the limit
	// and what remains, and then the draft's three. The limits of the periods
	// do not depend on the request, and have their values. Nil: clients are
	// told nothing.
	told http1.Fields
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
			l.told = append(l.told,
				http1.Field{Name: http.CanonicalHeaderKey("X-RateLimit-Limit-" + titles[p]), Value: text(*v)},
				http1.Field{Name: http.CanonicalHeaderKey("X-RateLimit-Remaining-" + titles[p])})
		}
	}
	if tell {
		for _, name := range []string{"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"} {
			l.told = append(l.told, http1.Field{Name: http.CanonicalHeaderKey(name)})
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

// tell appends the headers of a response to a list
// (kong/plugins/rate-limiting/handler.lua). The draft's are of the period that has
// the least left; of equal ones, of the longest. The last one says when to come again.
func (l *limits) tell(list http1.Fields, used *counts, now *tick, full bool) http1.Fields {
	list = append(list, l.told...)
	least, which := 0.0, -1
	for i, p := range l.set {
		left := l.value[p] - float64(used[p])
		if !full {
			left-- // this request
		}
		left = max(0, left)
		list[2*i+1].Value = text(left)
		if which < 0 || left <= least {
			least, which = left, i
		}
	}
	draft := list[2*len(l.set):]
	draft[0].Value, draft[1].Value = list[2*which].Value, list[2*which+1].Value
	draft[2].Value = now.resets[l.set[which]]
	return list
}

// text writes a number as Kong does: without a fraction if it has none.
func text(v float64) string {
	if n := int64(v); float64(n) == v {
		return strconv.FormatInt(n, 10)
	}
	return strconv.FormatFloat(v, 'g', 14, 64)
}
