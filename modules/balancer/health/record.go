package health

import "sync/atomic"

// A State is how a target is, in Kong's words (lua-resty-healthcheck). The
// mostly healthy still get traffic, the mostly unhealthy do not yet.
type State uint8

const (
	Healthy         State = iota
	MostlyHealthy         // failures have been counted
	MostlyUnhealthy       // successes have been counted
	Unhealthy
)

// Available reports whether a target in this state gets traffic.
func (s State) Available() bool { return s <= MostlyHealthy }

func (s State) String() string {
	return [...]string{"healthy", "mostly_healthy", "mostly_unhealthy", "unhealthy"}[s]
}

// A Kind is what is counted.
type Kind uint8

const (
	Success Kind = iota
	HTTPFailure
	TCPFailure
	Timeout
)

func (k Kind) String() string {
	return [...]string{"success", "http failure", "tcp failure", "timeout"}[k]
}

// A record is the state of a target and its four counters, in one word: the
// counters are the four low bytes, by kind, the state is the fifth. Its zero
// value is healthy.
type record struct{ word atomic.Uint64 }

const (
	successes = 0xff
	failures  = 0xffffff00
	stateAt   = 32
)

func (r *record) state() State { return State(r.word.Load() >> stateAt) }

// counters are the four counts, by kind.
func (r *record) counters() (n [4]int) {
	word := r.word.Load()
	for kind := range n {
		n[kind] = int(word >> (8 * kind) & 0xff)
	}
	return n
}

// report counts once towards a limit, and answers whether the availability may
// have changed by that. What is limited by 0 is not counted.
func (r *record) report(kind Kind, limit int) bool {
	for {
		word := r.word.Load()
		next := count(word, kind, limit)
		if next == word {
			return false // success of the healthy, above all
		}
		if r.word.CompareAndSwap(word, next) {
			return State(word>>stateAt).Available() != State(next>>stateAt).Available()
		}
	}
}

// count is the word that follows another one.
func count(word uint64, kind Kind, limit int) uint64 {
	state := State(word >> stateAt)
	end := Unhealthy
	if kind == Success {
		end = Healthy
	}
	if limit == 0 || state == end {
		return word
	}
	n := min(word>>(8*kind)&0xff+1, 0xff)
	counters := word & successes
	if kind != Success {
		counters = word & failures
	}
	counters = counters&^(0xff<<(8*kind)) | n<<(8*kind)
	switch {
	case n >= uint64(limit):
		state = end
	case state == Healthy:
		state = MostlyHealthy
	case state == Unhealthy:
		state = MostlyUnhealthy
	}
	return counters | uint64(state)<<stateAt
}

// set makes the state what someone says, and forgets what was counted.
func (r *record) set(s State) { r.word.Store(uint64(s) << stateAt) }
