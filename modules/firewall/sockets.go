package firewall

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// A socket is a line of /proc/net/tcp and its like (Linux,
// Documentation/networking/proc_net_tcp.rst).
type socket struct {
	local, remote netip.AddrPort
	listens       bool
}

// sockets lists those of the network namespace of the calling thread.
func sockets(proto string) (list []socket) {
	for _, suffix := range []string{"", "6"} {
		text, err := os.ReadFile("/proc/thread-self/net/" + proto + suffix)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if s, ok := parseSocket(line, proto); ok {
				list = append(list, s)
			}
		}
	}
	return list
}

func parseSocket(line, proto string) (s socket, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 4 {
		return s, false
	}
	var err error
	if s.local, err = parseHex(fields[1]); err != nil {
		return s, false
	}
	if s.remote, err = parseHex(fields[2]); err != nil {
		return s, false
	}
	const listen, closed = "0A", "07" // of TCP, and of UDP sockets without a peer
	s.listens = proto == "tcp" && fields[3] == listen || proto == "udp" && fields[3] == closed
	return s, true
}

// parseHex reads an address and port: words of 32 bits in the host's order,
// then the port.
func parseHex(text string) (a netip.AddrPort, err error) {
	addr, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(addr)
	if err != nil {
		return a, err
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return a, err
	}
	if len(raw)%4 != 0 {
		return a, fmt.Errorf("%q is not an address", text)
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	ip, ok := netip.AddrFromSlice(raw)
	if !ok {
		return a, fmt.Errorf("%q is not an address", text)
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)), nil
}

// listening reports whether a socket takes what is addressed to a port. A
// wildcard of IPv6 may take IPv4, too.
func listening(proto string, f family, port uint16) bool {
	for _, s := range sockets(proto) {
		if s.listens && s.local.Port() == port && (familyOf(s.local.Addr()) == f || s.local.Addr() == netip.IPv6Unspecified()) {
			return true
		}
	}
	return false
}
