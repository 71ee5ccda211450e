package router

import (
	"strings"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// StreamPriority says which of several fitting stream routes is taken: the one
// with the highest, and among equals the one with the largest id. Its bits are
// those of Kong (get_priority for the subsystem stream in
// kong/router/transform.lua):
//
//	bit   set when
//	61    the route has snis, or both sources and destinations
//	7     an item of sources has an address
//	6     an item of sources has a port
//	4     an item of sources has a CIDR range
//	3     an item of destinations has an address
//	2     an item of destinations has a port
//	0     an item of destinations has a CIDR range
//
// So server names beat everything but sources along with destinations, sources
// beat destinations, and addresses beat ports, which beat ranges.
type StreamPriority uint64

const (
	streamSpecific StreamPriority = 1 << 61
	sourcesShift                  = 4
	streamAddress  StreamPriority = 1 << 3
	streamPort     StreamPriority = 1 << 2
	streamRange    StreamPriority = 1
)

func streamPriority(r *entity.Route) StreamPriority {
	p := sidePriority(r.Sources)<<sourcesShift | sidePriority(r.Destinations)
	if len(r.SNIs) > 0 || len(r.Sources) > 0 && len(r.Destinations) > 0 {
		p |= streamSpecific
	}
	return p
}

func sidePriority(items []entity.Endpoint) (p StreamPriority) {
	for _, e := range items {
		switch {
		case strings.Contains(e.IP, "/"):
			p |= streamRange
		case e.IP != "":
			p |= streamAddress
		}
		if e.Port != 0 {
			p |= streamPort
		}
	}
	return p
}

// String tells a person what the priority is made of.
func (p StreamPriority) String() string {
	var parts []string
	side := func(name string, bits StreamPriority) {
		var has []string
		for _, part := range []struct {
			bit  StreamPriority
			name string
		}{{streamAddress, "address"}, {streamPort, "port"}, {streamRange, "range"}} {
			if bits&part.bit != 0 {
				has = append(has, part.name)
			}
		}
		if len(has) > 0 {
			parts = append(parts, name+" by "+strings.Join(has, ", "))
		}
	}
	sources, destinations := p>>sourcesShift&0xf, p&0xf
	if p&streamSpecific != 0 && (sources == 0 || destinations == 0) {
		parts = append(parts, "server name")
	}
	side("source", sources)
	side("destination", destinations)
	return strings.Join(parts, "; ")
}
