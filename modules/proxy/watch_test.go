package proxy

import (
	"testing"
	"time"
)

func TestWatch_firstLookMayComeBeforeArmReturns(t *testing.T) {
	for range 2000 {
		var w watch
		w.arm(func(error) {}, [steps]time.Duration{1, 1, 1, 1})
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
