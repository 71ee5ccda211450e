package stream

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"

	proxyproto "github.com/pires/go-proxyproto"

	"github.com/portcullis-gateway/portcullis/transparent"
)

// maxProxyHeader is how long a PROXY protocol header may be, in bytes: what the
// library allows, and a little for what stands before.
const maxProxyHeader = 4096 + 16

// A proxied is what a PROXY protocol header says. The addresses are not valid if
// it names none (LOCAL, UNKNOWN).
type proxied struct{ source, destination netip.AddrPort }

// readProxyHeader reads the header that a connection must begin with, version 1
// or 2 (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt), and
// answers what has been read behind it.
func readProxyHeader(r io.Reader) (p proxied, rest []byte, err error) {
	b := bufio.NewReaderSize(r, maxProxyHeader)
	h, err := proxyproto.Read(b)
	if err != nil {
		return p, nil, fmt.Errorf("PROXY protocol header: %w", err)
	}
	if !h.Command.IsLocal() {
		if from, to, ok := h.TCPAddrs(); ok {
			p = proxied{transparent.AddrPort(from), transparent.AddrPort(to)}
		}
	}
	rest, _ = b.Peek(b.Buffered())
	return p, rest, nil
}

// introduce sends the PROXY protocol header that the service asks for.
func (f *flow) introduce(c net.Conn) error {
	var version byte
	switch f.match.Service.ProxyProtocol {
	case "v1":
		version = 1
	case "v2":
		version = 2
	default:
		return nil
	}
	b, err := proxyHeader(version, f.facts.Source, f.local)
	if err != nil {
		return err
	}
	_, err = c.Write(b)
	return err
}

func proxyHeader(version byte, source, destination netip.AddrPort) ([]byte, error) {
	if source.Addr().Is4() != destination.Addr().Is4() { // a header has one family
		source, destination = as16(source), as16(destination)
	}
	h := &proxyproto.Header{
		Version:           version,
		Command:           proxyproto.PROXY,
		TransportProtocol: proxyproto.TCPv6,
		SourceAddr:        net.TCPAddrFromAddrPort(source),
		DestinationAddr:   net.TCPAddrFromAddrPort(destination),
	}
	if source.Addr().Is4() {
		h.TransportProtocol = proxyproto.TCPv4
	}
	return h.Format()
}

func as16(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
}
