package balancer

import (
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
)

// A State is what the balancer of one upstream remembers from request to
// request. It outlives the rings: a change of targets goes on from the same
// position. The zero value is ready, and safe for concurrent use.
type State struct {
	first atomic.Uint64 // position for the first try of a request
	again atomic.Uint64 // position for retries
	used  atomic.Bool   // since the last sweep
}

// States holds the State of every upstream in use, by the upstream's id. It
// belongs to what survives a reload. The zero value is ready, and safe for
// concurrent use.
type States struct {
	mu sync.RWMutex
	m  map[uuid.UUID]*State // protected by mu
}

// Of answers the state of an upstream, and makes it at first.
func (s *States) Of(upstream uuid.UUID) *State {
	s.mu.RLock()
	st := s.m[upstream]
	s.mu.RUnlock()
	if st == nil {
		st = s.add(upstream)
	}
	if !st.used.Load() { // a write for each request would be felt by all cores
		st.used.Store(true)
	}
	return st
}

func (s *States) add(upstream uuid.UUID) *State {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.m[upstream]; st != nil {
		return st
	}
	if s.m == nil {
		s.m = make(map[uuid.UUID]*State)
	}
	st := new(State)
	s.m[upstream] = st
	return st
}

// Sweep forgets the upstreams that no request asked for since the last sweep,
// so that deleted ones take no memory. An upstream that comes back starts at
// the first position. Requests that still use a state are not disturbed.
func (s *States) Sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, st := range s.m {
		if !st.used.Swap(false) {
			delete(s.m, id)
		}
	}
}

// A RetrySet is the memory of one request: the targets it was sent to. The
// zero value is empty. It belongs to one goroutine at a time.
type RetrySet struct {
	few  [8]*Target
	n    int       // used of few
	more []*Target // from the ninth on
}

func (s *RetrySet) len() int { return s.n + len(s.more) }

func (s *RetrySet) has(t *Target) bool {
	for _, x := range s.few[:s.n] {
		if x == t {
			return true
		}
	}
	for _, x := range s.more {
		if x == t {
			return true
		}
	}
	return false
}

func (s *RetrySet) add(t *Target) {
	if s.n < len(s.few) {
		s.few[s.n] = t
		s.n++
		return
	}
	s.more = append(s.more, t)
}

func (s *RetrySet) reset() { *s = RetrySet{more: s.more[:0]} }
