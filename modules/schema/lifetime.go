package schema

import (
	"math"
	"time"
)

// A Moment is when a row is gone, in seconds since the epoch: the value of a field
// with Lifetime.
type Moment int64

// Left are the whole seconds until then, at least 1: 0 is for what stays.
func (m Moment) Left(now time.Time) int64 {
	return max(1, int64(time.Unix(int64(m), 0).Sub(now)/time.Second))
}

// moment is what a client's value of such a field stands for. Whoever writes a row
// that was read says with a Moment that it stays.
func (p *processor) moment(f *Field, v any) (any, any) {
	if _, is := v.(Moment); is {
		return v, nil
	}
	v, err := p.value(f, v)
	n, ok := v.(int64)
	switch {
	case err != nil || !ok:
		return v, err
	case n == 0:
		return nil, nil
	}
	return Moment(int64(math.Ceil(p.env.Now)) + n), nil // not sooner than was asked for
}

// moment writes the value of such a field: to stores as it is, to clients what is
// left.
func (w *writer) moment(b []byte, m Moment) []byte {
	if w.moments {
		return appendAny(b, int64(m))
	}
	return appendAny(b, m.Left(time.Now()))
}
