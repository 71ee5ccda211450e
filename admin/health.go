package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/balancer/health"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// resolveTimeout bounds how long a health report waits for the addresses of
// its targets.
const resolveTimeout = 3 * time.Second

// weights is a sum of the weights of addresses.
type weights struct {
	Total       int64 `json:"total"`
	Available   int64 `json:"available"`
	Unavailable int64 `json:"unavailable"`
}

// A healthAddress is one address of a target.
type healthAddress struct {
	IP     string `json:"ip"`
	Port   int    `json:"port"`
	Weight int64  `json:"weight"`
	Health string `json:"health"`
}

// A hostHealth is what is known of a target beyond its entity.
type hostHealth struct {
	Host       string          `json:"host"`
	Port       int             `json:"port"`
	DNS        string          `json:"dns"`
	NodeWeight int64           `json:"nodeWeight"`
	Weight     weights         `json:"weight"`
	Addresses  []healthAddress `json:"addresses"`
}

// checksOff is the health of whatever nothing checks.
const checksOff = "HEALTHCHECKS_OFF"

// health answers the health of an upstream's targets, or of the upstream as a
// whole.
func (k targets) health(c *call) (*answer, error) {
	im := c.world.View().Image
	upstream, _, err := find(im, k.upstreams, c.params[0])
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), resolveTimeout)
	defer cancel()
	report := c.world.Health(ctx, upstream.ID)
	states := make(map[uuid.UUID]*balancer.TargetState, len(report.Targets))
	for i := range report.Targets {
		s := &report.Targets[i]
		states[s.Target.ID] = s
	}
	list := k.byAge(im, upstream)
	body := map[string]any{"next": nil, "node_id": c.world.ID().String()}
	if v, _ := c.query.get("balancer_health"); v == "1" {
		hosts := []hostHealth{}
		for _, t := range list {
			hosts = append(hosts, newHostHealth(t.obj, states[t.row.ID], report.Checked))
		}
		body["data"] = balancerHealth(upstream, hosts, &report)
		return reply(http.StatusOK, body)
	}
	p, list, err := c.slice("health", list)
	if err != nil {
		return nil, err
	}
	for _, t := range list {
		host := newHostHealth(t.obj, states[t.row.ID], report.Checked)
		p.Data = append(p.Data, addHealth(k.table.Marshal(t.obj), host))
	}
	body["data"], body["next"] = p.Data, p.Next
	if p.Offset != "" {
		body["offset"] = p.Offset
	}
	return reply(http.StatusOK, body)
}

// addHealth puts the two fields at the end of a target's JSON object.
func addHealth(target []byte, host hostHealth) json.RawMessage {
	more, _ := json.Marshal(struct {
		Health string     `json:"health"`
		Data   hostHealth `json:"data"`
	}{host.health(), host})
	return append(append(target[:len(target)-1], ','), more[1:]...)
}

// newHostHealth is what is known of a target: its state, if there is one, and
// whether checks tell how its addresses are.
func newHostHealth(target schema.Object, s *balancer.TargetState, checked bool) hostHealth {
	name, _ := target["target"].(string)
	weight, _ := target["weight"].(int64)
	host, port, err := net.SplitHostPort(name)
	if err != nil {
		host = name
	}
	n, _ := strconv.Atoi(port)
	h := hostHealth{Host: host, Port: n, NodeWeight: weight, Addresses: []healthAddress{}}
	if s == nil {
		return h
	}
	h.DNS = s.Kind
	if s.Err != nil && s.Kind == "" {
		h.DNS = s.Err.Error()
	}
	for _, a := range s.Addresses {
		addr := healthAddress{a.Addr.Addr().String(), int(a.Addr.Port()), int64(a.Weight), checksOff}
		h.Weight.Total += addr.Weight
		if a.Peer.Available() {
			h.Weight.Available += addr.Weight
		} else {
			h.Weight.Unavailable += addr.Weight
		}
		if checked {
			addr.Health = healthWord(a.Peer.Available())
		}
		h.Addresses = append(h.Addresses, addr)
	}
	return h
}

// health is that of a target as a whole: one healthy address is enough.
func (h *hostHealth) health() string {
	switch {
	case h.NodeWeight == 0: // gets no traffic, and no probes
		return checksOff
	case len(h.Addresses) == 0:
		return "DNS_ERROR"
	case h.Addresses[0].Health == checksOff:
		return checksOff
	}
	return healthWord(h.Weight.Available > 0)
}

func healthWord(ok bool) string {
	if ok {
		return "HEALTHY"
	}
	return "UNHEALTHY"
}

// balancerHealth is the health of an upstream as a whole: it is healthy while
// more than its threshold of the weight is available.
func balancerHealth(upstream *store.Row, hosts []hostHealth, r *health.Report) any {
	var sum weights
	for _, h := range hosts {
		sum.Total += h.Weight.Total
		sum.Available += h.Weight.Available
		sum.Unavailable += h.Weight.Unavailable
	}
	word := checksOff
	if r.Checked {
		word = healthWord(r.Healthy)
	}
	return map[string]any{
		"id":              upstream.ID.String(),
		"health":          word,
		"balancer_health": healthWord(r.Healthy),
		"details":         map[string]any{"healthy": r.Healthy, "weight": sum, "hosts": hosts},
	}
}

// setHealth answers the endpoint that makes a target, or one address of it,
// healthy or unhealthy.
func (k targets) setHealth(healthy bool) handler {
	return func(c *call) (*answer, error) {
		im := c.world.View().Image
		upstream, target, err := k.find(c, im)
		if err != nil {
			return nil, err
		}
		var address netip.AddrPort
		if len(c.params) > 2 {
			if address, err = parseAddress(c.params[2]); err != nil {
				return nil, badRequest(err.Error())
			}
		}
		switch err := c.world.SetHealth(upstream.ID, target.ID, address, healthy); {
		case errors.Is(err, health.ErrNoChecks):
			name, _ := im.Object("upstreams", upstream)["name"].(string)
			return nil, badRequest("no healthchecker found for " + name)
		case errors.Is(err, health.ErrNoAddress):
			return nil, errNotFound
		case err != nil:
			return nil, err
		}
		return reply(http.StatusNoContent, nil)
	}
}

// defaultPort is that of addresses and targets without one, in Kong.
const defaultPort = 8000

// parseAddress reads an IP address with or without a port.
func parseAddress(s string) (netip.AddrPort, error) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
	}
	ip, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("invalid address %q: expected ip:port", s)
	}
	return netip.AddrPortFrom(ip.Unmap(), defaultPort), nil
}
