package ratelimiting

import (
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

// latest is what windowsAt answered last.
var latest atomic.Pointer[windows]

// windowsAt answers the windows that a moment is in. They are those of the
// calendar, in UTC.
func windowsAt(t time.Time) *windows {
	now := t.Unix()
	if w := latest.Load(); w != nil && w[second] == now {
		return w
	}
	t = t.UTC()
	y, m, _ := t.Date()
	w := &windows{
		now, now - now%60, now - now%3600, now - now%86400,
		time.Date(y, m, 1, 0, 0, 0, 0, time.UTC).Unix(),
		time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC).Unix(),
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
