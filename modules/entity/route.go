package entity

import "github.com/google/uuid"

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
