package http1

import (
	"errors"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A clock is read seldom and told often: what a connection needs to know of
// time is not worth a system call, a formatted date or a timer for each request.
type clock struct {
	begin time.Time
	tick  int64
	now   atomic.Int64 // nanoseconds since begin
	date  atomic.Pointer[string]

	mu     sync.Mutex
	second int64 // protected by mu; that date tells
}

func (c *clock) start(tick time.Duration) {
	if c.begin.IsZero() {
		c.begin = time.Now()
	}
	c.tick = int64(tick)
	c.advance()
}

// advance reads the time.
func (c *clock) advance() int64 {
	t := time.Now()
	now := int64(t.Sub(c.begin)) + 1 // never zero
	c.now.Store(now)
	c.mu.Lock()
	defer c.mu.Unlock()
	if second := t.Unix(); second != c.second {
		c.second = second
		date := "Date: " + t.UTC().Format(http.TimeFormat) + "\r\n"
		c.date.Store(&date)
	}
	return now
}

// after is when a duration from now will certainly be over; zero for none.
func (c *clock) after(d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return c.now.Load() + int64(d) + c.tick
}

// expired stands in for the time of a connection whose time is over.
const expired = -1

// longAgo as a deadline wakes whoever reads or writes.
var longAgo = time.Unix(1, 0)

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}
