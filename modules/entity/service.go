package entity

import "github.com/google/uuid"

// Service is the typed view of a row of the table services: where requests go.
type Service struct {
	ID                uuid.UUID   `json:"id"`
	Name              string      `json:"name"`
	Protocol          string      `json:"protocol"`
	Host              string      `json:"host"` // the name of an upstream, a DNS name or an address
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
	Enabled           bool        `json:"enabled"`
	Tags              []string    `json:"tags"`
	CreatedAt         int64       `json:"created_at"`
	UpdatedAt         int64       `json:"updated_at"`
}
