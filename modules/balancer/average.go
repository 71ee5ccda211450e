package balancer

import (
	"math"
	"sync/atomic"
	"time"
)

// decay is after how long a measurement counts for 1/e of what it did (Kong's
// DECAY_TIME, kong/runloop/balancer/latency.lua).
const decay = 10 * time.Second

// epoch is what monotonic times are counted from.
var epoch = time.Now()

// An average is an exponentially weighted moving average of durations. The
// longer nothing was measured, the more the next measurement counts; meanwhile
// the average sinks. Two measurements at the same moment may lose one. Safe for
// concurrent use.
type average struct {
	value atomic.Uint64 // bits of a float64: seconds
	at    atomic.Int64  // nanoseconds since epoch; 0: nothing was measured
}

// add takes a measurement into account.
func (a *average) add(d time.Duration) { a.addAt(d, time.Since(epoch)) }

func (a *average) addAt(d, now time.Duration) {
	w := a.weight(now)
	old := math.Float64frombits(a.value.Load())
	a.value.Store(math.Float64bits(old*w + d.Seconds()*(1-w)))
	a.at.Store(max(int64(now), 1))
}

// read is the average in seconds as it has sunk by now.
func (a *average) read(now time.Duration) float64 {
	return math.Float64frombits(a.value.Load()) * a.weight(now)
}

// start sets the value of an average that nothing was measured for.
func (a *average) start(seconds float64, now time.Duration) {
	a.value.Store(math.Float64bits(seconds))
	a.at.Store(max(int64(now), 1))
}

// fresh reports whether nothing was measured.
func (a *average) fresh() bool { return a.at.Load() == 0 }

func (a *average) weight(now time.Duration) float64 {
	at := a.at.Load()
	if at == 0 {
		return 0
	}
	return math.Exp(-max(now-time.Duration(at), 0).Seconds() / decay.Seconds())
}
