package proxy

import (
	"testing"
	"time"
)

func TestWatch_firstLookMayComeBeforeArmReturns(t *testing.T) {
	for range 100 {
		var w watch
		w.ends[reading].Store(int64(100 * time.Microsecond)) // some looks later
		ended := make(chan error)
		w.arm(func(err error) { ended <- err }, [steps]time.Duration{1, 1, 1, 1})
		if err := <-ended; err != errReadTimeout {
			t.Errorf("got %v", err)
		}
		w.disarm()
	}
}

func TestWatch_lookThatIsUnderWayDoesNotOutliveDisarm(t *testing.T) {
	var w watch
	w.arm(func(error) {}, [steps]time.Duration{time.Hour, time.Hour, time.Hour, time.Hour})
	w.disarm()
	w.look() // began before, and ends after
	if w.timer.Stop() {
		t.Error("the watch goes on for ever")
	}
}
