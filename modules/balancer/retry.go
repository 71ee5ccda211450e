package balancer

// A RetrySet is the memory of one request: the peers it was sent to. The zero
// value is empty. It belongs to one goroutine at a time.
type RetrySet struct {
	few  [8]*Peer
	n    int     // used of few
	more []*Peer // from the ninth on
}

func (s *RetrySet) len() int { return s.n + len(s.more) }

func (s *RetrySet) has(p *Peer) bool {
	for _, x := range s.few[:s.n] {
		if x == p {
			return true
		}
	}
	for _, x := range s.more {
		if x == p {
			return true
		}
	}
	return false
}

func (s *RetrySet) add(p *Peer) {
	if s.n < len(s.few) {
		s.few[s.n] = p
		s.n++
		return
	}
	s.more = append(s.more, p)
}

func (s *RetrySet) reset() { *s = RetrySet{more: s.more[:0]} }
