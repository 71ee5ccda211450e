package health

import (
	"time"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// rules are the health checks of an upstream, compiled. They are immutable.
type rules struct {
	upstream    string // its name
	active      judge
	passive     judge
	intervals   [2]time.Duration // between probes of available targets, and of others; 0: none
	concurrency int              // probes at the same time
	probe       *probe
}

// A judge says what counts as what, and how often it takes.
type judge struct {
	limits    [4]int // by kind; 0: is not counted
	healthy   statuses
	unhealthy statuses
}

// Enabled reports whether an upstream has health checks. These values enable
// them in Kong; a limit for successes of traffic alone does not.
func Enabled(u *entity.Upstream) bool {
	active, passive := &u.Healthchecks.Active, &u.Healthchecks.Passive.Unhealthy
	return active.Healthy.Interval != 0 || active.Unhealthy.Interval != 0 ||
		passive.TCPFailures != 0 || passive.Timeouts != 0 || passive.HTTPFailures != 0
}

func newRules(p *balancer.Plan) *rules {
	active, passive := &p.Upstream.Healthchecks.Active, &p.Upstream.Healthchecks.Passive
	return &rules{
		upstream:    p.Upstream.Name,
		active:      newJudge(&active.Healthy, &active.Unhealthy),
		passive:     newJudge(&passive.Healthy, &passive.Unhealthy),
		intervals:   [2]time.Duration{seconds(active.Healthy.Interval), seconds(active.Unhealthy.Interval)},
		concurrency: max(active.Concurrency, 1),
		probe:       newProbe(p),
	}
}

// interval is the time between two probes of a target that is available, or is
// not.
func (r *rules) interval(available bool) time.Duration {
	if available {
		return r.intervals[0]
	}
	return r.intervals[1]
}

func newJudge(h *entity.Healthy, u *entity.Unhealthy) judge {
	return judge{
		limits:    [4]int{h.Successes, u.HTTPFailures, u.TCPFailures, u.Timeouts},
		healthy:   newStatuses(h.HTTPStatuses),
		unhealthy: newStatuses(u.HTTPStatuses),
	}
}

// counts reports whether anything is.
func (j *judge) counts() bool { return j.limits != [4]int{} }

// status judges a response. Most statuses may be in no list: they say nothing.
// What is no status, 0, is a failure.
func (j *judge) status(code int) (Kind, bool) {
	switch {
	case j.healthy.has(code):
		return Success, true
	case code == 0 || j.unhealthy.has(code):
		return HTTPFailure, true
	}
	return 0, false
}

// outcome judges a try of the traffic. A 504 of the target is a timeout, as in
// Kong, which cannot tell it from one of its own.
func (j *judge) outcome(o balancer.Outcome) (Kind, bool) {
	switch o.Event {
	case balancer.Connected:
		return Success, true
	case balancer.ConnectFailed:
		return TCPFailure, true
	case balancer.TimedOut:
		return Timeout, true
	}
	if o.Status == 504 {
		return Timeout, true
	}
	return j.status(o.Status)
}

// statuses is a set of numbers below 1024.
type statuses [16]uint64

func newStatuses(list []int) (s statuses) {
	for _, code := range list {
		if uint(code) < 1024 {
			s[code/64] |= 1 << (code % 64)
		}
	}
	return s
}

func (s *statuses) has(code int) bool {
	return uint(code) < 1024 && s[code/64]&(1<<(code%64)) != 0
}

func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
