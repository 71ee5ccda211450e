// Package balancer chooses a target: which of an upstream's addresses gets the
// next try of a request.
package balancer

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// A Picker is one way to choose among the targets of an upstream; a Ring is
// the one that there is, Kong's round-robin.
//
// Pick answers the target for the next try of a request and notes it in tried.
// It avoids the targets noted there until all were tried, then it starts over.
// The answer is false if the upstream has no target with a weight. A Picker is
// immutable: what it must remember lives in the State.
type Picker interface {
	Pick(s *State, tried *RetrySet) (*Target, bool)
}

// A Target is an address that requests can go to. It is immutable, and within
// one Ring there is one pointer for each.
type Target struct {
	ID      uuid.UUID
	Host    string // name or address; IPv6 without brackets
	Port    int
	Address string // Host and Port as net.Dial reads them
	Weight  int    // 0 to 65535; a Ring holds no target of weight 0
}

// NewTarget reads an entity's "host:port".
func NewTarget(t *entity.Target) (*Target, error) {
	host, port, err := net.SplitHostPort(t.Target)
	if err != nil {
		return nil, fmt.Errorf("target %q: expected host:port: %v", t.Target, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || host == "" {
		return nil, fmt.Errorf("target %q: expected a host, and a port from 0 to 65535", t.Target)
	}
	if t.Weight < 0 || t.Weight > 65535 {
		return nil, fmt.Errorf("target %q: weight %d: expected 0 to 65535", t.Target, t.Weight)
	}
	return &Target{ID: t.ID, Host: host, Port: int(n), Address: net.JoinHostPort(host, port), Weight: t.Weight}, nil
}

// A Ring is weighted round-robin over the targets of one upstream.
//
// In Kong a ring is a wheel with weight/gcd entries for each target, shuffled,
// and a pointer that walks it. This one is that wheel without its memory:
// position n stands for entry n·stride mod size, where the stride shares no
// factor with the size and is near its golden section. So each cycle of size
// positions visits every entry once, the share of each target is exact, and
// the turns of a heavy target are spread evenly between those of the others.
type Ring struct {
	targets    []*Target // weight above 0, by id
	ends       []uint64  // ends[i]: the first entry behind those of targets[i]
	size       uint64    // entries in all
	stride     uint64
	unhonoured []string
}

// NewRing builds the ring of an upstream from its targets, in any order.
// Targets of weight 0 get no traffic. The error names the targets that had to
// be left out; the ring serves the others, and is never nil.
func NewRing(u *entity.Upstream, targets []*entity.Target) (*Ring, error) {
	r := &Ring{unhonoured: unhonoured(u)}
	var errs []error
	var gcd uint64
	for _, e := range targets {
		t, err := NewTarget(e)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if t.Weight > 0 {
			r.targets = append(r.targets, t)
			gcd = divisor(gcd, uint64(t.Weight))
		}
	}
	slices.SortFunc(r.targets, func(a, b *Target) int { return cmp.Compare(string(a.ID[:]), string(b.ID[:])) })
	r.ends = make([]uint64, len(r.targets))
	for i, t := range r.targets {
		r.size += uint64(t.Weight) / gcd
		r.ends[i] = r.size
	}
	r.stride = strideOf(r.size)
	return r, errors.Join(errs...)
}

// Pick implements Picker. It does not allocate for the first eight tries of a
// request, and is safe for concurrent use.
func (r *Ring) Pick(s *State, tried *RetrySet) (*Target, bool) {
	if r.size == 0 {
		return nil, false
	}
	if tried.len() == 0 {
		t := r.at(r.entry(s.first.Add(1) - 1))
		tried.add(t)
		return t, true
	}
	rest := uint64(0)
	for i, t := range r.targets {
		if !tried.has(t) {
			rest += r.share(i)
		}
	}
	if rest == 0 { // all were tried: once more from the start
		tried.reset()
		rest = r.size
	}
	// Retries have a position of their own. Were they to continue with the
	// position that hit a dead target, its whole share would fall on the one
	// neighbour that the stride leads to. Multiples of 2^64/φ are spread evenly
	// over all of uint64, and so over any number of entries.
	entry, _ := bits.Mul64(s.again.Add(1)*0x9e3779b97f4a7c15, rest)
	for i, t := range r.targets {
		if tried.has(t) {
			continue
		}
		if share := r.share(i); entry >= share {
			entry -= share
			continue
		}
		tried.add(t)
		return t, true
	}
	panic("balancer: an entry beyond the ring")
}

// Targets lists the targets that get traffic. The slice must not be changed.
func (r *Ring) Targets() []*Target { return r.targets }

// Unhonoured names the wishes of the upstream that this version does not
// fulfil, such as "algorithm=least-connections" or "healthchecks.active". It
// is empty for an upstream that gets all it asks for.
func (r *Ring) Unhonoured() []string { return r.unhonoured }

// entry turns a position into an entry of the wheel.
func (r *Ring) entry(n uint64) uint64 {
	hi, lo := bits.Mul64(n%r.size, r.stride)
	return bits.Rem64(hi, lo, r.size)
}

// at is the target that owns an entry.
func (r *Ring) at(entry uint64) *Target {
	i, found := slices.BinarySearch(r.ends, entry)
	if found {
		i++
	}
	return r.targets[i]
}

// share is the number of entries of a target.
func (r *Ring) share(i int) uint64 {
	if i == 0 {
		return r.ends[0]
	}
	return r.ends[i] - r.ends[i-1]
}

// unhonoured lists what an upstream asks for beyond round-robin.
func unhonoured(u *entity.Upstream) []string {
	var w []string
	if u.Algorithm != "" && u.Algorithm != "round-robin" {
		w = append(w, "algorithm="+u.Algorithm)
	}
	if u.HashOn != "" && u.HashOn != "none" {
		w = append(w, "hash_on="+u.HashOn)
	}
	if u.HashFallback != "" && u.HashFallback != "none" {
		w = append(w, "hash_fallback="+u.HashFallback)
	}
	if a := &u.Healthchecks.Active; a.Healthy.Interval != 0 || a.Unhealthy.Interval != 0 {
		w = append(w, "healthchecks.active")
	}
	// Kong enables passive checks by these three alone.
	if p := &u.Healthchecks.Passive.Unhealthy; p.TCPFailures != 0 || p.Timeouts != 0 || p.HTTPFailures != 0 {
		w = append(w, "healthchecks.passive")
	}
	if u.UseSRVName {
		w = append(w, "use_srv_name")
	}
	return w
}

// strideOf is the step nearest above size/φ that visits every entry of the
// wheel.
func strideOf(size uint64) uint64 {
	if size < 3 {
		return 1
	}
	s := uint64(float64(size) * 0.6180339887498949)
	for divisor(s, size) != 1 {
		s++
	}
	return s
}

// divisor is the greatest common divisor; that of 0 and b is b.
func divisor(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// Interface guards
var _ Picker = (*Ring)(nil)
