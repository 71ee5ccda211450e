package ratelimiting

import "time"

// How a table and its source agree. A client has at most one exchange with the
// source at a time, so that answers cannot overtake each other.

// batch is how many counters are sent at a time.
const batch = 4096

// refresh asks the source for the client's counters, if that is due. The shard's
// mutex is held, and given up meanwhile. Requests of a client that was never
// asked for wait for the answer; later ones go by what is known.
func (t *table) refresh(s *shard, c *client, now time.Time, at *windows, l *limits) error {
	for c.busy && c.first != nil {
		wait := c.first
		s.mu.Unlock()
		<-wait
		s.mu.Lock()
		if c.failed != nil && c.asked == 0 {
			return c.failed
		}
	}
	if age := now.UnixNano() - c.asked; c.asked != 0 && age < int64(t.rate) && age > -int64(time.Hour) {
		return nil
	}
	if c.busy {
		return c.failed
	}
	c.turn(at, l)
	ask := make([]delta, len(l.set))
	for i, p := range l.set {
		ask[i] = delta{client: c.name, period: p, start: c.windows[p].start}
	}
	if c.busy = true; c.asked == 0 {
		c.first = make(chan struct{})
		defer func() {
			close(c.first)
			c.first = nil
		}()
	}
	s.mu.Unlock()
	totals, err := t.source.add(ask)
	s.mu.Lock()
	c.busy, c.failed = false, err
	if err != nil {
		return err
	}
	for i, d := range ask {
		c.learn(d, totals[i])
	}
	c.asked = now.UnixNano()
	c.turn(at, l)
	return nil
}

// learn takes over what a counter is at the source.
func (c *client) learn(d delta, total int64) {
	if w := &c.windows[d.period]; w.start == d.start {
		w.count = total + w.pending
	}
}

// soil notes that the client has something to send. The mutex is held.
func (s *shard) soil(c *client) {
	if !c.dirty {
		c.dirty = true
		s.dirty = append(s.dirty, c)
	}
}

func (t *table) flushLater() {
	if t.flushing.CompareAndSwap(false, true) {
		time.AfterFunc(t.rate, func() {
			t.flushing.Store(false)
			if !t.ended.Load() {
				t.flush()
			}
		})
	}
}

// flush sends what was counted since the last time. What could not be sent is
// kept for the next.
func (t *table) flush() {
	t.sending.Lock()
	defer t.sending.Unlock()
	var deltas []delta
	var owners []*client
	var again bool
	for i := range t.shard {
		s := &t.shard[i]
		s.mu.Lock()
		dirty := s.dirty
		s.dirty = nil
		for _, c := range dirty {
			c.dirty = false
			if c.busy {
				s.soil(c)
				again = true
				continue
			}
			for p := range c.windows {
				if w := &c.windows[p]; w.pending != 0 {
					deltas = append(deltas, delta{c.name, p, w.start, w.pending})
					owners = append(owners, c)
					w.pending, c.busy = 0, true
				}
			}
		}
		s.mu.Unlock()
	}
	for len(deltas) > 0 {
		n := min(batch, len(deltas))
		for n < len(deltas) && owners[n] == owners[n-1] { // a client at a time
			n++
		}
		again = !t.send(deltas[:n], owners[:n]) || again
		deltas, owners = deltas[n:], owners[n:]
	}
	if again && !t.ended.Load() {
		t.flushLater()
	}
}

func (t *table) send(deltas []delta, owners []*client) bool {
	totals, err := t.source.add(deltas)
	now := time.Now().UnixNano()
	for i := 0; i < len(deltas); {
		c := owners[i]
		s := t.of(c.name)
		s.mu.Lock()
		c.busy, c.failed = false, nil // with all of its windows: another exchange may begin then
		for ; i < len(deltas) && owners[i] == c; i++ {
			d := deltas[i]
			if i < len(totals) && totals[i] >= 0 {
				c.learn(d, totals[i])
				c.asked = now
				continue
			}
			c.failed = err
			if w := &c.windows[d.period]; w.start == d.start {
				w.pending += d.n
				s.soil(c)
			}
		}
		s.mu.Unlock()
	}
	return err == nil
}
