package admin

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// resolveTimeout bounds how long a health report waits for the addresses of
// its targets.
const resolveTimeout = 3 * time.Second

// A resolver finds the addresses of a hostname. *net.Resolver is one.
type resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

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
	list := k.byAge(im, upstream)
	body := map[string]any{"next": nil, "node_id": c.world.ID().String()}
	if v, _ := c.query.get("balancer_health"); v == "1" {
		body["data"] = balancerHealth(im, upstream, c.hosts(list))
		return reply(http.StatusOK, body)
	}
	p, list, err := c.slice("health", list)
	if err != nil {
		return nil, err
	}
	for i, host := range c.hosts(list) {
		obj := list[i].obj
		health := checksOff
		if len(host.Addresses) == 0 {
			health = "DNS_ERROR"
		}
		p.Data = append(p.Data, addHealth(k.table.Marshal(obj), health, host))
	}
	body["data"], body["next"] = p.Data, p.Next
	if p.Offset != "" {
		body["offset"] = p.Offset
	}
	return reply(http.StatusOK, body)
}

// addHealth puts the two fields at the end of a target's JSON object.
func addHealth(target []byte, health string, host hostHealth) json.RawMessage {
	more, _ := json.Marshal(struct {
		Health string     `json:"health"`
		Data   hostHealth `json:"data"`
	}{health, host})
	return append(append(target[:len(target)-1], ','), more[1:]...)
}

// hosts finds out about the hosts of targets, with all lookups at once.
func (c *call) hosts(list []shownTarget) []hostHealth {
	ctx, cancel := context.WithTimeout(c.r.Context(), resolveTimeout)
	defer cancel()
	hosts := make([]hostHealth, len(list))
	slots := make(chan struct{}, 16)
	var lookups sync.WaitGroup
	for i, t := range list {
		hosts[i] = newHostHealth(t.obj)
		if addr, err := netip.ParseAddr(hosts[i].Host); err == nil {
			hosts[i].at([]netip.Addr{addr}, "")
			continue
		}
		lookups.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			addrs, err := c.resolver.LookupNetIP(ctx, "ip", hosts[i].Host)
			if err != nil {
				hosts[i].at(nil, err.Error())
				return
			}
			hosts[i].at(addrs, "")
		})
	}
	lookups.Wait()
	return hosts
}

func newHostHealth(target schema.Object) hostHealth {
	name, _ := target["target"].(string)
	weight, _ := target["weight"].(int64)
	host, port, err := net.SplitHostPort(name)
	if err != nil {
		host = name
	}
	n, _ := strconv.Atoi(port)
	return hostHealth{Host: host, Port: n, NodeWeight: weight, Addresses: []healthAddress{}}
}

// at sets the addresses of a host, or why there are none.
func (h *hostHealth) at(addrs []netip.Addr, failed string) {
	h.DNS = failed
	for _, addr := range addrs {
		addr = addr.Unmap()
		if h.DNS == "" {
			h.DNS = map[bool]string{true: "A", false: "AAAA"}[addr.Is4()]
		}
		h.Addresses = append(h.Addresses, healthAddress{addr.String(), h.Port, h.NodeWeight, checksOff})
		h.Weight.Total += h.NodeWeight
		h.Weight.Available += h.NodeWeight
	}
}

// balancerHealth is the health of an upstream as a whole: it is healthy while
// more than its threshold of the weight is available.
func balancerHealth(im *store.Image, upstream *store.Row, hosts []hostHealth) any {
	var sum weights
	for _, h := range hosts {
		sum.Total += h.Weight.Total
		sum.Available += h.Weight.Available
	}
	checks, _ := im.Object("upstreams", upstream)["healthchecks"].(schema.Object)
	threshold, _ := checks["threshold"].(float64)
	healthy := sum.Total > 0 && float64(sum.Available)/float64(sum.Total)*100 > threshold
	return map[string]any{
		"id":              upstream.ID.String(),
		"health":          checksOff,
		"balancer_health": map[bool]string{true: "HEALTHY", false: "UNHEALTHY"}[healthy],
		"details":         map[string]any{"healthy": healthy, "weight": sum, "hosts": hosts},
	}
}

// Interface guard
var _ resolver = (*net.Resolver)(nil)
