package gateway

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/gaissmai/bart"
	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"

	"github.com/portcullis-gateway/portcullis/modules/dial"
	"github.com/portcullis-gateway/portcullis/modules/dns"
)

// Settings are the node's options, with Kong's names and defaults
// (kong.conf.default).
type Settings struct {
	// Which plugins may be used: `bundled` stands for all that this build has,
	// `http.handlers.*` for all HTTP handlers of Caddy, `layer4.handlers.*` for
	// all handlers of caddy-l4, `off` for none, other words are names. Default:
	// `bundled http.handlers.* layer4.handlers.*` if all listeners of the Admin
	// API are on loopback addresses, else `bundled`.
	Plugins []string `json:"plugins,omitempty"`

	// Addresses or CIDR ranges whose `X-Forwarded-*` and real-IP headers, and
	// PROXY protocol headers, are believed. `unix:` stands for peers on Unix
	// sockets. Default: none.
	TrustedIPs []string `json:"trusted_ips,omitempty"`

	// The header that carries the client's address when a trusted peer sends
	// it: `X-Real-IP`, `X-Forwarded-For`, another name, or `proxy_protocol`.
	// Default: `X-Real-IP`.
	RealIPHeader string `json:"real_ip_header,omitempty"`

	// Whether the client's address is the last one in the header that is not
	// trusted, rather than the last one. Default: false.
	RealIPRecursive bool `json:"real_ip_recursive,omitempty"`

	// Pairs `PUBLIC:LISTENED`: requests that arrive on port LISTENED are
	// treated as having arrived on port PUBLIC. Default: none.
	PortMaps []string `json:"port_maps,omitempty"`

	// The headers that the gateway adds to responses: `server_tokens`
	// (`Server`, `Via`), `latency_tokens` (`X-Kong-Upstream-Latency`,
	// `X-Kong-Proxy-Latency`, `X-Kong-Response-Latency`,
	// `X-Kong-Admin-Latency`), any of these by name,
	// `X-Kong-Upstream-Status`, `X-Kong-Request-Id`, or `off`. Default:
	// `server_tokens latency_tokens X-Kong-Request-Id`.
	Headers []string `json:"headers,omitempty"`

	// The headers that the gateway adds to upstream requests:
	// `X-Kong-Request-Id` or `off`. Default: `X-Kong-Request-Id`.
	HeadersUpstream []string `json:"headers_upstream,omitempty"`

	// Whether a request with the header `Kong-Debug` is answered with the
	// route and service that it matched. Default: false.
	AllowDebugHeader bool `json:"allow_debug_header,omitempty"`

	// How routes are matched. `traditional_compatible` is the only flavor so
	// far, and the default.
	RouterFlavor string `json:"router_flavor,omitempty"`

	// The content type of errors for requests that name none: `text/plain`,
	// `text/html`, `application/json` or `application/xml`. Default:
	// `text/plain`.
	ErrorDefaultType string `json:"error_default_type,omitempty"`

	// Whether certificates of `https` and `tls` services are verified where
	// the service does not say (`tls_verify`). Default: false.
	ProxySSLVerify bool `json:"proxy_ssl_verify,omitempty"`

	// The name servers that are asked for the hosts of services and targets:
	// IP addresses with or without a port. Default: those of
	// /etc/resolv.conf, which also says which domains are searched, how long a
	// server may take and how often it is asked.
	DNSResolver []string `json:"dns_resolver,omitempty"`

	// The file with names that no server is asked for. Default: `/etc/hosts`.
	DNSHostsFile string `json:"dns_hostsfile,omitempty"`

	// Which records are asked for, and in which order: `SRV`, `A`, `AAAA`,
	// `CNAME`, and `LAST` for the kind that was found the last time. Default:
	// `LAST SRV A CNAME`.
	DNSOrder []string `json:"dns_order,omitempty"`

	// How long records are good for, instead of what they say themselves.
	// Default: as long as they say.
	DNSValidTTL caddy.Duration `json:"dns_valid_ttl,omitempty"`

	// For how long beyond that records may be used, while they are asked for
	// anew or no server knows an answer. Default: 1 hour.
	DNSStaleTTL *caddy.Duration `json:"dns_stale_ttl,omitempty"`

	// How long it is remembered that there is no such name. Default: 30
	// seconds.
	DNSNotFoundTTL *caddy.Duration `json:"dns_not_found_ttl,omitempty"`

	// How long it is remembered that no server knew an answer. Default: 1
	// second.
	DNSErrorTTL *caddy.Duration `json:"dns_error_ttl,omitempty"`

	// How many names are remembered. Default: 10000.
	DNSCacheSize int `json:"dns_cache_size,omitempty"`

	// Whether a service may point at this process's own Admin API, Status API
	// or Caddy's admin endpoint. Default: false.
	AllowAdminUpstream bool `json:"allow_admin_upstream,omitempty"`

	// Which addresses services with the host `original_destination` may reach
	// although they would be refused: IP addresses or CIDR ranges. Refused are
	// loopback, unspecified, link-local and multicast addresses and those of
	// this host. A range has to lie within one of these to count, and an address
	// of this host has to be named itself. The listeners of this process are
	// never reached. Default: none.
	OriginalDestinationAllow []string `json:"original_destination_allow,omitempty"`

	// Which addresses such services may not reach: IP addresses or CIDR
	// ranges. Where both lists have an address, the longer range decides.
	// Default: none but those that are refused in any case.
	OriginalDestinationDeny []string `json:"original_destination_deny,omitempty"`

	TLSSettings
}

// Options are the settings as the data path reads them. They do not change.
type Options struct {
	RealIPHeader       string // canonical form; "proxy_protocol" stands for itself
	RealIPRecursive    bool
	Headers            Header
	UpstreamRequestID  bool
	AllowDebugHeader   bool
	ErrorDefaultType   string
	ProxySSLVerify     bool
	AllowAdminUpstream bool
	Destinations       dial.Guard // of services whose host is the original destination
	DNS                dns.Config
	TrustUnix          bool // peers on Unix sockets are trusted

	tls       tlsOptions
	client    *tls.Certificate // of client_ssl; nil: none
	clientKey string           // names it

	trusted *bart.Lite
	ports   map[uint16]uint16
}

// Header is a set of the headers that the gateway may add to a response.
type Header uint16

const (
	HeaderServer Header = 1 << iota
	HeaderVia
	HeaderUpstreamLatency
	HeaderProxyLatency
	HeaderResponseLatency
	HeaderAdminLatency
	HeaderUpstreamStatus
	HeaderRequestID

	headerServerTokens  = HeaderServer | HeaderVia
	headerLatencyTokens = HeaderUpstreamLatency | HeaderProxyLatency | HeaderResponseLatency | HeaderAdminLatency
	headerDefault       = headerServerTokens | headerLatencyTokens | HeaderRequestID
)

var headerByName = map[string]Header{
	"server_tokens":           headerServerTokens,
	"latency_tokens":          headerLatencyTokens,
	"server":                  HeaderServer,
	"via":                     HeaderVia,
	"x-kong-upstream-latency": HeaderUpstreamLatency,
	"x-kong-proxy-latency":    HeaderProxyLatency,
	"x-kong-response-latency": HeaderResponseLatency,
	"x-kong-admin-latency":    HeaderAdminLatency,
	"x-kong-upstream-status":  HeaderUpstreamStatus,
	"x-kong-request-id":       HeaderRequestID,
}

// Trusts reports whether peers with the address may speak for others.
func (o *Options) Trusts(peer netip.Addr) bool {
	return o.trusted != nil && o.trusted.Contains(peer.Unmap())
}

// PublicPort answers the port that a request counts as having arrived on, by
// port_maps.
func (o *Options) PublicPort(listened uint16) uint16 {
	if p, ok := o.ports[listened]; ok {
		return p
	}
	return listened
}

// Check reports the first setting that is not understood. It is for those who
// write settings, such as the Caddyfile's options, while they still know the
// line.
func (s *Settings) Check() error {
	_, err := s.parse(zap.NewNop())
	return err
}

func (s *Settings) parse(logger *zap.Logger) (*Options, error) {
	o := &Options{
		RealIPHeader:       "X-Real-IP",
		RealIPRecursive:    s.RealIPRecursive,
		AllowDebugHeader:   s.AllowDebugHeader,
		ErrorDefaultType:   "text/plain",
		ProxySSLVerify:     s.ProxySSLVerify,
		AllowAdminUpstream: s.AllowAdminUpstream,
	}
	var err error
	if o.DNS, err = s.parseDNS(); err != nil {
		return nil, err
	}
	if o.tls, err = s.TLSSettings.parse(logger); err != nil {
		return nil, err
	}
	if name := s.RealIPHeader; name != "" {
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, fmt.Errorf("real_ip_header: %q is not the name of a header; expected X-Real-IP, X-Forwarded-For, another name, or proxy_protocol", name)
		}
		o.RealIPHeader = name
	}
	if f := s.RouterFlavor; f != "" && f != "traditional_compatible" {
		return nil, fmt.Errorf("router_flavor: %q is not supported; expected traditional_compatible", f)
	}
	types := []string{"text/plain", "text/html", "application/json", "application/xml"}
	if t := s.ErrorDefaultType; t != "" {
		if !slices.Contains(types, t) {
			return nil, fmt.Errorf("error_default_type: unknown type %q; expected one of %s", t, strings.Join(types, ", "))
		}
		o.ErrorDefaultType = t
	}
	for _, name := range s.Plugins {
		switch {
		case name == "bundled", name == "off", name == handlers:
		case known(name):
		default:
			logger.Warn("plugin is not part of this build", zap.String("option", "plugins"), zap.String("plugin", name))
		}
	}
	if err = o.parseTrusted(s.TrustedIPs); err != nil {
		return nil, err
	}
	if err = o.parsePorts(s.PortMaps); err != nil {
		return nil, err
	}
	if o.Destinations.Allow, err = parsePrefixes("original_destination_allow", s.OriginalDestinationAllow); err != nil {
		return nil, err
	}
	if o.Destinations.Deny, err = parsePrefixes("original_destination_deny", s.OriginalDestinationDeny); err != nil {
		return nil, err
	}
	if o.Headers, err = parseHeaders(s.Headers, headerDefault); err != nil {
		return nil, fmt.Errorf("headers: %w; expected server_tokens, latency_tokens, a header that the gateway adds, or off", err)
	}
	upstream, err := parseHeaders(s.HeadersUpstream, HeaderRequestID)
	if err != nil || upstream&^HeaderRequestID != 0 {
		return nil, fmt.Errorf("headers_upstream: expected X-Kong-Request-Id or off, got %q", s.HeadersUpstream)
	}
	o.UpstreamRequestID = upstream != 0
	return o, nil
}

func (o *Options) parseTrusted(list []string) error {
	for _, item := range list {
		if item == "unix:" {
			o.TrustUnix = true
			continue
		}
		prefix, err := parsePrefix(item)
		if err != nil {
			return fmt.Errorf("trusted_ips must be a comma separated list in the form of IPv4 or IPv6 address or CIDR block or 'unix:', got '%s'", item)
		}
		if o.trusted == nil {
			o.trusted = new(bart.Lite)
		}
		o.trusted.Insert(prefix)
	}
	return nil
}

func parsePrefixes(option string, list []string) (prefixes []netip.Prefix, err error) {
	for _, item := range list {
		p, err := parsePrefix(item)
		if err != nil {
			return nil, fmt.Errorf("%s: expected IP addresses or CIDR ranges, got %q", option, item)
		}
		prefixes = append(prefixes, p)
	}
	return prefixes, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		return p.Masked(), err
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}

func (o *Options) parsePorts(maps []string) error {
	for _, m := range maps {
		public, listened, ok := strings.Cut(m, ":")
		p, err1 := strconv.ParseUint(public, 10, 16)
		l, err2 := strconv.ParseUint(listened, 10, 16)
		if !ok || err1 != nil || err2 != nil || p == 0 || l == 0 {
			return fmt.Errorf("invalid port mapping (`port_maps`): %s; expected PUBLIC:LISTENED, such as 80:8000", m)
		}
		if o.ports == nil {
			o.ports = make(map[uint16]uint16)
		}
		o.ports[uint16(l)] = uint16(p)
	}
	return nil
}

func parseHeaders(list []string, unset Header) (Header, error) {
	if len(list) == 0 {
		return unset, nil
	}
	if len(list) == 1 && strings.EqualFold(list[0], "off") {
		return 0, nil
	}
	var set Header
	for _, name := range list {
		h, ok := headerByName[strings.ToLower(name)]
		if !ok {
			return 0, fmt.Errorf("invalid entry '%s'", name)
		}
		set |= h
	}
	return set, nil
}
