package wheel

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestWheel_isExact turns wheels of any weights, and counts.
func TestWheel_isExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(0, 60), 0, 8).Draw(t, "weights")
		factor := rapid.IntRange(1, 1000).Draw(t, "factor")
		scaled := slices.Clone(weights)
		total := 0
		for i := range scaled {
			scaled[i] *= factor
			total += scaled[i]
		}
		w := New(scaled)
		if total == 0 {
			if w.Size() != 0 {
				t.Fatalf("a wheel without choices has %d entries", w.Size())
			}
			return
		}
		got := make([]int, len(weights))
		start := rapid.Uint64().Draw(t, "start")
		if start+w.Size() < start {
			start = 0 // the cycle at which the counter overflows is no whole one
		}
		for n := range w.Size() {
			got[w.At(start+n)]++
		}
		for i := range weights {
			if got[i]*total != scaled[i]*int(w.Size()) || uint64(got[i]) != w.Share(i) {
				t.Fatalf("choice %d of %v had %d of %d turns, its share is said to be %d", i, scaled, got[i], w.Size(), w.Share(i))
			}
		}
	})
}

// The turns of a heavy choice do not come in a row.
func TestWheel_spreadsTheTurns(t *testing.T) {
	for _, weights := range [][]int{{3, 1, 1, 1}, {2, 1, 1}, {50, 25, 25}, {500, 250, 249, 1}, {65535, 32768, 32767}} {
		w := New(weights) // the first has half of the turns
		row := 0
		for n := range 2 * w.Size() {
			if w.At(n) == 0 {
				row++
			} else {
				row = 0
			}
			if row > 2 {
				t.Errorf("%v: the heavy choice has its turn %d times in a row, up to position %d", weights, row, n)
				break
			}
		}
	}
}

func TestSpread_isEven(t *testing.T) {
	for _, n := range []uint64{1, 2, 3, 7, 100} {
		got := make([]int, n)
		for i := range 100 * n {
			got[Spread(i, n)]++
		}
		for number, count := range got {
			if count < 97 || count > 103 {
				t.Errorf("of 0 to %d, %d came %d times, want about 100", n-1, number, count)
			}
		}
	}
}

func BenchmarkAt(b *testing.B) {
	weights := make([]int, 100)
	for i := range weights {
		weights[i] = 100 + i
	}
	w := New(weights)
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		n++
		w.At(n)
	}
}
