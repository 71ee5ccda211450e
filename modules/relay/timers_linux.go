package relay

import "time"

// Timers are coarse and cheap: a wheel of buckets, each for a tick. A guest is in
// one of them or in none; when its bucket is due, it says itself whether its time
// has come. So bytes that are passed on do not touch the wheel.
type timers struct {
	buckets [timerBuckets]timed // the ends of rings
	tick    int64               // of the bucket that is due next
	count   int
}

// timed is what a guest has to be in a bucket.
type timed struct {
	prev, next *timed // nil: in none
	guest      guest  // nil: the end of a ring
}

const (
	timerTick    = int64(50 * time.Millisecond)
	timerBuckets = 256
)

func (t *timers) init() {
	for i := range t.buckets {
		end := &t.buckets[i]
		end.prev, end.next = end, end
	}
}

// put has the guest of e looked at when at has come, or earlier: as far ahead as
// the wheel reaches.
func (t *timers) put(e *timed, now, at int64) {
	t.remove(e)
	if t.count == 0 {
		t.tick = now / timerTick
	}
	tick := min(max(at/timerTick+1, t.tick), t.tick+timerBuckets-1)
	end := &t.buckets[tick%timerBuckets]
	e.prev, e.next = end.prev, end
	e.prev.next, end.prev = e, e
	t.count++
}

func (t *timers) remove(e *timed) {
	if e.next == nil {
		return
	}
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next = nil, nil
	t.count--
}

// behind reports whether there is a bucket to be looked at.
func (t *timers) behind(now int64) bool { return t.count > 0 && t.tick <= now/timerTick }

// next takes the next guest out of the buckets that are due; nil: none is left.
func (t *timers) next(now int64) guest {
	for ; t.behind(now); t.tick++ {
		if e := t.buckets[t.tick%timerBuckets].next; e.guest != nil {
			t.remove(e)
			return e.guest
		}
	}
	return nil
}

// alarm is when the next bucket is due; 0 if all are empty.
func (t *timers) alarm() int64 {
	if t.count == 0 {
		return 0
	}
	return t.tick * timerTick
}
