// Package queue keeps entries for a receiver that may be slow or away: it sends
// them in batches, tries again what failed, and drops the oldest when there are
// too many. Whoever adds an entry never waits.
//
// It is the queue of Kong's plugins (kong/tools/queue.lua), and the record by
// which they describe it.
package queue

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/metrics"
)

// DrainTime is how long a queue that was closed goes on sending what it has.
const DrainTime = 5 * time.Second

// shortest is a time to wait for more entries that is not worth it.
const shortest = 50 * time.Millisecond

// fate counts what became of entries.
var fate = metrics.NewCounter("gateway_queue_entries_total",
	"Entries that left the queues of plugins: sent, dropped because the queue was full, or lost because the receiver did not take them.",
	"plugin", "outcome")

// A Queue holds entries, each of them text, until they are sent. Safe for
// concurrent use.
type Queue struct {
	name     string
	settings Settings
	send     func(context.Context, [][]byte) error
	ctx      context.Context // ends when there is no more time to send
	cancel   context.CancelFunc
	logger   atomic.Pointer[zap.Logger]

	sent, dropped, lost prometheus.Counter
	full                complaint // entries were dropped
	failing             complaint // the receiver does not take them
	failed              atomic.Bool
	gone                complaint // they were given up

	mu      sync.Mutex
	entries ring          // protected by mu
	sending int           // protected by mu; goroutines that send
	warned  bool          // protected by mu; that it will be full soon
	closed  bool          // protected by mu
	then    func()        // set before closed; nil: nothing is to be done
	more    chan struct{} // gets a value when a batch is complete; sent to and closed under mu
}

// New makes a queue of the plugin that is called name. Send passes a batch to the
// receiver; it is called on one goroutine at a time, unless the settings allow
// more, and must return when its context ends. Close the queue at the end.
func New(name string, s Settings, send func(context.Context, [][]byte) error) *Queue {
	q := &Queue{
		name: name, settings: s, send: send, more: make(chan struct{}, 1),
		sent:    fate.WithLabelValues(name, "sent"),
		dropped: fate.WithLabelValues(name, "dropped"),
		lost:    fate.WithLabelValues(name, "lost"),
	}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	q.Use(zap.NewNop())
	return q
}

// Use sets where the queue complains from now on. It may be called again: a
// queue outlives configurations.
func (q *Queue) Use(logger *zap.Logger) { q.logger.Store(logger) }

// Add puts an entry at the end; the queue keeps it. If there is no room the
// oldest ones go.
func (q *Queue) Add(entry []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := &q.settings
	if q.closed || s.MaxBytes > 0 && int64(len(entry)) > s.MaxBytes {
		q.drop(1)
		return
	}
	if s.ConcurrencyLimit < 0 { // each on its own, as soon as it comes
		if q.sending >= s.MaxEntries {
			q.drop(1)
			return
		}
		q.begin()
		go func() {
			defer q.end()
			q.deliver([][]byte{entry})
		}()
		return
	}
	surplus := 0
	for q.entries.len() >= s.MaxEntries || s.MaxBytes > 0 && q.entries.bytes+int64(len(entry)) > s.MaxBytes {
		q.entries.pop()
		surplus++
	}
	if surplus > 0 {
		q.drop(surplus)
	}
	q.entries.push(entry)
	q.warn()
	switch {
	case q.sending == 0:
		q.begin()
		go q.run()
	case q.entries.len() >= s.MaxBatchSize:
		select {
		case q.more <- struct{}{}:
		default:
		}
	}
}

// warn tells once that the queue will be full soon. The caller holds mu.
func (q *Queue) warn() {
	if q.entries.len()*10 < q.settings.MaxEntries*8 {
		q.warned = false
	} else if !q.warned && q.settings.MaxEntries > 1 {
		q.warned = true
		q.log().Warn("queue is at 80 % of its capacity", zap.Int("max_entries", q.settings.MaxEntries))
	}
}

// drop counts entries that are not kept.
func (q *Queue) drop(n int) {
	q.dropped.Add(float64(n))
	if n, now := q.full.add(n); now {
		q.log().Error("queue is full, entries were dropped", zap.Int("entries", n))
	}
}

func (q *Queue) log() *zap.Logger { return q.logger.Load() }

// run sends batches until there is nothing left.
func (q *Queue) run() {
	defer q.end()
	for {
		batch := q.take()
		if batch == nil {
			return
		}
		q.deliver(batch)
	}
}

// take waits until a batch is complete, or for as long as one may wait, and
// takes it out; nil: there is nothing left.
func (q *Queue) take() [][]byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := &q.settings
	deadline := time.Now().Add(seconds(s.MaxCoalescingDelay))
	for n := q.entries.len(); n > 0 && n < s.MaxBatchSize && !q.closed; n = q.entries.len() {
		left := time.Until(deadline)
		if left < shortest {
			break
		}
		q.mu.Unlock()
		timer := time.NewTimer(left)
		select {
		case <-q.more:
		case <-timer.C:
		}
		timer.Stop()
		q.mu.Lock()
	}
	n := min(q.entries.len(), s.MaxBatchSize)
	if n == 0 {
		return nil
	}
	batch := make([][]byte, n)
	for i := range batch {
		batch[i] = q.entries.pop()
	}
	return batch
}

// deliver sends a batch, and tries again until it was taken or the time is over.
func (q *Queue) deliver(batch [][]byte) {
	s := &q.settings
	began := time.Now()
	for retries := 0; ; retries++ {
		err := q.send(q.ctx, batch)
		if err == nil {
			q.sent.Add(float64(len(batch)))
			q.recovered()
			return
		}
		q.failed.Store(true)
		if n, now := q.failing.add(1); now {
			q.log().Warn("receiver did not take entries", zap.Int("attempts", n), zap.Int("entries", len(batch)), zap.Error(err))
		}
		if q.ctx.Err() != nil || time.Since(began) > seconds(s.MaxRetryTime) || !q.pause(s.delay(retries)) {
			q.lost.Add(float64(len(batch)))
			if n, now := q.gone.add(len(batch)); now {
				q.log().Error("entries were lost, since the receiver did not take them in time",
					zap.Int("entries", n), zap.Int("retries", retries), zap.Error(err))
			}
			return
		}
	}
}

// pause waits before the next try, and reports whether there is to be one.
func (q *Queue) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-q.ctx.Done():
		return false
	}
}

// recovered tells of what has not been told, now that the receiver takes
// entries.
func (q *Queue) recovered() {
	if !q.failed.Swap(false) {
		return
	}
	q.failing.reset()
	q.log().Info("receiver takes entries again",
		zap.Int("more_dropped", q.full.reset()), zap.Int("more_lost", q.gone.reset()))
}

// delay is how long to wait before a retry; they are counted from 0.
func (s *Settings) delay(retry int) time.Duration {
	return seconds(min(s.MaxRetryDelay, s.InitialRetryDelay*math.Pow(2, float64(retry))))
}

// seconds is a duration; more than a century is as good as one.
func seconds(n float64) time.Duration {
	return time.Duration(min(n, 100*365*24*3600) * float64(time.Second))
}

// begin and end count the goroutines that send. The caller of begin holds mu.
func (q *Queue) begin() {
	q.sending++
	busy.add(1)
}

func (q *Queue) end() {
	q.mu.Lock()
	q.sending--
	if q.sending == 0 && q.entries.len() > 0 { // came since run looked
		q.begin()
		go q.run()
	}
	over := q.sending == 0 && q.closed
	q.mu.Unlock()
	if over {
		q.finish()
	}
	busy.add(-1)
}

// Close ends the queue. It does not wait: what is queued is sent without delay,
// for DrainTime at most, and then the function is called that it is given, which
// may be nil; see Drain. Later entries are dropped.
func (q *Queue) Close(then func()) {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return
	}
	q.closed, q.then = true, then
	close(q.more)
	over := q.sending == 0
	q.mu.Unlock()
	if over {
		q.finish()
	} else {
		time.AfterFunc(DrainTime, q.cancel)
	}
}

// finish comes when the queue is closed and nothing is on its way.
func (q *Queue) finish() {
	q.cancel()
	if q.then != nil {
		q.then()
	}
}

// Len is how many entries wait.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.entries.len()
}
