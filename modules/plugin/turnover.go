package plugin

// A Turnover is what one change of the world loaded and took out of use.
type Turnover struct {
	built, dropped []*module
	from, to       *Epoch
	settled        bool
}

// NewTurnover begins a change in the epoch given; nil: it is the first.
func NewTurnover(from *Epoch) *Turnover { return &Turnover{from: from} }

// Built notes an instance whose module was loaded for the change.
func (t *Turnover) Built(in *Instance) { t.built = append(t.built, in.module) }

// Replaced notes that an instance gave way to another; nil: to none.
func (t *Turnover) Replaced(old, now *Instance) {
	if old != nil && old.close != nil && (now == nil || now.module != old.module) {
		t.dropped = append(t.dropped, old.module)
	}
}

// Epoch answers the epoch after the change.
func (t *Turnover) Epoch() *Epoch {
	switch {
	case t.from == nil:
		t.to = NewEpoch()
	case len(t.dropped) > 0:
		t.to = new(Epoch)
	default:
		t.to = t.from
	}
	return t.to
}

// Keep is called when requests see the change: what it took out of use is
// released when the last request that began before is over.
func (t *Turnover) Keep() {
	if t.settled {
		return
	}
	t.settled = true
	if t.from != nil && t.to != t.from {
		t.from.end(t.dropped, t.to)
	}
	t.dropped, t.built = nil, nil
}

// Undo releases what was loaded for a change that nobody will see. After Keep it
// does nothing.
func (t *Turnover) Undo() {
	if t.settled {
		return
	}
	t.settled = true
	for _, m := range t.built {
		m.close()
	}
}

// End closes the last epoch: the instances are released when the last request
// is over.
func (e *Epoch) End(all func(func(*Instance) bool)) {
	var doomed []*module
	for in := range all {
		if in.close != nil {
			doomed = append(doomed, in.module)
		}
	}
	e.end(doomed, nil)
}
