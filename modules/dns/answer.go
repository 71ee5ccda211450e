// Package dns finds the addresses behind names.
package dns

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/wheel"
)

// A Record is one place that a name stands for.
type Record struct {
	IP netip.Addr

	// What only an SRV record says, else zero. A port of 0 is left to whoever
	// asks; Name is the host that the record names, to which the IP belongs.
	Port   uint16
	Weight int
	Name   string
}

// An Answer is what a name stands for. It is immutable but for its turns, and
// shared by all who ask. Records is never empty.
type Answer struct {
	Type    string   // "A", "AAAA" or "SRV"
	Records []Record // of the lowest priority, if they are SRV records
	Expires time.Time

	turns atomic.Uint64
	wheel wheel.Wheel
}

// NewAnswer makes an answer. An SRV record of weight 0 counts as weight 1.
func NewAnswer(kind string, records []Record, expires time.Time) *Answer {
	a := &Answer{Type: kind, Records: records, Expires: expires}
	weights := make([]int, len(records))
	for i := range records {
		r := &records[i]
		if kind == "SRV" {
			r.Weight = max(r.Weight, 1)
		}
		weights[i] = max(r.Weight, 1)
	}
	a.wheel = wheel.New(weights)
	return a
}

// Next is the record whose turn it is, by weight.
func (a *Answer) Next() *Record { return &a.Records[a.wheel.At(a.turns.Add(1)-1)] }

// An Error is why a name has no addresses.
type Error struct {
	Name     string
	Reason   string
	NotFound bool // the name does not exist, or has no records
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("dns: %s: %s", e.Name, e.Reason) }
