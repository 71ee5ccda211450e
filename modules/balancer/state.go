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
}

// States holds the State of every upstream of a node, by the upstream's id. It
// belongs to what survives a reload. The zero value is ready, and safe for
// concurrent use.
type States struct {
	mu sync.Mutex
	m  map[uuid.UUID]*State // protected by mu
}

// Of answers the state of an upstream, and makes it at first.
func (s *States) Of(upstream uuid.UUID) *State {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.m[upstream]
	if st == nil {
		if s.m == nil {
			s.m = make(map[uuid.UUID]*State)
		}
		st = new(State)
		s.m[upstream] = st
	}
	return st
}

// Forget drops the state of an upstream that was deleted. Requests that still
// use it are not disturbed.
func (s *States) Forget(upstream uuid.UUID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.m, upstream)
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
