package ratelimiting

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

const (
	shards = 64

	// most is how many clients a table remembers. For more, those go that were
	// not seen for the longest time, approximately.
	most = 1 << 18

	// sweepEvery is how often what is over is forgotten.
	sweepEvery = time.Minute
)

// A table counts requests in memory: exactly, however many come at a time. With
// a source it is a copy of counters that others share. Then it adds to them at
// most once in a while what it has counted, and asks for what others have.
type table struct {
	seed   maphash.Seed
	source source        // nil: there are no others
	rate   time.Duration // between two exchanges with the source
	shard  [shards]shard

	sweeping, flushing atomic.Bool // a timer runs
	ended              atomic.Bool
	sending            sync.Mutex // held while what was counted is sent
}

// A source has counters that several processes share.
type source interface {
	// add adds to the counters, and answers what each of them is then. An error
	// says why some were not added to: those of which the answer is negative, or
	// missing.
	add([]delta) ([]int64, error)
	end() error
}

// A delta is what is to be added to the counter of a client's window.
type delta struct {
	client string
	period int
	start  int64 // of the window
	n      int64
}

type shard struct {
	mu      sync.Mutex
	clients map[string]*client // protected by mu
	dirty   []*client          // protected by mu: those that have something to send
	_       [64]byte           // the next shard is in another cache line
}

// A client is what is known of one. It is protected by the shard's mutex.
type client struct {
	name    string
	windows [periods]window
	seen    int64 // seconds since the epoch
	asked   int64 // when the source was, in nanoseconds since the epoch; 0: never
	dirty   bool
	busy    bool          // an exchange with the source is under way
	first   chan struct{} // closed when the first one is over
	failed  error         // of the latest one
}

type window struct {
	start   int64
	count   int64
	pending int64 // the part of count that the source has not been told
}

func newTable(s source, rate time.Duration) *table {
	t := &table{seed: maphash.MakeSeed(), source: s, rate: rate}
	for i := range t.shard {
		t.shard[i].clients = map[string]*client{}
	}
	return t
}

// take counts a request of the client, as counters says.
func (t *table) take(name []byte, now time.Time, at *windows, l *limits) (counts, error) {
	s := &t.shard[maphash.Bytes(t.seed, name)%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[string(name)]
	if c == nil {
		c = t.insert(s, string(name))
	}
	c.seen = at[second]
	c.turn(at, l)
	if t.source != nil {
		if err := t.refresh(s, c, now, at, l); err != nil {
			return counts{}, err
		}
	}
	var used counts
	for _, p := range l.set {
		used[p] = c.windows[p].count
	}
	if l.full(&used) {
		return used, nil
	}
	for _, p := range l.set {
		c.windows[p].count++
	}
	if t.source != nil {
		for _, p := range l.set {
			c.windows[p].pending++
		}
		s.soil(c)
		t.flushLater()
	}
	return used, nil
}

// of answers the shard of a client.
func (t *table) of(name string) *shard { return &t.shard[maphash.String(t.seed, name)%shards] }

// turn begins those windows anew that are over. A request that began a little
// before the window that is there counts in that one.
func (c *client) turn(at *windows, l *limits) {
	for _, p := range l.set {
		w := &c.windows[p]
		if w.start < at[p] || w.start > at[p]+max(longestOf[p], 60) { // the clock was set back
			*w = window{start: at[p]}
		}
	}
}

func (t *table) insert(s *shard, name string) *client {
	if len(s.clients) >= most/shards {
		s.evict()
	}
	c := &client{name: name}
	s.clients[name] = c
	if t.sweeping.CompareAndSwap(false, true) {
		time.AfterFunc(sweepEvery, t.sweepAgain)
	}
	return c
}

// evict forgets, of a few clients, the one that was not seen for the longest
// time.
func (s *shard) evict() {
	var oldest *client
	n := 0
	for _, c := range s.clients { // Go begins anywhere
		if oldest == nil || c.seen < oldest.seen {
			oldest = c
		}
		if n++; n == 8 {
			break
		}
	}
	delete(s.clients, oldest.name)
}

// sweep forgets clients all of whose windows are over, and answers how many are
// left.
func (t *table) sweep(now time.Time) (left int) {
	seconds := now.Unix()
	for i := range t.shard {
		s := &t.shard[i]
		s.mu.Lock()
		for name, c := range s.clients {
			if c.over(seconds) {
				delete(s.clients, name)
			}
		}
		left += len(s.clients)
		s.mu.Unlock()
	}
	return left
}

func (c *client) over(now int64) bool {
	for p, w := range c.windows {
		if w.start+longestOf[p] > now {
			return false
		}
	}
	return true
}

func (t *table) sweepAgain() {
	if t.ended.Load() {
		return
	}
	if t.sweep(time.Now()) > 0 {
		time.AfterFunc(sweepEvery, t.sweepAgain)
		return
	}
	t.sweeping.Store(false)
}

// Destruct sends what was counted and lets the source go. It is called when the
// plugin is gone.
func (t *table) Destruct() error {
	t.ended.Store(true)
	if t.source == nil {
		return nil
	}
	t.flush()
	return t.source.end()
}
