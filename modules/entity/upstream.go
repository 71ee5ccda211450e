package entity

import (
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

// Target is the typed view of a row of the table targets: one address of an
// upstream.
type Target struct {
	ID        uuid.UUID `json:"id"`
	Upstream  Ref       `json:"upstream"`
	Target    string    `json:"target"` // host:port
	Weight    int       `json:"weight"`
	Tags      []string  `json:"tags"`
	CreatedAt float64   `json:"created_at"` // seconds, with milliseconds
	UpdatedAt float64   `json:"updated_at"`
}

func upstreamsTable() *schema.Table {
	return &schema.Table{Name: "upstreams", Path: "upstreams", Key: "name", Fields: &schema.Fields{List: []schema.Field{
		idField(), createdAt(), updatedAt(),
		{Name: "name", Kind: schema.String, Required: true, Unique: true},
		tagsField(),
	}}}
}
