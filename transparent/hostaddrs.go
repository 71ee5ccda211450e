package transparent

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// hostAddrsAge is how long the addresses of the network interfaces are
// remembered: asking takes about 10 µs and they change seldom.
const hostAddrsAge = 5 * time.Second

// host remembers the addresses of this host's network interfaces.
var host struct {
	mu    sync.Mutex
	addrs []netip.Addr // protected by mu
	asked time.Time    // protected by mu
}

// IsHostAddress reports whether ip is an address of one of this host's network
// interfaces, loopback included. When the system does not tell which they are,
// any might be. Addresses that are local by a route alone (`ip route add local`)
// are not seen.
func IsHostAddress(ip netip.Addr) bool {
	ip = bare(ip)
	if ip.IsLoopback() {
		return true
	}
	host.mu.Lock()
	defer host.mu.Unlock()
	if time.Since(host.asked) > hostAddrsAge {
		found, err := net.InterfaceAddrs()
		if err != nil {
			return true
		}
		host.addrs = host.addrs[:0]
		for _, a := range found {
			if prefix, ok := a.(*net.IPNet); ok {
				if addr, ok := netip.AddrFromSlice(prefix.IP); ok {
					host.addrs = append(host.addrs, bare(addr))
				}
			}
		}
		host.asked = time.Now()
	}
	return slices.Contains(host.addrs, ip)
}
