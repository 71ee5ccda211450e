package node

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/store"
)

// Rows whose time is over are out of sight at once. They leave the store in the
// background, and at the beginning of each write, so that their unique keys are
// free again.

const (
	// atOnce is how many rows of a table leave the store in one write.
	atOnce = 1000

	// buryEvery is how long it takes to the next such write, at least.
	buryEvery = time.Second

	// buryAfter is the longest time to the next look: clocks may be set.
	buryAfter = time.Hour

	// buryAgain is the time to the next one after the store has failed.
	buryAgain = 10 * time.Second
)

var errEnded = errors.New("the world has ended")

// wake sees to it that the rows whose time is over are buried. The caller may
// write.
func (w *world) wake(failed bool) {
	if w.burial != nil {
		w.burial.Stop()
		w.burial = nil
	}
	at, some := w.image.NextEnd()
	if !some || w.ended {
		return
	}
	after := min(max(time.Until(at), buryEvery), buryAfter)
	if failed {
		after = buryAgain
	}
	w.burial = time.AfterFunc(after, w.bury)
}

func (w *world) bury() {
	err := w.write(context.Background(), write{fn: func(*store.Tx) error {
		if w.ended {
			return errEnded
		}
		return nil
	}})
	if err == nil || errors.Is(err, errEnded) {
		return
	}
	w.writer <- struct{}{}
	defer func() { <-w.writer }()
	if n := len(w.nodes); n > 0 {
		w.nodes[n-1].logger.Error("rows whose time is over could not be deleted", zap.Error(err))
	}
	w.wake(true)
}

// end stops that.
func (w *world) end() {
	w.writer <- struct{}{}
	defer func() { <-w.writer }()
	w.ended = true
	w.wake(false)
}
