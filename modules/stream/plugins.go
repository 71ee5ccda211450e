package stream

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/snapshot"
)

// acting is the part of a flow that those have on which plugins act.
type acting struct {
	session *plugin.Session // nil: none does
	chain   *plugin.Chain
	epoch   *plugin.Epoch // that was entered
	tls     *tls.ConnectionState
	tried   []plugin.Try
}

// find settles the route with the world as it is now, and answers what acts on its flows, or on those
// without one; nil: nothing. The flow keeps the plugins alive until it leaves.
func (f *flow) find() *plugin.Chain {
	for {
		now := f.engine.node.View()
		if now == f.view { // the configuration is at its end
			f.match = snapshot.Match{}
			return nil
		}
		f.view, f.snapshot = now, now.Snapshot
		f.match, _ = f.snapshot.MatchStream(&f.facts)
		chain := f.snapshot.Globals().Unrouted()
		if f.match.Route != nil {
			chain = f.snapshot.StreamChain(&f.match)
		}
		if chain == nil {
			return nil
		}
		if e := f.snapshot.Epoch(); e.Enter() {
			f.epoch = e
			return chain
		}
	}
}

// expose fills what plugins see of the flow.
func (f *flow) expose(c *plugin.Chain) *plugin.Session {
	s := &plugin.Session{
		ID:          fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64()),
		Protocol:    f.facts.Protocol,
		SNI:         f.facts.SNI,
		Client:      f.facts.Source,
		Destination: f.facts.Destination,
		Start:       f.start,
		Directory:   f.view.Image,
		Logger:      f.engine.logger,
		TLS:         f.tls,
	}
	if f.match.Route != nil {
		s.Route = f.match.Route.Route
		if s.Protocol == "tls" && f.passesThrough() {
			s.Protocol = "tls_passthrough"
		}
	}
	if f.match.Service != nil {
		s.Service = f.match.Service.Service
	}
	f.session, f.chain = s, c
	return s
}

// preread asks the plugins whether the flow goes on.
func (f *flow) preread(c *plugin.Chain) (fail *failure) {
	s := f.expose(c)
	defer func() {
		if p := recover(); p != nil {
			fail = broken(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	return refusal(c.Preread(s))
}

// unrouted lets the global plugins log a flow that has no route.
func (f *flow) unrouted(c *plugin.Chain) {
	if c != nil {
		c.SkipPreread(f.expose(c))
	}
}

// refusal is the failure that an error of a plugin is, or nil.
func refusal(err error) *failure {
	var a *plugin.Answer
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &a):
		return broken(err)
	case a.Status < http.StatusBadRequest:
		return &failure{reason: "plugin", status: a.Status, alert: alertAccessDenied, text: "connection was answered by a plugin", err: err, answer: a.Body, client: true}
	}
	if a.Message != "" {
		err = errors.New(a.Message)
	}
	return &failure{reason: "plugin", status: a.Status, alert: alertAccessDenied, text: "connection was refused by a plugin", err: err, client: true}
}

func broken(err error) *failure {
	return &failure{reason: "plugin_error", status: statusError, alert: alertInternalError, text: "plugin failed", err: err}
}

// note keeps a try for the phase log.
func (f *flow) note(status int) {
	if f.session == nil {
		return
	}
	t := plugin.Try{Address: f.place.address, Start: f.began, Duration: time.Since(f.began)}
	if status != 0 {
		t.State, t.Code = "failed", status
	}
	f.tried = append(f.tried, t)
}

// leave runs the phase log and gives back what acting on the flow took.
func (f *flow) leave() {
	if f.session != nil {
		f.logSession()
	}
	if f.epoch != nil {
		f.epoch.Leave()
	}
}

func (f *flow) logSession() {
	defer func() {
		if p := recover(); p != nil {
			f.engine.logger.Error("plugin failed", append(f.fields(), zap.Any("panic", p), zap.Stack("stack"))...)
		}
	}()
	o := &f.session.Outcome
	o.Status, o.Duration, o.Tries = statusOK, time.Since(f.start), f.tried
	if f.failure != nil {
		o.Status = f.failure.status
	}
	if f.up != nil {
		o.Received, o.Sent = f.up.Load(), f.down.Load()
	}
	f.chain.LogSession(f.session)
}
