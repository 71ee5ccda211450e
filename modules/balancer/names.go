package balancer

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/dns"
)

// When names are looked up again (kong/runloop/balancer/targets.lua). Where no
// server knew, Kong waits for the 30 seconds too; here the pauses grow up to
// them, so that a server that starts late does no harm.
const (
	afterExpiry   = 500 * time.Millisecond // and no sooner than this after an answer
	afterFailure  = time.Second            // at first
	afterNotFound = 30 * time.Second
)

// A finding is what became of looking a name up.
type finding struct {
	answer *dns.Answer // nil: none
	err    error       // why
}

// A result is a finding on its way to the pool.
type result struct {
	name string
	finding
}

// askNames starts to look up the names of the plan, and ends what was going on
// for an earlier one. What is known stays until there is something new. The
// caller holds build.
func (p *Pool) askNames() {
	p.stopAsking()
	var names []string
	known := make(map[string]*finding)
	for _, t := range p.plan.Targets {
		if t.IP.IsValid() || t.Weight == 0 || known[t.Host] != nil {
			continue
		}
		f := p.names[t.Host]
		if f == nil {
			f = new(finding)
		}
		known[t.Host] = f
		names = append(names, t.Host)
	}
	p.names = known
	p.asked = make(chan struct{})
	if len(names) == 0 {
		close(p.asked)
		return
	}
	ctx, cancel := context.WithCancel(p.pools.ctx)
	p.stop = cancel
	a := &asker{pool: p, ctx: ctx, due: make(map[string]time.Time), failures: make(map[string]int), results: make(chan result, len(names)), asked: p.asked}
	for _, name := range names {
		a.due[name] = time.Time{}
	}
	p.pools.tasks.Go(a.run)
}

func (p *Pool) stopAsking() {
	if p.stop != nil {
		p.stop()
		p.stop = nil
	}
}

// ask starts over with the names, because someone else is to be asked.
func (p *Pool) ask() {
	p.build.Lock()
	defer p.build.Unlock()
	if p.plan != nil {
		p.askNames()
		p.rebuild()
	}
}

// An asker looks the names of a pool up, again and again. It belongs to one
// goroutine, which ends with ctx.
type asker struct {
	pool     *Pool
	ctx      context.Context
	due      map[string]time.Time // of the names that nobody is looking up
	failures map[string]int       // of names, in a row
	underway int
	results  chan result
	asked    chan struct{}
	first    bool // each name had an answer, and asked is closed
}

func (a *asker) run() {
	defer func() { // nothing is left that could write to results
		for ; a.underway > 0; a.underway-- {
			<-a.results
		}
		if !a.first {
			close(a.asked)
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-timer.C:
			a.start()
		case r := <-a.results:
			a.take(r)
		}
		if next, ok := a.next(); ok {
			timer.Reset(time.Until(next))
		}
	}
}

// next is when the next lookup is due.
func (a *asker) next() (at time.Time, ok bool) {
	for _, due := range a.due {
		if !ok || due.Before(at) {
			at, ok = due, true
		}
	}
	return at, ok
}

// start looks up what is due.
func (a *asker) start() {
	resolver, _, _ := a.pool.pools.means()
	now := time.Now()
	for name, due := range a.due {
		if due.After(now) {
			continue
		}
		delete(a.due, name)
		a.underway++
		a.pool.pools.tasks.Go(func() {
			r := result{name: name}
			select {
			case a.pool.pools.slots <- struct{}{}:
				r.answer, r.err = resolver.Lookup(a.ctx, name)
				<-a.pool.pools.slots
			case <-a.ctx.Done():
				r.err = a.ctx.Err()
			}
			a.results <- r
		})
	}
}

// take hands the result and those that have come meanwhile to the pool.
func (a *asker) take(r result) {
	batch := []result{r}
	for more := true; more; {
		select {
		case r := <-a.results:
			batch = append(batch, r)
		default:
			more = false
		}
	}
	a.underway -= len(batch)
	now := time.Now()
	for _, r := range batch {
		if r.err != nil {
			a.due[r.name] = now.Add(a.pause(r))
			continue
		}
		delete(a.failures, r.name)
		switch {
		case r.answer.Expires.After(now):
			a.due[r.name] = r.answer.Expires.Add(afterExpiry)
		default: // it was stale, and is being renewed
			a.due[r.name] = now.Add(afterExpiry)
		}
	}
	a.pool.learn(a.ctx, batch)
	if !a.first && a.underway == 0 {
		a.first = true
		close(a.asked)
	}
}

// pause is how long to wait after a failure.
func (a *asker) pause(r result) time.Duration {
	var failed *dns.Error
	if errors.As(r.err, &failed) && failed.NotFound {
		return afterNotFound
	}
	n := min(a.failures[r.name], 5)
	a.failures[r.name] = n + 1
	return min(afterFailure<<n, afterNotFound)
}

// learn takes results into account, unless they are for a plan that is past.
func (p *Pool) learn(ctx context.Context, batch []result) {
	p.build.Lock()
	defer p.build.Unlock()
	if ctx.Err() != nil {
		return
	}
	_, logger, _ := p.pools.means()
	changed := false
	for _, r := range batch {
		before := p.names[r.name]
		p.names[r.name] = &r.finding
		switch {
		case r.err != nil && (before.err == nil || before.err.Error() != r.err.Error()):
			logger.Warn("name of a target does not resolve", zap.String("upstream", p.plan.Upstream.Name),
				zap.String("target", r.name), zap.Error(r.err))
		case r.err == nil && before.err != nil:
			logger.Info("name of a target resolves again", zap.String("upstream", p.plan.Upstream.Name),
				zap.String("target", r.name))
		}
		changed = changed || !same(before.answer, r.answer)
	}
	if changed {
		p.rebuild()
	}
}

// same reports whether two answers lead to the same addresses. The order of
// records, which servers turn, does not matter.
func same(a, b *dns.Answer) bool {
	if a == nil || b == nil {
		return a == b
	}
	if a == b {
		return true
	}
	if a.Type != b.Type || len(a.Records) != len(b.Records) {
		return false
	}
	for i := range a.Records {
		if !slices.Contains(b.Records, a.Records[i]) || !slices.Contains(a.Records, b.Records[i]) {
			return false
		}
	}
	return true
}
