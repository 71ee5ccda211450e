package entity

import (
	"strings"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// Upstream is the typed view of a row of the table upstreams: a name that
// stands for several targets.
type Upstream struct {
	ID                     uuid.UUID    `json:"id"`
	Name                   string       `json:"name"`
	Algorithm              string       `json:"algorithm"`
	HashOn                 string       `json:"hash_on"`
	HashFallback           string       `json:"hash_fallback"`
	HashOnHeader           string       `json:"hash_on_header"`
	HashFallbackHeader     string       `json:"hash_fallback_header"`
	HashOnCookie           string       `json:"hash_on_cookie"`
	HashOnCookiePath       string       `json:"hash_on_cookie_path"`
	HashOnQueryArg         string       `json:"hash_on_query_arg"`
	HashFallbackQueryArg   string       `json:"hash_fallback_query_arg"`
	HashOnURICapture       string       `json:"hash_on_uri_capture"`
	HashFallbackURICapture string       `json:"hash_fallback_uri_capture"`
	Slots                  int          `json:"slots"`
	Healthchecks           Healthchecks `json:"healthchecks"`
	HostHeader             string       `json:"host_header"`
	ClientCertificate      *Ref         `json:"client_certificate"`
	UseSRVName             bool         `json:"use_srv_name"`
	Tags                   []string     `json:"tags"`
	CreatedAt              int64        `json:"created_at"`
	UpdatedAt              int64        `json:"updated_at"`
}

// Healthchecks configures the checks of an upstream's targets.
type Healthchecks struct {
	Threshold float64 `json:"threshold"` // percent of the weight that must be available
	Active    struct {
		Type                   string              `json:"type"`
		Timeout                float64             `json:"timeout"` // seconds
		Concurrency            int                 `json:"concurrency"`
		HTTPPath               string              `json:"http_path"`
		HTTPSSNI               string              `json:"https_sni"`
		HTTPSVerifyCertificate bool                `json:"https_verify_certificate"`
		Headers                map[string][]string `json:"headers"`
		Healthy                Healthy             `json:"healthy"`
		Unhealthy              Unhealthy           `json:"unhealthy"`
	} `json:"active"`
	Passive struct {
		Type      string    `json:"type"`
		Healthy   Healthy   `json:"healthy"`
		Unhealthy Unhealthy `json:"unhealthy"`
	} `json:"passive"`
}

// Healthy says when a target counts as healthy. Zero disables a counter or a
// probe; Interval (seconds) is for active checks only.
type Healthy struct {
	Interval     float64 `json:"interval"`
	Successes    int     `json:"successes"`
	HTTPStatuses []int   `json:"http_statuses"`
}

// Unhealthy says when a target counts as unhealthy. Zero disables a counter
// or a probe; Interval (seconds) is for active checks only.
type Unhealthy struct {
	Interval     float64 `json:"interval"`
	TCPFailures  int     `json:"tcp_failures"`
	Timeouts     int     `json:"timeouts"`
	HTTPFailures int     `json:"http_failures"`
	HTTPStatuses []int   `json:"http_statuses"`
}

func upstreamsTable() *schema.Table {
	hashOn := func(name, doc string) schema.Field {
		return schema.Field{Name: name, Kind: schema.String, Default: "none", Doc: doc,
			OneOf: schema.Values("none", "consumer", "ip", "header", "cookie", "path", "query_arg", "uri_capture")}
	}
	text := func(name string) schema.Field {
		return schema.Field{Name: name, Kind: schema.String, LenMin: new(1)}
	}
	return &schema.Table{
		Name: "upstreams", Path: "upstreams", Key: "name",
		Fields: &schema.Fields{
			List: []schema.Field{
				idField(),
				createdAt(),
				{Name: "name", Kind: schema.String, Required: true, Unique: true,
					Doc:   "The host name by which services refer to the upstream.",
					Rules: []schema.Rule{schema.Custom(checkUpstreamName)}},
				updatedAt(),
				{Name: "algorithm", Kind: schema.String, Default: "round-robin",
					OneOf: schema.Values("consistent-hashing", "least-connections", "round-robin", "latency"),
					Doc:   "How the next target is chosen."},
				hashOn("hash_on", "What to hash on."),
				hashOn("hash_fallback", "What to hash on when there is no hash_on."),
				headerName("hash_on_header"),
				headerName("hash_fallback_header"),
				{Name: "hash_on_cookie", Kind: schema.String, Doc: "The cookie to hash on.",
					Rules: []schema.Rule{schema.Custom(checkCookieName)}},
				withDefault(pathField("hash_on_cookie_path"), "/"),
				text("hash_on_query_arg"),
				text("hash_fallback_query_arg"),
				text("hash_on_uri_capture"),
				text("hash_fallback_uri_capture"),
				{Name: "slots", Kind: schema.Integer, Default: int64(10000), Between: []float64{10, 1 << 16},
					Doc: "The number of slots in the balancer's ring."},
				healthchecksField(),
				tagsField(),
				{Name: "host_header", Kind: schema.String, Rules: []schema.Rule{schema.Custom(checkHostPort)},
					Doc: "The Host header that the targets get."},
				documented(foreign("client_certificate", "certificates", schema.Restrict),
					"The certificate to present to the targets."),
				{Name: "use_srv_name", Kind: schema.Boolean, Default: false,
					Doc: "Whether the name of an SRV record becomes the Host header."},
			},
			Checks:     upstreamChecks(),
			Shorthands: upstreamShorthands(),
		},
	}
}

// upstreamShorthands keep algorithm and hash_on consistent, whichever of them
// a client sets. The algorithm comes first.
func upstreamShorthands() []schema.Shorthand {
	return []schema.Shorthand{
		{Field: schema.Field{Name: "algorithm", Kind: schema.String}, Expand: func(v any) schema.Object {
			if v == "least-connections" || v == "latency" {
				return schema.Object{"algorithm": v, "hash_on": nil}
			}
			return schema.Object{"algorithm": v}
		}},
		{Field: schema.Field{Name: "hash_on", Kind: schema.String}, Expand: func(v any) schema.Object {
			switch v {
			case nil:
				return schema.Object{"hash_on": "none"}
			case "none":
				return schema.Object{"hash_on": v, "algorithm": "round-robin"}
			}
			return schema.Object{"hash_on": v, "algorithm": "consistent-hashing"}
		}},
	}
}

// upstreamChecks are in the order of Kong's messages.
func upstreamChecks() []schema.Check {
	is := func(value string) schema.Field {
		return schema.Field{Rules: []schema.Rule{schema.Match("^"+value+"$", func(s string) bool { return s == value })}}
	}
	needs := func(field, value, other string) schema.Check {
		return schema.Conditional(schema.When{If: field, Match: is(value), Then: other, Must: schema.Field{Required: true}})
	}
	fallback := func(value string, accepted ...string) schema.Check {
		return schema.Conditional(schema.When{If: "hash_on", Match: is(value),
			Then: "hash_fallback", Must: schema.Field{OneOf: schema.Values(accepted...)}})
	}
	return []schema.Check{
		needs("hash_on", "header", "hash_on_header"),
		needs("hash_fallback", "header", "hash_fallback_header"),
		needs("hash_on", "cookie", "hash_on_cookie"),
		needs("hash_fallback", "cookie", "hash_on_cookie"),
		fallback("none", "none"),
		fallback("cookie", "none"), // a cookie is set when there is none
		fallback("consumer", "none", "ip", "header", "cookie", "path", "query_arg", "uri_capture"),
		fallback("ip", "none", "consumer", "header", "cookie", "path", "query_arg", "uri_capture"),
		fallback("path", "none", "consumer", "header", "cookie", "query_arg", "ip", "uri_capture"),
		schema.Distinct("hash_on_header", "hash_fallback_header"),
		needs("hash_on", "query_arg", "hash_on_query_arg"),
		needs("hash_fallback", "query_arg", "hash_fallback_query_arg"),
		schema.Distinct("hash_on_query_arg", "hash_fallback_query_arg"),
		needs("hash_on", "uri_capture", "hash_on_uri_capture"),
		needs("hash_fallback", "uri_capture", "hash_fallback_uri_capture"),
		schema.Distinct("hash_on_uri_capture", "hash_fallback_uri_capture"),
	}
}

func healthchecksField() schema.Field {
	record := func(name string, fields ...schema.Field) schema.Field {
		return schema.Field{Name: name, Kind: schema.Record, Required: true, Fields: &schema.Fields{List: fields}}
	}
	checkType := func() schema.Field {
		return schema.Field{Name: "type", Kind: schema.String, Default: "http",
			OneOf: schema.Values("tcp", "http", "https", "grpc", "grpcs")}
	}
	seconds := func(name string, byDefault float64) schema.Field {
		return schema.Field{Name: name, Kind: schema.Number, Default: byDefault, Between: []float64{0, 65535}}
	}
	count := func(name string) schema.Field {
		return schema.Field{Name: name, Kind: schema.Integer, Default: int64(0), Between: []float64{0, 255}}
	}
	statuses := func(codes ...int64) schema.Field {
		return schema.Field{Name: "http_statuses", Kind: schema.Array, Default: schema.Values(codes...),
			Elem: &schema.Field{Kind: schema.Integer, Between: []float64{100, 999}}}
	}
	return documented(record("healthchecks",
		record("active",
			checkType(),
			seconds("timeout", 1),
			schema.Field{Name: "concurrency", Kind: schema.Integer, Default: int64(10), Between: []float64{1, 1 << 31}},
			withDefault(pathField("http_path"), "/"),
			schema.Field{Name: "https_sni", Kind: schema.String, Rules: []schema.Rule{schema.Custom(checkSNI)}},
			schema.Field{Name: "https_verify_certificate", Kind: schema.Boolean, Required: true, Default: true},
			headersField(),
			record("healthy",
				seconds("interval", 0),
				statuses(200, 302),
				count("successes"),
			),
			record("unhealthy",
				seconds("interval", 0),
				statuses(429, 404, 500, 501, 502, 503, 504, 505),
				count("tcp_failures"),
				count("timeouts"),
				count("http_failures"),
			),
		),
		record("passive",
			checkType(),
			record("healthy",
				statuses(200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 306, 307, 308),
				count("successes"),
			),
			record("unhealthy",
				statuses(429, 500, 503),
				count("tcp_failures"),
				count("timeouts"),
				count("http_failures"),
			),
		),
		schema.Field{Name: "threshold", Kind: schema.Number, Default: 0.0, Between: []float64{0, 100}},
	), "The health checks of the upstream's targets.")
}

func checkUpstreamName(s string) string {
	name := "Invalid name"
	if checkUTF8(s) == "" {
		name += " ('" + s + "')"
	}
	h, err := parseHost(s)
	switch {
	case err != nil:
		return name + "; must be a valid hostname"
	case h.kind != hostName:
		return name + "; no ip addresses allowed"
	case h.hasPort:
		return name + "; no port allowed"
	case s == OriginalDestination:
		return name + "; it stands for the destination of intercepted connections"
	}
	return ""
}

// checkCookieName wants a token, in the sense of RFC 2616.
func checkCookieName(s string) string {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f || strings.IndexByte(`()<>@,;:\"/?={}[]`, c) >= 0 {
			return "contains one or more invalid characters. ASCII control characters (0-31;127), space, tab and the " +
				`characters ()<>@,;:\"/?={}[] are not allowed.`
		}
	}
	return ""
}
