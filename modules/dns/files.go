package dns

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	wire "github.com/miekg/dns"
)

// lookAgain is how often a file is looked at.
const lookAgain = 5 * time.Second

// A file is what was read from one, and is read again when that changes.
type file[T any] struct {
	path string
	read func(text string) T

	mu      sync.Mutex
	looked  time.Time // protected by mu, as is all that follows
	changed time.Time
	size    int64
	value   T
}

func newFile[T any](path string, read func(string) T) *file[T] {
	return &file[T]{path: path, read: read, value: read("")}
}

// get answers what the file says. A file that cannot be read says nothing.
func (f *file[T]) get() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if now.Sub(f.looked) < lookAgain {
		return f.value
	}
	f.looked = now
	info, err := os.Stat(f.path)
	if err != nil {
		f.changed, f.size, f.value = time.Time{}, 0, f.read("")
		return f.value
	}
	if info.ModTime().Equal(f.changed) && info.Size() == f.size {
		return f.value
	}
	text, err := os.ReadFile(f.path)
	if err != nil {
		return f.value
	}
	f.changed, f.size, f.value = info.ModTime(), info.Size(), f.read(string(text))
	return f.value
}

// hosts are the addresses of a hosts file, by name in lower case.
type hosts map[string]map[string][]netip.Addr // then by "A" or "AAAA"

// readHosts reads a hosts file (hosts(5)). Lines that make no sense are left
// out. There is always a localhost (RFC 6761, section 6.3).
func readHosts(text string) hosts {
	h := hosts{}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		ip, err := netip.ParseAddr(words[0])
		if err != nil {
			continue
		}
		for _, name := range words[1:] {
			h.add(name, ip)
		}
	}
	if h["localhost"] == nil {
		h.add("localhost", netip.AddrFrom4([4]byte{127, 0, 0, 1}))
		h.add("localhost", netip.IPv6Loopback())
	}
	return h
}

func (h hosts) add(name string, ip netip.Addr) {
	name, ip = canonical(name), ip.Unmap()
	if h[name] == nil {
		h[name] = map[string][]netip.Addr{}
	}
	kind := kindOf(ip)
	h[name][kind] = append(h[name][kind], ip)
}

func kindOf(ip netip.Addr) string {
	if ip.Is4() {
		return "A"
	}
	return "AAAA"
}

// readResolvConf reads resolv.conf(5).
func readResolvConf(text string) *wire.ClientConfig {
	c, err := wire.ClientConfigFromReader(strings.NewReader(text))
	if err != nil {
		c, _ = wire.ClientConfigFromReader(strings.NewReader(""))
	}
	if len(c.Servers) == 0 {
		c.Servers = []string{"127.0.0.1"} // as the C library
	}
	for i, s := range c.Servers {
		c.Servers[i] = net.JoinHostPort(s, c.Port)
	}
	c.Timeout, c.Attempts = max(c.Timeout, 1), max(c.Attempts, 1)
	return c
}

// canonical is a name in lower case, without the dot at its end.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
