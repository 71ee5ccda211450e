package entity

import "github.com/google/uuid"

// Certificate is the typed view of a row of the table certificates.
type Certificate struct {
	ID      uuid.UUID `json:"id"`
	Cert    string    `json:"cert"` // PEM, as are the next three
	Key     string    `json:"key"`
	CertAlt string    `json:"cert_alt"` // a second pair of another key type
	KeyAlt  string    `json:"key_alt"`
	Tags    []string  `json:"tags"`
}

// SNI is the typed view of a row of the table snis: a name that a certificate
// serves. The name "*" serves those that no other name does.
type SNI struct {
	ID          uuid.UUID `json:"id"`
	Name        string    `json:"name"`
	Certificate Ref       `json:"certificate"`
	Tags        []string  `json:"tags"`
}

// CACertificate is the typed view of a row of the table ca_certificates.
type CACertificate struct {
	ID         uuid.UUID `json:"id"`
	Cert       string    `json:"cert"`
	CertDigest string    `json:"cert_digest"` // SHA-256, hexadecimal
	Tags       []string  `json:"tags"`
}
