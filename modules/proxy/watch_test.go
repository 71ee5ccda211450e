package proxy

import (
	"testing"
	"time"
)

// A round may be past a try that ends meanwhile, and a try may be taken out twice.
func TestRound_forgetsTries(t *testing.T) {
	var tries [5]*try
	for i := range tries {
		tries[i] = &try{}
		rounds.add(tries[i])
	}
	for _, i := range []int{2, 0, 4, 4, 1, 3} {
		rounds.remove(tries[i])
	}
	rounds.mu.Lock()
	defer rounds.mu.Unlock()
	for _, x := range tries {
		for at := rounds.first; at != nil; at = at.next {
			if at == x {
				t.Error("a try is still in the round")
			}
		}
	}
}

func TestWatch_findsTheStepThatIsLate(t *testing.T) {
	w := watch{limits: [steps]time.Duration{time.Second, 2 * time.Second, time.Minute, time.Minute}}
	now := rounds.now.Load() // before it begins: the clock goes on by itself
	w.begin(reading)
	w.begin(writing)
	for _, tt := range []struct {
		after time.Duration
		want  error
	}{{0, nil}, {time.Second, nil}, {1500 * time.Millisecond, errReadTimeout}} {
		if got := w.late(now + int64(tt.after)); got != tt.want {
			t.Errorf("after %v: got %v, want %v", tt.after, got, tt.want)
		}
	}
	w.finish(reading)
	if got := w.late(now + int64(3*time.Second)); got != errWriteTimeout {
		t.Errorf("got %v", got)
	}
}
