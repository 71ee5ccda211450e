package entity

import (
	"strings"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// Route is the typed view of a row of the table routes: which requests go to
// which service.
type Route struct {
	ID                      uuid.UUID           `json:"id"`
	Name                    string              `json:"name"`
	Protocols               []string            `json:"protocols"`
	Methods                 []string            `json:"methods"`
	Hosts                   []string            `json:"hosts"`
	Paths                   []string            `json:"paths"` // a regular expression starts with "~"
	Headers                 map[string][]string `json:"headers"`
	SNIs                    []string            `json:"snis"`
	Sources                 []Endpoint          `json:"sources"`
	Destinations            []Endpoint          `json:"destinations"`
	HTTPSRedirectStatusCode int                 `json:"https_redirect_status_code"`
	RegexPriority           int                 `json:"regex_priority"`
	StripPath               bool                `json:"strip_path"`
	PreserveHost            bool                `json:"preserve_host"`
	RequestBuffering        bool                `json:"request_buffering"`
	ResponseBuffering       bool                `json:"response_buffering"`
	PathHandling            string              `json:"path_handling"`
	Service                 *Ref                `json:"service"`
	Tags                    []string            `json:"tags"`
	CreatedAt               int64               `json:"created_at"` // seconds
	UpdatedAt               int64               `json:"updated_at"` // seconds
}

// Endpoint is one item of a route's sources or destinations: an address or a
// CIDR range, a port, or both. An empty IP or a zero Port matches any.
type Endpoint struct {
	IP   string `json:"ip"`
	Port int    `json:"port"`
}

func routesTable() *schema.Table {
	return &schema.Table{
		Name: "routes", Path: "routes", Key: "name",
		VariantKey: "protocols",
		Variants:   routeVariants(),
		Fields: &schema.Fields{
			List: routeFields(),
			Checks: []schema.Check{
				schema.Conditional(schema.When{
					If: "protocols", Match: schema.Field{Elem: &schema.Field{Kind: schema.String,
						NotOneOf: schema.Values("grpcs", "https", "tls", "tls_passthrough")}},
					Then: "snis", Must: schema.Field{LenEq: new(0)},
					Err: "'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough'",
				}),
				schema.CustomCheck(checkHeaderPatterns, "headers"),
			},
		},
	}
}

func routeFields() []schema.Field {
	return []schema.Field{
		idField(),
		createdAt(),
		updatedAt(),
		utf8Name("name"),
		{Name: "protocols", Kind: schema.Set, Required: true, Default: schema.Values("http", "https"),
			LenMin: new(1),
			Elem:   new(protocolField()),
			Rules: []schema.Rule{schema.DisjointSets(
				[]string{"http", "https"},
				[]string{"tcp", "tls", "udp"},
				[]string{"tls_passthrough"},
				[]string{"grpc", "grpcs"},
			)},
			Doc: "The protocols this route allows."},
		{Name: "https_redirect_status_code", Kind: schema.Integer, Required: true, Default: int64(426),
			OneOf: schema.Values[int64](426, 301, 302, 307, 308),
			Doc:   "The status that answers a request whose protocol alone does not fit."},
		stripPath(true),
		{Name: "preserve_host", Kind: schema.Boolean, Required: true, Default: false,
			Doc: "Whether the upstream gets the request's Host header."},
		{Name: "request_buffering", Kind: schema.Boolean, Required: true, Default: true,
			Doc: "Whether to buffer request bodies."},
		{Name: "response_buffering", Kind: schema.Boolean, Required: true, Default: true,
			Doc: "Whether to buffer response bodies."},
		tagsField(),
		documented(foreign("service", "services", schema.Restrict),
			"The service that the route proxies traffic to."),
		{Name: "snis", Kind: schema.Set, Elem: new(wildcardHost("")),
			Doc: "Server names of TLS connections that match this route."},
		endpoints("sources", "Addresses that match this route when traffic comes from them."),
		endpoints("destinations", "Addresses that match this route when traffic arrives at them."),
		{Name: "methods", Kind: schema.Set,
			Elem: &schema.Field{Kind: schema.String, Rules: []schema.Rule{schema.Match("^%u+$", upperCase)}},
			Doc:  "HTTP methods that match this route."},
		{Name: "hosts", Kind: schema.Array, Elem: &schema.Field{Kind: schema.String, Rules: hostRules},
			Doc: "Host names that match this route."},
		{Name: "paths", Kind: schema.Array, Elem: &schema.Field{Kind: schema.String, Rules: routerPathRules},
			Doc: "Paths that match this route: prefixes, or regular expressions behind \"~\"."},
		documented(headersField(schema.MatchNone("^[Hh][Oo][Ss][Tt]$",
			"cannot contain 'host' header, which must be specified in the 'hosts' attribute",
			func(s string) bool { return strings.EqualFold(s, "host") })),
			"Values of headers that match this route. A value behind \"~*\" is a regular expression."),
		{Name: "regex_priority", Kind: schema.Integer, Default: int64(0),
			Doc: "Decides between routes whose regular expressions match one path: the highest wins."},
		{Name: "path_handling", Kind: schema.String, Default: "v0", OneOf: schema.Values("v0", "v1"),
			Doc: "How the service's path, the route's path and the requested path are combined."},
	}
}

// routeVariants refine routes by their first protocol.
func routeVariants() map[string]*schema.Fields {
	const (
		stream = " when 'protocols' is 'tcp', 'tls', 'tls_passthrough' or 'udp'"
		rpc    = " when 'protocols' is 'grpc' or 'grpcs'"
	)
	all := schema.Fields{List: routeFields()}
	unset := func(name, when string) schema.Field {
		f := *all.Field(name)
		f.Null, f.Default, f.Err = true, nil, "cannot set '"+name+"'"+when
		return f
	}
	contains := func(protocol string) schema.Field {
		return schema.Field{Rules: []schema.Rule{schema.Contains(protocol)}}
	}
	only := func(names ...string) schema.Field {
		return schema.Field{Elem: &schema.Field{Kind: schema.String, OneOf: schema.Values(names...)}}
	}
	// Unlike in Kong, addresses match HTTP and gRPC routes too.
	addresses := []string{"sources", "destinations"}

	web := &schema.Fields{Checks: []schema.Check{
		schema.ConditionalAtLeastOneOf(schema.OneOfWhen{
			If: "protocols", Match: contains("https"),
			Then:      []string{"methods", "hosts", "headers", "paths", "snis"},
			Err:       "must set one of %s when 'protocols' is 'https'",
			ElseMatch: new(contains("http")),
			ElseThen:  []string{"methods", "hosts", "headers", "paths"},
			ElseErr:   "must set one of %s when 'protocols' is 'http'",
			Also:      addresses,
		}),
	}}
	noStrip := stripPath(false)
	noStrip.NotEqual, noStrip.Err = true, "cannot set 'strip_path'"+rpc
	grpc := &schema.Fields{
		List: []schema.Field{noStrip, unset("methods", rpc)},
		Checks: []schema.Check{
			schema.ConditionalAtLeastOneOf(schema.OneOfWhen{
				If: "protocols", Match: contains("grpcs"),
				Then:      []string{"hosts", "headers", "paths", "snis"},
				Err:       "must set one of %s when 'protocols' is 'grpcs'",
				ElseMatch: new(contains("grpc")),
				ElseThen:  []string{"hosts", "headers", "paths"},
				ElseErr:   "must set one of %s when 'protocols' is 'grpc'",
				Also:      addresses,
			}),
		},
	}
	tcp := &schema.Fields{
		List: []schema.Field{unset("methods", stream), unset("hosts", stream), unset("paths", stream), unset("headers", stream)},
		Checks: []schema.Check{
			schema.ConditionalAtLeastOneOf(schema.OneOfWhen{
				If: "protocols", Match: only("tcp", "tls", "udp"),
				Then: []string{"sources", "destinations", "snis"},
				Err:  "must set one of %s when 'protocols' is 'tcp', 'tls' or 'udp'",
			}),
			schema.ConditionalAtLeastOneOf(schema.OneOfWhen{
				If: "protocols", Match: only("tls_passthrough"),
				Then: []string{"snis"},
				Err:  "must set snis when 'protocols' is 'tls_passthrough'",
			}),
		},
	}
	return map[string]*schema.Fields{
		"http": web, "https": web,
		"grpc": grpc, "grpcs": grpc,
		"tcp": tcp, "tls": tcp, "udp": tcp, "tls_passthrough": tcp,
	}
}

func stripPath(byDefault bool) schema.Field {
	return schema.Field{Name: "strip_path", Kind: schema.Boolean, Required: true, Default: byDefault,
		Doc: "Whether to remove the matching prefix from the path that the upstream gets."}
}

func endpoints(name, doc string) schema.Field {
	return schema.Field{Name: name, Kind: schema.Set, Doc: doc,
		Elem: &schema.Field{Kind: schema.Record, Fields: &schema.Fields{
			List: []schema.Field{
				{Name: "ip", Kind: schema.String, Rules: []schema.Rule{schema.Custom(checkIPOrCIDR)},
					Doc: "An address or a CIDR range."},
				portField(),
			},
			Checks: []schema.Check{schema.AtLeastOneOf("ip", "port")},
		}}}
}

func upperCase(s string) bool {
	for i := range len(s) {
		if s[i] < 'A' || s[i] > 'Z' {
			return false
		}
	}
	return s != ""
}

var hostRules = []schema.Rule{
	schema.MatchAll("^[^*]*%*?[^*]*$", "invalid wildcard: must have at most one wildcard",
		func(s string) bool { return strings.Count(s, "*") <= 1 }),
	schema.MatchAny([]string{"^%*%.", "%.%*$", "^[^*]*$"}, "invalid wildcard: must be placed at leftmost or rightmost label",
		func(s string) bool {
			return strings.HasPrefix(s, "*.") || strings.HasSuffix(s, ".*") || !strings.Contains(s, "*")
		}),
	schema.Custom(func(s string) string { return checkHostPort(strings.ReplaceAll(s, "*", "abc")) }),
}

var routerPathRules = []schema.Rule{
	noEmptySegments,
	schema.MatchAny([]string{"^/", "^~/"}, "should start with: / (fixed path) or ~/ (regex path)",
		func(s string) bool { return strings.HasPrefix(s, "/") || strings.HasPrefix(s, "~/") }),
	schema.Custom(checkRouterPath),
}

// checkHeaderPatterns refuses header values that are regular expressions and
// do not compile.
func checkHeaderPatterns(o schema.Object) string {
	headers, _ := o["headers"].(map[string]any)
	for _, values := range headers {
		list, _ := values.([]any)
		for _, v := range list {
			s, _ := v.(string)
			if pattern, ok := strings.CutPrefix(s, "~*"); ok {
				if err := checkRegex(strings.ToLower(pattern)); err != "" {
					return "Router Expression failed validation: " + err
				}
			}
		}
	}
	return ""
}
