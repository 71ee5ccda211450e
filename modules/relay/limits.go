package relay

import "time"

// Limits are how long a relay may be silent, and how long one side may take
// none of the bytes that wait for it; 0 is without limit.
type limits struct{ silence, stall time.Duration }

// shortest is the shorter of the two; 0 if there is none.
func (l limits) shortest() time.Duration {
	switch {
	case l.silence == 0:
		return l.stall
	case l.stall == 0:
		return l.silence
	}
	return min(l.silence, l.stall)
}

// judge answers ErrStall or ErrSilence if one of them has passed, or else how long
// the next look at it may wait. Moved is when bytes were passed on last, stalled
// since when each direction has bytes that wait; 0: it has none. Somebody who is
// slow is not silent.
func (l limits) judge(now, moved int64, stalled ...int64) (next time.Duration, err error) {
	next = l.shortest() // a write may begin to wait meanwhile
	slow := false
	for _, since := range stalled {
		if since == 0 {
			continue
		}
		slow = true
		if l.stall == 0 {
			continue
		}
		left := l.stall - time.Duration(now-since)
		if left <= 0 {
			return 0, ErrStall
		}
		next = min(next, left)
	}
	if l.silence > 0 {
		left := l.silence - time.Duration(now-moved)
		if left <= 0 && !slow {
			return 0, ErrSilence
		}
		if left > 0 {
			next = min(next, left)
		}
	}
	return max(next, time.Millisecond), nil
}
