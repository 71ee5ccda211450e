package admin

import (
	"cmp"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// addExplain adds the endpoint that tells how a request would be routed. It is
// an addition to Kong's Admin API.
func addExplain(t *endpoints) {
	t.add(endpoint{pattern: "/explain", verbs: verbs{"POST": postExplain}})
}

// An ExplainRequest describes a request as the gateway would receive it.
type ExplainRequest struct {
	Method              string
	Host                string // with its port, if the URL names one
	Path                string // in normal form
	Header              http.Header
	TLS                 bool
	SNI                 string
	Source, Destination netip.AddrPort
}

// An ExplainFlow describes a TCP connection or UDP session as the gateway would
// receive it.
type ExplainFlow struct {
	Protocol            string // tcp, tls or udp
	SNI                 string
	Source, Destination netip.AddrPort
}

// explainTable describes the body of POST /explain.
var explainTable = &schema.Table{Fields: &schema.Fields{List: []schema.Field{
	{Name: "method", Kind: schema.String, Default: "GET"},
	{Name: "url", Kind: schema.String, Required: true},
	{Name: "headers", Kind: schema.Map, Keys: &schema.Field{Kind: schema.String}, Elem: &schema.Field{
		Kind: schema.Array, Elem: &schema.Field{Kind: schema.String},
	}},
	{Name: "source", Kind: schema.String, Rules: []schema.Rule{schema.Custom(checkEndpoint)}},
	{Name: "destination", Kind: schema.String, Rules: []schema.Rule{schema.Custom(checkEndpoint)}},
	{Name: "sni", Kind: schema.String},
}}}

// postExplain answers which route a request would take, and what kept others
// from it.
func postExplain(c *call) (*answer, error) {
	in, refused := explainTable.Process(schema.Insert, c.input(explainTable), nil, nil)
	if refused != nil {
		return nil, refused
	}
	req := ExplainRequest{Method: in["method"].(string), Header: http.Header{}}
	u, err := url.Parse(in["url"].(string))
	if err == nil && slices.Contains(streamProtocols, u.Scheme) {
		return explainFlow(c, in, u)
	}
	if err != nil || u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https" || u.Scheme != "" && u.Host == "" {
		return nil, schema.Violation(schema.Object{"url": "expected a path, or a URL with http://, https://, tcp://, tls:// or udp://"})
	}
	req.Host, req.Path, req.TLS = u.Host, entity.NormalizePath(cmp.Or(u.EscapedPath(), "/")), u.Scheme == "https"
	headers, _ := in["headers"].(map[string]any)
	for name, values := range headers {
		for _, v := range values.([]any) {
			req.Header.Add(name, v.(string))
		}
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	if req.SNI, _ = in["sni"].(string); req.SNI == "" && req.TLS {
		req.SNI = sniOf(u.Hostname())
	}
	req.Source, req.Destination = endpointOf(in["source"]), endpointOf(in["destination"])
	return reply(http.StatusOK, c.world.Explain(req))
}

var streamProtocols = []string{"tcp", "tls", "udp"}

// explainFlow answers the same for streams. The URL's address and port are those
// that the client connects to, unless destination says something else; a name
// is the server name that it asks for.
func explainFlow(c *call, in schema.Object, u *url.URL) (*answer, error) {
	f := ExplainFlow{Protocol: u.Scheme, Source: endpointOf(in["source"]), Destination: endpointOf(in["destination"])}
	refuse := func() (*answer, error) {
		return nil, schema.Violation(schema.Object{"url": "expected " + u.Scheme + ":// with an address or a server name, a port, or both"})
	}
	if u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" {
		return refuse()
	}
	f.SNI, _ = in["sni"].(string)
	if f.SNI == "" && f.Protocol == "tls" {
		f.SNI = sniOf(u.Hostname())
	}
	f.SNI = strings.TrimSuffix(strings.ToLower(f.SNI), ".")
	if !f.Destination.IsValid() {
		port, err := strconv.ParseUint(cmp.Or(u.Port(), "0"), 10, 16)
		if err != nil {
			return refuse()
		}
		addr, _ := netip.ParseAddr(u.Hostname())
		f.Destination = netip.AddrPortFrom(addr.Unmap(), uint16(port))
	}
	return reply(http.StatusOK, c.world.ExplainStream(f))
}

// sniOf is the server name that clients send for a host: none for addresses.
func sniOf(host string) string {
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	return host
}

func checkEndpoint(s string) string {
	if _, ok := parseEndpoint(s); !ok {
		return "expected an address, with or without a port"
	}
	return ""
}

// parseEndpoint reads an address with or without a port.
func parseEndpoint(s string) (netip.AddrPort, bool) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), true
	}
	addr, err := netip.ParseAddr(s)
	return netip.AddrPortFrom(addr.Unmap(), 0), err == nil
}

func endpointOf(v any) netip.AddrPort {
	s, _ := v.(string)
	ap, _ := parseEndpoint(s)
	return ap
}
