package entity

import (
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// Certificate is the typed view of a row of the table certificates.
type Certificate struct {
	ID        uuid.UUID `json:"id"`
	Cert      string    `json:"cert"` // PEM, as are the next three
	Key       string    `json:"key"`
	CertAlt   string    `json:"cert_alt"` // a second pair of another key type
	KeyAlt    string    `json:"key_alt"`
	Tags      []string  `json:"tags"`
	CreatedAt int64     `json:"created_at"` // seconds
	UpdatedAt int64     `json:"updated_at"`
}

func certificatesTable() *schema.Table {
	secret := func(name, doc string, needed, encrypted bool, check func(string) string) schema.Field {
		return schema.Field{Name: name, Kind: schema.String, Doc: doc, Required: needed,
			Referenceable: true, Encrypted: encrypted, Rules: []schema.Rule{schema.Custom(check)}}
	}
	return &schema.Table{
		Name: "certificates", Path: "certificates",
		Fields: &schema.Fields{
			List: []schema.Field{
				idField(),
				createdAt(),
				updatedAt(),
				secret("cert", "The certificate in PEM form, with its chain.", true, false, checkCertificate),
				secret("key", "The private key in PEM form.", true, true, checkPrivateKey),
				secret("cert_alt", "A second certificate, of another key type.", false, false, checkCertificate),
				secret("key_alt", "The private key of the second certificate.", false, true, checkPrivateKey),
				tagsField(),
				{Name: "snis", Kind: schema.Array, Elem: new(wildcardHost("")), Transient: true,
					Doc: "The names of the SNIs that the certificate has. Writing them creates and deletes SNIs."},
			},
			Checks: []schema.Check{
				schema.MutuallyRequired("cert_alt", "key_alt"),
				schema.CustomCheck(pairCheck("cert", "key", "certificate does not match key"), "cert", "key"),
				schema.CustomCheck(pairCheck("cert_alt", "key_alt", "alternative certificate does not match key"),
					"cert_alt", "key_alt"),
				schema.CustomCheck(checkKeyTypes, "cert", "cert_alt"),
			},
		},
		Related: schema.Related{
			Check:   checkCertificateNames,
			Written: writeCertificateNames,
			Fill:    fillCertificateNames,
		},
	}
}

// pairCheck answers a check that a certificate belongs to a key.
func pairCheck(certField, keyField, message string) func(schema.Object) string {
	return func(o schema.Object) string {
		certText, _ := o[certField].(string)
		keyText, _ := o[keyField].(string)
		if certText == "" || keyText == "" {
			return ""
		}
		cert, err := parseCertificate(certText)
		if err != nil {
			return "" // the field has a message
		}
		key, err := parsePrivateKey(keyText)
		if err != nil {
			return ""
		}
		if !samePublicKey(cert.PublicKey, key.Public()) {
			return message
		}
		return ""
	}
}

func checkKeyTypes(o schema.Object) string {
	first, _ := o["cert"].(string)
	second, _ := o["cert_alt"].(string)
	if first == "" || second == "" {
		return ""
	}
	a, errA := parseCertificate(first)
	b, errB := parseCertificate(second)
	if errA == nil && errB == nil && KeyType(a.PublicKey) == KeyType(b.PublicKey) {
		return "certificate and alternative certificate need to have different type (e.g. RSA and ECDSA), " +
			"the provided certificates were both of the same type"
	}
	return ""
}

// sniNames answers the names that a client sent for a certificate, and whether
// it said anything about them.
func sniNames(o schema.Object) ([]string, bool) {
	v, said := o["snis"]
	list, _ := v.([]any)
	names := make([]string, 0, len(list))
	for _, e := range list {
		if s, ok := e.(string); ok {
			names = append(names, s)
		}
	}
	slices.Sort(names)
	return names, said
}

func checkCertificateNames(rows schema.Rows, op schema.Op, o, current schema.Object) *schema.Error {
	names, _ := sniNames(o)
	for i := 1; i < len(names); i++ {
		if names[i] == names[i-1] {
			return schema.Violation(schema.Object{"snis": names[i] + " is duplicated"})
		}
	}
	for _, name := range names {
		sni := rows.ByKey("snis", "name", name)
		if sni == nil {
			continue
		}
		owner, _ := sni["certificate"].(schema.Object)
		if owner["id"] != o["id"] {
			return schema.Violation(schema.Object{"snis": fmt.Sprintf(
				"%s already associated with existing certificate '%v'", name, owner["id"])})
		}
	}
	return nil
}

// writeCertificateNames makes the SNIs of a certificate those that the client
// asked for.
func writeCertificateNames(rows schema.Rows, _ schema.Op, o schema.Object) error {
	names, said := sniNames(o)
	if !said {
		return nil
	}
	id, err := uuid.Parse(o["id"].(string))
	if err != nil {
		return err
	}
	had := make(map[string]bool)
	var gone []uuid.UUID
	rows.Children("snis", "certificate", id, func(sni schema.Object) bool {
		name, _ := sni["name"].(string)
		had[name] = true
		if _, keep := slices.BinarySearch(names, name); !keep {
			if u, err := uuid.Parse(sni["id"].(string)); err == nil {
				gone = append(gone, u)
			}
		}
		return true
	})
	for _, u := range gone {
		if err := rows.Delete("snis", u); err != nil {
			return err
		}
	}
	for _, name := range names {
		if had[name] {
			continue
		}
		sni := schema.Object{"name": name, "certificate": schema.Object{"id": o["id"]}}
		if err := rows.Insert("snis", sni); err != nil {
			return err
		}
	}
	return nil
}

func fillCertificateNames(rows schema.Rows, o schema.Object) {
	names := []any{}
	if id, ok := o["id"].(string); ok {
		if u, err := uuid.Parse(id); err == nil {
			rows.Children("snis", "certificate", u, func(sni schema.Object) bool {
				names = append(names, sni["name"])
				return true
			})
		}
	}
	slices.SortFunc(names, func(a, b any) int {
		x, _ := a.(string)
		y, _ := b.(string)
		if x < y {
			return -1
		}
		return 1
	})
	o["snis"] = names
}
