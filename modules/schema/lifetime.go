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
// that was read says with a Moment that it stays. So does a declarative
// configuration, with a number that is too large for a lifetime: Kong knows only
// moments there (kong/db/strategies/off/init.lua, process_ttl_field).
func (p *processor) moment(f *Field, v any) (any, any) {
	if _, is := v.(Moment); is {
		return v, nil
	}
	if n, ok := integer(v); ok && p.env.Declarative && len(f.Between) == 2 && float64(n) > f.Between[1] {
		return Moment(n), nil
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

// refusal is what is wrong with an object. To the Admin API a lifetime is an
// option, and what it says of one hides the rest (kong/db/dao/init.lua,
// validate_options_value).
func (p *processor) refusal(t *Table, errs Object) *Error {
	if f := t.Lifetime(); f != nil && !p.env.Declarative {
		if message, ok := errs[f.Name].(string); ok {
			return InvalidOptions(f.Name, message)
		}
	}
	return Violation(errs)
}

// moment writes the value of such a field: to stores and exports as it is, to
// clients of the Admin API what is left.
func (w *writer) moment(b []byte, m Moment) []byte {
	if w.moments {
		return appendAny(b, int64(m))
	}
	return appendAny(b, m.Left(time.Now()))
}
