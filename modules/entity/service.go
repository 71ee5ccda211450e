package entity

import (
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// Service is the typed view of a row of the table services: where requests go.
type Service struct {
	ID                uuid.UUID   `json:"id"`
	Name              string      `json:"name"`
	Protocol          string      `json:"protocol"`
	Host              string      `json:"host"` // the name of an upstream, a DNS name, an address, or OriginalDestination
	Port              int         `json:"port"`
	Path              string      `json:"path"`
	Retries           int         `json:"retries"`         // additional attempts
	ConnectTimeout    int         `json:"connect_timeout"` // milliseconds, as are the next two
	WriteTimeout      int         `json:"write_timeout"`
	ReadTimeout       int         `json:"read_timeout"`
	ClientCertificate *Ref        `json:"client_certificate"`
	TLSVerify         *bool       `json:"tls_verify"` // nil: the node's default
	TLSVerifyDepth    *int        `json:"tls_verify_depth"`
	CACertificates    []uuid.UUID `json:"ca_certificates"`
	ProxyProtocol     string      `json:"proxy_protocol"`   // "v1", "v2", or empty for none
	SourceAddresses   []string    `json:"source_addresses"` // empty: the system chooses
	Enabled           bool        `json:"enabled"`
	Tags              []string    `json:"tags"`
	CreatedAt         int64       `json:"created_at"`
	UpdatedAt         int64       `json:"updated_at"`
}

// OriginalDestination is the host of services that are wherever the client
// wanted to go: the destination of a connection that a firewall diverted here. It
// is no name that DNS could know.
const OriginalDestination = "original_destination"

func servicesTable() *schema.Table {
	timeout := func(name string) schema.Field {
		return schema.Field{Name: name, Kind: schema.Integer, Default: int64(60000), Between: []float64{1, 1<<31 - 2}}
	}
	onlyTLS := func(field string) schema.Check {
		return schema.Conditional(schema.When{
			If: "protocol", Match: schema.Field{NotOneOf: schema.Values("https", "tls")},
			Then: field, Must: schema.Field{Null: true},
		})
	}
	return &schema.Table{
		Name: "services", Path: "services", Key: "name",
		Fields: &schema.Fields{
			List: []schema.Field{
				idField(),
				createdAt(),
				updatedAt(),
				utf8Name("name"),
				{Name: "retries", Kind: schema.Integer, Default: int64(5), Between: []float64{0, 32767},
					Doc: "The number of retries to execute upon failure to proxy."},
				required(withDefault(protocolField(), "http")),
				documented(required(hostField("host")),
					"The host of the upstream server: a host name, an IP address, or the name of an upstream. "+
						"original_destination (not part of Kong) is where an intercepted connection was addressed to, along with port 0."),
				required(withDefault(portField(), int64(80))),
				pathField("path"),
				timeout("connect_timeout"),
				timeout("write_timeout"),
				timeout("read_timeout"),
				tagsField(),
				documented(foreign("client_certificate", "certificates", schema.Restrict),
					"The certificate to present to the upstream server."),
				{Name: "tls_verify", Kind: schema.Boolean,
					Doc: "Whether to verify the upstream server's certificate. If not set, the node's setting applies."},
				{Name: "tls_verify_depth", Kind: schema.Integer, Between: []float64{0, 64},
					Doc: "The longest chain that is accepted when verifying the upstream server's certificate."},
				{Name: "ca_certificates", Kind: schema.Array, Elem: &schema.Field{Kind: schema.String, UUID: true},
					Doc: "UUIDs of the CA certificates that the upstream server's certificate is verified with."},
				{Name: "enabled", Kind: schema.Boolean, Required: true, Default: true,
					Doc: "Whether the routes of the service are active."},
				{Name: "proxy_protocol", Kind: schema.String, OneOf: schema.Values("v1", "v2"),
					Doc: "The version of the PROXY protocol header that connections to the upstream server begin with. Not part of Kong."},
				{Name: "source_addresses", Kind: schema.Array,
					Elem: &schema.Field{Kind: schema.String, Rules: []schema.Rule{schema.Custom(checkSource)}},
					Doc: "Where connections to the upstream server come from: client for the client's own address, IP addresses of " +
						"the gateway's host, or ranges of such. Not part of Kong."},
			},
			Checks: []schema.Check{
				schema.Conditional(schema.When{
					If: "protocol", Match: schema.Field{OneOf: schema.Values("tcp", "tls", "udp", "grpc", "grpcs")},
					Then: "path", Must: schema.Field{Null: true},
				}),
				schema.Conditional(schema.When{
					If: "protocol", Match: schema.Field{NotOneOf: schema.Values("tcp", "tls", "tls_passthrough")},
					Then: "proxy_protocol", Must: schema.Field{Null: true},
				}),
				schema.Conditional(schema.When{
					If: "host", Match: schema.Field{OneOf: schema.Values(OriginalDestination)},
					Then: "port", Must: schema.Field{Between: []float64{0, 0}},
					Err: "the port of the original destination is the one the client asked for: port must be 0",
				}),
				onlyTLS("client_certificate"),
				onlyTLS("tls_verify"),
				onlyTLS("tls_verify_depth"),
				onlyTLS("ca_certificates"),
			},
			Shorthands: []schema.Shorthand{
				{Field: schema.Field{Name: "url", Kind: schema.String}, Expand: expandURL},
			},
		},
	}
}

// expandURL splits a service's URL. It sets all four fields, so a URL without
// a path removes the path. It is as lenient as Kong is: what makes no sense is
// for the fields' own checks to refuse.
func expandURL(value any) schema.Object {
	text, ok := value.(string)
	if !ok {
		return nil
	}
	u := splitURL(text)
	protocol := u.scheme
	if protocol == "" {
		protocol = "http"
		if u.port == "443" {
			protocol = "https"
		}
	}
	var port any = int64(80)
	switch {
	case u.host == OriginalDestination:
		port = int64(0)
	case protocol == "https":
		port = int64(443)
	}
	if u.port != "" {
		port = u.port
		if n, err := strconv.ParseInt(u.port, 10, 64); err == nil {
			port = n
		}
	}
	return schema.Object{"protocol": protocol, "host": orNull(u.host), "port": port, "path": orNull(u.path)}
}

// orNull is nil for what a URL does not have.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

type urlParts struct{ scheme, host, port, path string }

// splitURL cuts a URL into parts without judging them.
func splitURL(s string) (u urlParts) {
	s, _, _ = strings.Cut(s, "#")
	if scheme, rest, ok := strings.Cut(s, ":"); ok && isScheme(scheme) {
		u.scheme, s = scheme, rest
	}
	authority, hasAuthority := strings.CutPrefix(s, "//")
	if hasAuthority {
		s = ""
		if i := strings.IndexByte(authority, '/'); i >= 0 {
			authority, s = authority[:i], authority[i:]
		}
		if i := strings.IndexByte(authority, '?'); i >= 0 {
			authority = authority[:i]
		}
		if i := strings.LastIndexByte(authority, '@'); i >= 0 {
			authority = authority[i+1:]
		}
		u.host = authority
		if i := strings.LastIndexByte(authority, ':'); i >= 0 && !strings.HasSuffix(authority, "]") {
			u.host, u.port = authority[:i], authority[i+1:]
		}
		if strings.HasPrefix(u.host, "[") && strings.HasSuffix(u.host, "]") {
			u.host = u.host[1 : len(u.host)-1]
		}
	}
	u.path, _, _ = strings.Cut(s, "?")
	return u
}

func isScheme(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return s != ""
}
