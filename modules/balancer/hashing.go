package balancer

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// hashing is consistent hashing after Ketama, as Kong does it
// (kong/runloop/balancer/consistent_hashing.lua): addresses have points on a ring
// of slots, about 160 each, more or fewer by weight. A key belongs to the first
// point at its slot or below it. So an address that comes or goes moves the keys
// of its own points, and no others.
//
// In Kong the addresses that come last in order get few points or none when the
// slots are taken. Here all have fewer, so that half of the slots stay empty.
type hashing struct {
	addresses []*Address
	points    []*Address // by slot, lowest first
	at        []int32    // for each slot: the point at it, or the first below it
}

const (
	fewestSlots   = 1000
	pointsPerHost = 160 // of a target, if all have the same weight
)

func newHashing(p *Plan, addresses []*Address) picker {
	slots := make([]*Address, max(p.Upstream.Slots, fewestSlots))
	total, targets := 0, 0
	for _, a := range addresses {
		total += a.Weight
	}
	for i, a := range addresses { // those of a target stand together
		if i == 0 || a.Target != addresses[i-1].Target {
			targets++
		}
	}
	perHost := min(pointsPerHost, max(1, len(slots)/2/targets))
	points := 0
	// In this order, whichever the addresses came in: where two points meet, the
	// first one stays.
	for _, a := range slices.SortedFunc(slices.Values(addresses), byName) {
		points += place(slots, len(slots)-points, a, max(1, a.Weight*targets*perHost/total))
	}

	h := &hashing{addresses: addresses, points: make([]*Address, 0, points), at: make([]int32, len(slots))}
	for slot, a := range slots {
		if a != nil {
			h.points = append(h.points, a)
		}
		h.at[slot] = int32(len(h.points) - 1)
	}
	for slot := 0; h.at[slot] < 0; slot++ { // below the lowest point is the highest
		h.at[slot] = int32(len(h.points) - 1)
	}
	return h
}

// byName is the order in which addresses get their points.
func byName(a, b *Address) int {
	return cmp.Or(
		strings.Compare(a.Target.Host, b.Target.Host),
		cmp.Compare(a.Target.Port, b.Target.Port),
		strings.Compare(a.Text, b.Text))
}

// place gives an address its points, as far as there are empty slots, and
// answers how many it got. For each slot that is taken it tries one more.
func place(slots []*Address, empty int, a *Address, points int) (got int) {
	name := append([]byte(a.Addr.Addr().String()), "::"...)
	name = strconv.AppendUint(name, uint64(a.Addr.Port()), 10)
	name = append(name, ' ')
	for i := 1; got < min(points, empty) && i <= len(slots); i++ {
		slot := xxHash32(string(strconv.AppendInt(name, int64(i), 10))) % uint32(len(slots))
		if slots[slot] == nil {
			slots[slot] = a
			got++
		}
	}
	return got
}

func (h *hashing) pick(_ *turns, key uint32, tried *RetrySet) *Address {
	i := int(h.at[key%uint32(len(h.at))])
	for range h.points {
		if a := h.points[i]; a.free(tried) {
			return a
		}
		if i--; i < 0 {
			i = len(h.points) - 1
		}
	}
	return firstFree(h.addresses, tried) // where addresses outnumber the slots, some have no point
}
