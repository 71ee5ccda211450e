package entity

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// Key is the typed view of a row of the table keys: an asymmetric key, as a
// JSON Web Key or in PEM form.
type Key struct {
	ID        uuid.UUID `json:"id"`
	Set       *Ref      `json:"set"`
	Name      string    `json:"name"`
	KID       string    `json:"kid"`
	JWK       string    `json:"jwk"` // the JSON text
	PEM       *PEM      `json:"pem"`
	Tags      []string  `json:"tags"`
	CreatedAt int64     `json:"created_at"` // seconds
	UpdatedAt int64     `json:"updated_at"`
}

// PEM is a pair of keys, of which one may be missing.
type PEM struct {
	PrivateKey string `json:"private_key"`
	PublicKey  string `json:"public_key"`
}

func keysTable() *schema.Table {
	return &schema.Table{
		Name: "keys", Path: "keys", Key: "name",
		CacheKey: []string{"kid", "set"},
		Fields: &schema.Fields{
			List: []schema.Field{
				idField(),
				documented(foreign("set", "key_sets", schema.Cascade), "The key set that the key belongs to."),
				{Name: "name", Kind: schema.String, Unique: true, Doc: "The name of the key."},
				{Name: "kid", Kind: schema.String, Required: true, Doc: "The identifier of the key within its set."},
				{Name: "jwk", Kind: schema.String, Referenceable: true, Encrypted: true,
					Doc: "A JSON Web Key, as text."},
				{Name: "pem", Kind: schema.Record, Doc: "A pair of keys in PEM form, of which one may be missing.",
					Rules: []schema.Rule{schema.CustomRecord(checkPEMKeys)},
					Fields: &schema.Fields{
						List: []schema.Field{
							{Name: "private_key", Kind: schema.String, Referenceable: true, Encrypted: true},
							{Name: "public_key", Kind: schema.String, Referenceable: true},
						},
						Checks: []schema.Check{schema.AtLeastOneOf("private_key", "public_key")},
					}},
				tagsField(),
				createdAt(),
				updatedAt(),
			},
			Checks: []schema.Check{
				schema.MutuallyExclusive("jwk", "pem"),
				schema.AtLeastOneOf("jwk", "pem"),
				schema.CustomCheck(checkJWK, "jwk", "pem", "kid"),
			},
		},
	}
}

func checkPEMKeys(o schema.Object) string {
	private, _ := o["private_key"].(string)
	public, _ := o["public_key"].(string)
	if schema.IsReference(private) || schema.IsReference(public) {
		return ""
	}
	var pub, own any
	if public != "" {
		key, err := parsePublicKey(public)
		if err != nil {
			return "could not load public key"
		}
		pub = key
	}
	if private != "" {
		key, err := parsePrivateKey(private)
		if err != nil {
			return "could not load private key" + err.Error()
		}
		own = key.Public()
	}
	if pub != nil && own != nil && !samePublicKey(pub, own) {
		return "public key does not match private key"
	}
	return ""
}

// jwkFields is the shape of a JSON Web Key (RFC 7517, 7518).
var jwkFields = func() *schema.Fields {
	fs := &schema.Fields{List: []schema.Field{{Name: "kid", Kind: schema.String, Required: true}}}
	for _, name := range strings.Fields("issuer kty use alg x5u x5t x5t#S256 k x y crv n e d p q dp dq qi oth r t") {
		fs.List = append(fs.List, schema.Field{Name: name, Kind: schema.String})
	}
	for _, name := range []string{"key_ops", "x5c"} {
		fs.List = append(fs.List, schema.Field{Name: name, Kind: schema.Array, Elem: &schema.Field{Kind: schema.String}})
	}
	return fs
}()

func checkJWK(o schema.Object) string {
	text, _ := o["jwk"].(string)
	if text == "" {
		return ""
	}
	var jwk schema.Object
	if err := json.Unmarshal([]byte(text), &jwk); err != nil || jwk == nil {
		return "could not json decode jwk string"
	}
	if jwk["kid"] != o["kid"] {
		return "kid in jwk.kid must be equal to keys.kid"
	}
	if !loadableJWK(jwk) {
		return "could not load JWK, likely not a valid key"
	}
	if errs := jwkFields.Validate(jwk); errs != nil {
		parts := make([]string, 0, len(errs))
		for _, name := range slices.Sorted(maps.Keys(errs)) {
			if msg, ok := errs[name].(string); ok {
				parts = append(parts, name+": "+msg)
			}
		}
		return "Validation error: " + strings.Join(parts, "; ")
	}
	return ""
}
