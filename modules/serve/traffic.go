package serve

import "sync/atomic"

// Traffic counts what all servers of this process do, in the terms of nginx's
// stub_status, which are those of Kong's /status.
type Traffic struct {
	Accepted int64 // connections since the process started
	Active   int64 // connections now: the sum of the next three
	Reading  int64 // before a request, or in the head of one
	Writing  int64 // in a request, or upgraded
	Waiting  int64 // kept alive between two requests, and all of HTTP/3
	Requests int64 // since the process started
}

// Counts answers the counts as they are.
func Counts() Traffic {
	t := Traffic{
		Accepted: accepted.Load(),
		Reading:  phases[reading].Load(),
		Writing:  phases[writing].Load(),
		Waiting:  phases[waiting].Load(),
		Requests: requests.Load(),
	}
	t.Active = t.Reading + t.Writing + t.Waiting
	return t
}

var accepted, requests atomic.Int64

// A phase is what a connection is doing. Closed ones are gone, and remain so.
type phase int32

const (
	reading phase = iota
	writing
	waiting
	gone
)

var phases [gone + 1]atomic.Int64 // number of connections in each; gone is not read

// begin counts a connection that was accepted.
func (c *Conn) begin() {
	accepted.Add(1)
	phases[reading].Add(1)
}

// enter moves a connection to another phase.
func (c *Conn) enter(next phase) {
	for {
		now := c.phase.Load()
		if phase(now) == gone || phase(now) == next {
			return
		}
		if c.phase.CompareAndSwap(now, int32(next)) {
			phases[now].Add(-1)
			phases[next].Add(1)
			return
		}
	}
}
