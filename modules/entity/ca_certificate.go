package entity

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// CACertificate is the typed view of a row of the table ca_certificates.
type CACertificate struct {
	ID         uuid.UUID `json:"id"`
	Cert       string    `json:"cert"`
	CertDigest string    `json:"cert_digest"` // SHA-256, hexadecimal
	Tags       []string  `json:"tags"`
	CreatedAt  int64     `json:"created_at"` // seconds
	UpdatedAt  int64     `json:"updated_at"`
}

func caCertificatesTable() *schema.Table {
	return &schema.Table{
		Name: "ca_certificates", Path: "ca_certificates",
		Fields: &schema.Fields{
			List: []schema.Field{
				idField(),
				createdAt(),
				updatedAt(),
				{Name: "cert", Kind: schema.String, Required: true, Doc: "The certificate in PEM form.",
					Rules: []schema.Rule{schema.Custom(checkCertificate)}},
				{Name: "cert_digest", Kind: schema.String, Unique: true,
					Doc: "The SHA-256 of the certificate, in hexadecimal. It is computed."},
				tagsField(),
			},
			Checks: []schema.Check{schema.CustomCheck(checkCA, "cert")},
		},
		Transform: func(o schema.Object) {
			if cert, err := parseCertificate(o["cert"].(string)); err == nil {
				digest := sha256.Sum256(cert.Raw)
				o["cert_digest"] = hex.EncodeToString(digest[:])
			}
		},
		Related: schema.Related{Deleting: refuseUsedCA},
	}
}

func checkCA(o schema.Object) string {
	text, _ := o["cert"].(string)
	if strings.Count(text, "-----BEGIN CERTIFICATE-----") > 1 {
		return "please submit only one certificate at a time"
	}
	cert, err := parseCertificate(text)
	switch {
	case err != nil:
		return "" // the field has a message
	case cert.NotAfter.Before(time.Now()):
		return `certificate expired, "Not After" time is in the past`
	case !cert.BasicConstraintsValid || !cert.IsCA:
		return `certificate does not appear to be a CA because it is missing the "CA" basic constraint`
	}
	return ""
}

// refuseUsedCA keeps a certificate that services or plugins name in their
// ca_certificates, which are lists of ids and no foreign keys.
func refuseUsedCA(rows schema.Rows, o schema.Object) *schema.Error {
	var err *schema.Error
	look := func(table string, list func(schema.Object) any) {
		if err != nil {
			return
		}
		rows.All(table, func(row schema.Object) bool {
			ids, _ := list(row).([]any)
			for _, id := range ids {
				if id == o["id"] {
					err = schema.ReferencedByOthers(fmt.Sprintf(
						"ca certificate %v is still referenced by %s (id = %v)", o["id"], table, row["id"]))
					return false
				}
			}
			return true
		})
	}
	look("services", func(row schema.Object) any { return row["ca_certificates"] })
	look("plugins", func(row schema.Object) any {
		config, _ := row["config"].(schema.Object)
		return config["ca_certificates"]
	})
	return err
}
