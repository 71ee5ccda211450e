package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// Secret is the typed view of a row of the table jwt_secrets.
type Secret struct {
	ID           uuid.UUID  `json:"id"`
	Consumer     entity.Ref `json:"consumer"`
	Key          string     `json:"key"`
	Secret       string     `json:"secret"`
	RSAPublicKey string     `json:"rsa_public_key"`
	Algorithm    string     `json:"algorithm"`

	once   sync.Once
	public any // parsed from RSAPublicKey, of the algorithm's type
	err    error
}

func secretsTable() *schema.Table {
	asymmetric := slices.DeleteFunc(slices.Clone(algorithms), symmetric)
	required := slices.DeleteFunc(slices.Clone(asymmetric), func(a string) bool { return strings.HasPrefix(a, "ES") })
	t := entity.Credential("jwt_secrets", "jwts", "jwt", "key",
		schema.Field{Name: "key", Kind: schema.String, Unique: true, Auto: schema.AutoString,
			Doc: "What the claim of a token names the secret by. If it is left out, one is made."},
		schema.Field{Name: "secret", Kind: schema.String, Auto: schema.AutoString, Encrypted: true,
			Doc: "The shared secret, for HS256, HS384 and HS512. If it is left out, one is made."},
		schema.Field{Name: "rsa_public_key", Kind: schema.String,
			Doc: "The public key in PEM, RSA, ECDSA or Ed25519, for the other algorithms."},
		schema.Field{Name: "algorithm", Kind: schema.String, Default: "HS256", OneOf: schema.Values(algorithms...),
			Doc: "The algorithm of the tokens. Tokens that name another one are refused."},
	)
	t.Fields.Checks = []schema.Check{
		schema.Conditional(schema.When{
			If: "algorithm", Match: schema.Field{Required: true, OneOf: schema.Values(required...)},
			Then: "rsa_public_key", Must: schema.Field{Required: true},
		}),
		schema.Conditional(schema.When{
			If: "algorithm", Match: schema.Field{Required: true, OneOf: schema.Values(asymmetric...)},
			Then: "rsa_public_key", Must: schema.Field{Rules: []schema.Rule{schema.Custom(checkKey)}},
		}),
	}
	return t
}

func checkKey(text string) string {
	if _, err := publicKey(text); err != nil {
		return "invalid key"
	}
	return ""
}

func symmetric(algorithm string) bool { return strings.HasPrefix(algorithm, "HS") }

func (s *Secret) algorithm() string {
	if s.Algorithm == "" {
		return "HS256"
	}
	return s.Algorithm
}

// verifier answers what checks a signature with the key that belongs to the
// algorithm: what is a public key for one must not be a secret for another.
func (s *Secret) verifier(isBase64 bool) (func(signed string, signature []byte) error, error) {
	method := methods[s.algorithm()]
	key, err := s.key(isBase64)
	if err != nil {
		return nil, err
	}
	return func(signed string, signature []byte) error { return method.Verify(signed, signature, key) }, nil
}

func (s *Secret) key(isBase64 bool) (any, error) {
	switch {
	case !symmetric(s.algorithm()):
		s.once.Do(func() { s.public, s.err = keyFor(s.algorithm(), s.RSAPublicKey) })
		return s.public, s.err
	case s.Secret == "":
		return nil, errors.New("no secret")
	case isBase64:
		text := strings.NewReplacer("+", "-", "/", "_").Replace(s.Secret)
		secret, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
		if err == nil && len(secret) == 0 {
			err = errors.New("no secret")
		}
		return secret, err
	}
	return []byte(s.Secret), nil
}

// keyFor reads the public key for an algorithm; it is an error if it is one of
// another kind.
func keyFor(algorithm, text string) (any, error) {
	key, err := publicKey(text)
	if err != nil {
		return nil, err
	}
	fits := false
	switch m := methods[algorithm].(type) {
	case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
		_, fits = key.(*rsa.PublicKey)
	case *jwt.SigningMethodECDSA:
		k, is := key.(*ecdsa.PublicKey)
		fits = is && k.Curve.Params().BitSize == m.CurveBits
	case *jwt.SigningMethodEd25519:
		_, fits = key.(ed25519.PublicKey)
	}
	if !fits {
		return nil, fmt.Errorf("a %T is no key for %s", key, algorithm)
	}
	return key, nil
}

// publicKey reads the public key of a PEM block: of a public key, a certificate,
// or a private key.
func publicKey(text string) (any, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("no PEM data found")
	}
	switch block.Type {
	case "CERTIFICATE":
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return c.PublicKey, nil
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	}
	var key any
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%T cannot sign", key)
	}
	return signer.Public(), nil
}
