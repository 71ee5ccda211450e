package stream

import (
	"time"

	"go.uber.org/zap"
)

// fields are what is known of the flow.
func (f *flow) fields() []zap.Field {
	fields := append(make([]zap.Field, 0, 16),
		zap.String("protocol", f.facts.Protocol),
		zap.Stringer("remote", f.facts.Source),
		zap.Stringer("local", f.facts.Destination),
		zap.String("listener", f.listener))
	if f.peer != f.facts.Source {
		fields = append(fields, zap.Stringer("peer", f.peer))
	}
	if f.arrived != nil {
		fields = append(fields, zap.Stringer("arrived", f.arrived.How), zap.Stringer("destination", f.arrived.Destination))
	}
	if f.facts.SNI != "" {
		fields = append(fields, zap.String("sni", f.facts.SNI))
	}
	if r := f.match.Route; r != nil {
		fields = append(fields, zap.Stringer("route_id", r.ID))
		if r.Name != "" {
			fields = append(fields, zap.String("route", r.Name))
		}
	}
	if s := f.match.Service; s != nil {
		fields = append(fields, zap.Stringer("service_id", s.ID))
		if s.Name != "" {
			fields = append(fields, zap.String("service", s.Name))
		}
		if _, ok := f.snapshot.Upstream(s.Host); ok {
			fields = append(fields, zap.String("upstream", s.Host))
		}
	}
	if f.tries > 0 {
		fields = append(fields, zap.String("target", f.place.address), zap.Int("tries", f.tries))
	}
	return fields
}

// log writes the line of the access log: what nginx has in Kong's format for
// streams, and what the gateway did.
func (f *flow) log() {
	if f.engine.access == nil {
		return
	}
	c := f.engine.access.Check(zap.InfoLevel, "handled connection")
	if c == nil {
		return
	}
	status, reason := statusOK, ""
	if f.failure != nil {
		status, reason = f.failure.status, f.failure.reason
	}
	fields := append(f.fields(), zap.Int("status", status), zap.Duration("duration", time.Since(f.start)))
	if f.up != nil {
		fields = append(fields, zap.Int64("bytes_received", f.up.Load()), zap.Int64("bytes_sent", f.down.Load()))
	}
	if reason != "" {
		fields = append(fields, zap.String("reason", reason))
	}
	c.Write(fields...)
}
