package balancer

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/dns"
	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// A Plan is an upstream with its targets, as they were written: what a Pool
// follows. It is immutable.
type Plan struct {
	Upstream *entity.Upstream
	Targets  []*Target // by id, those of weight 0 among them

	// Client is the upstream's client certificate, for probes; nil: none.
	Client *tls.Certificate
}

// NewPlan makes the plan of an upstream from its targets, in any order. The
// error names the targets that had to be left out; the plan has the others, and
// is never nil.
func NewPlan(u *entity.Upstream, targets []*entity.Target) (*Plan, error) {
	p := &Plan{Upstream: u}
	var errs []error
	for _, e := range targets {
		if t, err := NewTarget(e); err != nil {
			errs = append(errs, err)
		} else {
			p.Targets = append(p.Targets, t)
		}
	}
	slices.SortFunc(p.Targets, func(a, b *Target) int { return cmp.Compare(string(a.ID[:]), string(b.ID[:])) })
	return p, errors.Join(errs...)
}

// A Target is an entity of that name: a host that stands for one or more
// addresses. It is immutable.
type Target struct {
	ID     uuid.UUID
	Host   string     // name or address; IPv6 without brackets
	IP     netip.Addr // of a Host that is an address; else invalid
	Port   int
	Weight int // 0 to 65535; 0: gets no traffic
}

// NewTarget reads an entity's "host:port".
func NewTarget(t *entity.Target) (*Target, error) {
	host, port, err := net.SplitHostPort(t.Target)
	if err != nil {
		return nil, fmt.Errorf("target %q: expected host:port: %v", t.Target, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || host == "" {
		return nil, fmt.Errorf("target %q: expected a host, and a port from 0 to 65535", t.Target)
	}
	if t.Weight < 0 || t.Weight > 65535 {
		return nil, fmt.Errorf("target %q: weight %d: expected 0 to 65535", t.Target, t.Weight)
	}
	ip, _ := dns.Literal(host)
	return &Target{ID: t.ID, Host: host, IP: ip, Port: int(n), Weight: t.Weight}, nil
}
