package proxy

import (
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/portcullis-gateway/portcullis/modules/arrival"
	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/http1"
	"github.com/portcullis-gateway/portcullis/modules/serve"
	"github.com/portcullis-gateway/portcullis/transparent"
)

// facts is what the request's connection and head say.
type facts struct {
	peer    netip.AddrPort  // who is connected; invalid for a Unix socket
	peerIP  string          // its address in text
	client  netip.AddrPort  // who asks, as far as a trusted peer knows
	trusted bool            // whether the peer may speak for others
	scheme  string          // of the connection: http or https
	port    string          // that the request arrived on, by port_maps
	arrived transparent.How // Unknown unless the listener is transparent
	host    string          // from the Host header: without port, in lower case

	path  string // as it was sent, without the query
	query string // as it was sent, with its "?"; empty if there was none

	// What the client says or, if its peer is not trusted, what is known:
	// the values of X-Forwarded-*.
	forwardedProto, forwardedHost, forwardedPort, forwardedPath string
}

// gather reads the facts and makes the router's question of them.
func (x *exchange) gather() {
	r := x.r
	x.scheme = "http"
	if r.TLS != nil {
		x.scheme = "https"
	}
	ends := x.ends()
	x.meetPeer(ends)
	public := ends.Local.Port()
	if x.intercepts {
		x.arrived = serve.ArrivalFrom(r.Context()).How
	} else if x.site != nil {
		a, _ := arrival.Of(r.Context())
		x.arrived = a.How
	}
	if !x.arrived.Intercepted() { // else it is a port of somebody else's
		public = x.options.PublicPort(public)
	}
	if x.port = ends.LocalPort; public != ends.Local.Port() {
		x.port = strconv.Itoa(int(public))
	}
	x.host = strings.ToLower(hostOnly(r.Host))
	x.path, x.query = target(r)

	x.forwardedProto, x.forwardedHost, x.forwardedPort, x.forwardedPath = x.scheme, x.host, x.port, x.path
	if x.trusted {
		override(&x.forwardedProto, x.head, "X-Forwarded-Proto")
		override(&x.forwardedHost, x.head, "X-Forwarded-Host")
		override(&x.forwardedPort, x.head, "X-Forwarded-Port")
		override(&x.forwardedPath, x.head, "X-Forwarded-Path")
	}

	q := &x.routing
	q.Method, q.Host, q.Path = r.Method, r.Host, entity.NormalizePath(x.path)
	q.Source, q.Destination = x.client, netip.AddrPortFrom(ends.Local.Addr(), public)
	if r.TLS != nil {
		q.TLS, q.SNI = true, r.TLS.ServerName
	}
}

// ends are those of the request's connection.
func (x *exchange) ends() (e serve.Ends) {
	if known := serve.EndsFrom(x.r.Context()); known != nil {
		return *known
	}
	if a, ok := x.r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		e.Local = transparent.AddrPort(a)
	}
	e.LocalPort = strconv.Itoa(int(e.Local.Port()))
	peer, _ := netip.ParseAddrPort(x.r.RemoteAddr)
	e.Peer = netip.AddrPortFrom(peer.Addr().Unmap().WithZone(""), peer.Port())
	e.PeerIP = ipText(e.Peer)
	return e
}

// meetPeer finds out who is connected and whom it speaks for (nginx's
// realip module, with Kong's options).
func (x *exchange) meetPeer(ends serve.Ends) {
	x.peer, x.peerIP = ends.Peer, ends.PeerIP
	if x.peer.IsValid() {
		x.trusted = x.options.Trusts(x.peer.Addr())
	} else {
		x.trusted = x.options.TrustUnix
	}
	x.client = x.peer
	if !x.trusted {
		return
	}
	if x.options.RealIPHeader == "proxy_protocol" {
		if c := serve.ConnFrom(x.r.Context()); c != nil {
			if source, _, ok := c.Proxied(); ok {
				x.client = source
			}
		}
		return
	}
	if values := x.head.Values(x.realIP); len(values) > 0 {
		x.client = realIP(x.client, values, x.options)
	}
}

// realIP reads a list of addresses from its end: the last one is the client
// or, with real_ip_recursive, the last one that is not trusted. A word that is
// no address ends the list (ngx_http_get_forwarded_addr).
func realIP(client netip.AddrPort, values []string, o *gateway.Options) netip.AddrPort {
	for i := len(values) - 1; i >= 0; i-- {
		for rest := values[i]; rest != ""; {
			comma := strings.LastIndexByte(rest, ',')
			word := strings.TrimSpace(rest[comma+1:])
			rest = rest[:max(0, comma)]
			a, ok := parseAddr(word)
			if !ok {
				return client
			}
			client = a
			if !o.RealIPRecursive || !o.Trusts(a.Addr()) {
				return client
			}
		}
	}
	return client
}

// parseAddr reads an address with or without a port; IPv6 with a port, and
// only then, stands in brackets.
func parseAddr(s string) (netip.AddrPort, bool) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return netip.AddrPortFrom(a.Unmap().WithZone(""), 0), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port()), true
	}
	return netip.AddrPort{}, false
}

// clientIP is the client's address in text; "unix:" as nginx has it for a peer
// without one.
func (f *facts) clientIP() string {
	if f.client == f.peer {
		return f.peerIP
	}
	return ipText(f.client)
}

func ipText(a netip.AddrPort) string {
	if !a.IsValid() {
		return "unix:"
	}
	return a.Addr().String()
}

// target splits the request target, as it was sent, into path and query. The
// path of one in absolute form begins behind its authority.
func target(r *http.Request) (path, query string) {
	path = r.RequestURI
	if i := strings.IndexByte(path, '?'); i >= 0 {
		path, query = path[:i], path[i:]
	}
	if path != "" && path[0] != '/' {
		if _, rest, ok := strings.Cut(path, "://"); ok {
			path = ""
			if i := strings.IndexByte(rest, '/'); i >= 0 {
				path = rest[i:]
			}
		}
	}
	if path == "" {
		path = "/"
	}
	return path, query
}

// wellFormed reports whether the request means the same to everyone once it is
// written down as HTTP/1.1. Servers of HTTP/1.1 see to that; in HTTP/2 and
// HTTP/3, where nothing hangs on it, net/http's take any authority, and a
// length that is no number for none (RFC 9113, sections 8.1.1 and 10.3).
func wellFormed(r *http.Request) bool {
	if !unbroken(r.RequestURI) || !unbroken(r.Method) {
		return false
	}
	if r.ProtoMajor < 2 {
		return true
	}
	if !httpguts.ValidHostHeader(r.Host) {
		return false
	}
	length := r.Header["Content-Length"]
	if len(length) == 0 {
		return true
	}
	n, err := strconv.ParseUint(length[0], 10, 63)
	return err == nil && len(length) == 1 && int64(n) == r.ContentLength
}

// unbroken reports whether s can stand in a request line, which white space and
// control characters would break. HTTP/2 and HTTP/3 can carry them (RFC 9113,
// section 10.3).
func unbroken(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// hostOnly cuts the port off a Host header.
func hostOnly(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && i > strings.LastIndexByte(host, ']') {
		return host[:i]
	}
	return host
}

// override replaces value by the header's, if there is one.
func override(value *string, h *http1.Head, name string) {
	if v := h.Get(name); v != "" {
		*value = v
	}
}
