package plugin

import (
	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// A run is what a chain remembers of one request or session: which instances
// act on it, and what they keep for their later phases.
type run struct {
	globals *Globals
	chosen  []*Instance // by step; nil: none
	slots   []any       // by step
	at      int         // the step that is running
	turns   int         // positions of the phase access that had their turn
}

func (r *run) begin(c *Chain) {
	n := len(c.steps)
	r.turns = 0
	if cap(r.chosen) < n {
		r.chosen, r.slots = make([]*Instance, n), make([]any, n)
		return
	}
	r.chosen, r.slots = r.chosen[:n], r.slots[:n]
}

// choose settles which instance of a step acts.
func (r *run) choose(c *Chain, i int, consumer *entity.Consumer) *Instance {
	var id *uuid.UUID
	if consumer != nil {
		id = &consumer.ID
	}
	in := c.steps[i].choose(r.globals, id)
	r.chosen[i] = in
	return in
}

// rest settles it for all that did not have their turn.
func (r *run) rest(c *Chain, from int, consumer *entity.Consumer) {
	for r.turns = len(c.steps); from < len(c.steps); from++ {
		i := c.turn(from)
		if r.chosen[i] == nil {
			r.choose(c, i, consumer)
		}
	}
}

func (r *run) reset() {
	clear(r.chosen)
	clear(r.slots)
	*r = run{chosen: r.chosen[:0], slots: r.slots[:0]}
}

// turn is the step that comes at a position of the phase access.
func (c *Chain) turn(position int) int {
	if c.order == nil {
		return position
	}
	return c.order[position]
}
