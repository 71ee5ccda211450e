// Package wheel lets choices take turns by weight.
package wheel

import (
	"math/bits"
	"sort"
)

// A Wheel is weighted round-robin.
//
// In Kong a wheel has weight/gcd entries for each choice, shuffled, and a
// pointer that walks it. Here a small wheel is a list of entries in nginx's
// smooth order. A large one is a wheel without its memory: position n stands for
// entry n·stride mod size, where the stride shares no factor with the size and
// is near its golden section. In both each cycle of size positions visits every
// entry once, the share of each choice is exact, and the turns of a heavy choice
// are spread between those of the others.
//
// A Wheel is immutable. The zero value has no choices.
type Wheel struct {
	ends   []uint64 // ends[i]: the first entry behind those of choice i
	size   uint64   // entries in all
	stride uint64
	order  []uint16 // of a small wheel: the choice at each position
}

// New makes the wheel of choices with these weights, which must not be
// negative. A choice of weight 0 never has its turn.
func New(weights []int) Wheel {
	var gcd uint64
	for _, w := range weights {
		gcd = divisor(gcd, uint64(w))
	}
	if gcd == 0 {
		return Wheel{}
	}
	w := Wheel{ends: make([]uint64, len(weights))}
	for i, weight := range weights {
		w.size += uint64(weight) / gcd
		w.ends[i] = w.size
	}
	w.stride = strideOf(w.size)
	if w.size <= small && len(weights) <= small {
		w.order = w.smooth()
	}
	return w
}

// small is up to which size the order is worked out.
const small = 256

// smooth is the order in which a choice that has waited for the largest part of
// its share comes next (nginx, ngx_http_upstream_round_robin.c).
func (w *Wheel) smooth() []uint16 {
	order := make([]uint16, w.size)
	credit := make([]int64, len(w.ends))
	for n := range order {
		best := -1
		for i := range credit {
			share := int64(w.Share(i))
			credit[i] += share
			if share > 0 && (best < 0 || credit[i] > credit[best]) {
				best = i
			}
		}
		credit[best] -= int64(w.size)
		order[n] = uint16(best)
	}
	return order
}

// Size is the number of turns after which all begins anew; 0 if there is no
// choice.
func (w *Wheel) Size() uint64 { return w.size }

// At is the choice whose turn is at position n. The wheel must not be empty.
func (w *Wheel) At(n uint64) int {
	if w.order != nil {
		return int(w.order[n%w.size])
	}
	entry := w.entry(n)
	return sort.Search(len(w.ends), func(i int) bool { return w.ends[i] > entry })
}

// Share is the number of turns that a choice has of Size.
func (w *Wheel) Share(i int) uint64 {
	if i == 0 {
		return w.ends[0]
	}
	return w.ends[i] - w.ends[i-1]
}

// Spread turns a counter into a number below n. Successive values of the
// counter are spread evenly over the numbers, whatever n is: multiples of
// 2^64/φ are spread evenly over all of uint64.
func Spread(counter, n uint64) uint64 {
	i, _ := bits.Mul64(counter*0x9e3779b97f4a7c15, n)
	return i
}

// entry turns a position into an entry of the wheel.
func (w *Wheel) entry(n uint64) uint64 {
	hi, lo := bits.Mul64(n%w.size, w.stride)
	return bits.Rem64(hi, lo, w.size)
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
