package ratelimiting

import (
	"strconv"
	"sync/atomic"
	"time"
)

// The periods, from the shortest to the longest.
const (
	second = iota
	minute
	hour
	day
	month
	year
	periods
)

var (
	names  = [periods]string{"second", "minute", "hour", "day", "month", "year"}
	titles = [periods]string{"Second", "Minute", "Hour", "Day", "Month", "Year"}

	// lengths are what Kong takes the periods for, in seconds, when it tells
	// clients about them (kong/plugins/rate-limiting/expiration.lua).
	lengths = [periods]int64{1, 60, 3600, 86400, 2592000, 31536000}

	// longestOf are the seconds after which a window of the period is over in
	// any case.
	longestOf = [periods]int64{1, 60, 3600, 86400, 31 * 86400, 366 * 86400}
)

// windows are the windows of one second: when those of each period began, in
// seconds since the epoch.
type windows [periods]int64

// A tick is what all requests of one second have in common.
type tick struct {
	windows
	resets [periods]string // the seconds until the windows are over, as clients are told
}

// latest is what tickAt answered last.
var latest atomic.Pointer[tick]

// tickAt answers the tick that a moment is in. Its windows are those of the calendar,
// in UTC.
func tickAt(t time.Time) *tick {
	now := t.Unix()
	if w := latest.Load(); w != nil && w.windows[second] == now {
		return w
	}
	t = t.UTC()
	y, m, _ := t.Date()
	w := &tick{windows: windows{
		now, now - now%60, now - now%3600, now - now%86400,
		time.Date(y, m, 1, 0, 0, 0, 0, time.UTC).Unix(),
		time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC).Unix(),
	}}
	for p, begun := range w.windows {
		w.resets[p] = strconv.FormatInt(max(1, lengths[p]-(now-begun)), 10)
	}
	latest.Store(w)
	return w
}

// end is when the window of a period is over that began at start.
func end(period int, start int64) int64 {
	switch period {
	case month:
		return time.Unix(start, 0).UTC().AddDate(0, 1, 0).Unix()
	case year:
		return time.Unix(start, 0).UTC().AddDate(1, 0, 0).Unix()
	}
	return start + lengths[period]
}
