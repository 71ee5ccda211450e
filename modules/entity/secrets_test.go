package entity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// pair is a self-signed certificate with its keys.
type pair struct {
	signer            crypto.Signer
	cert, key, public string // PEM
}

func makePair(signer crypto.Signer, ca bool, expires time.Time) pair {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Unix(1, 0), NotAfter: expires, IsCA: ca, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		panic(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		panic(err)
	}
	public, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		panic(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return pair{signer, block("CERTIFICATE", der), block("PRIVATE KEY", key), block("PUBLIC KEY", public)}
}

func newEC() crypto.Signer {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

func newRSA() crypto.Signer {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
}

var pairs = sync.OnceValue(func() map[string]pair {
	later := time.Now().Add(time.Hour)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	return map[string]pair{
		"ec": makePair(newEC(), false, later), "ec2": makePair(newEC(), false, later), "rsa": makePair(newRSA(), false, later),
		"ed": makePair(ed, false, later), "ca": makePair(newEC(), true, later),
		"old": makePair(newEC(), true, time.Now().Add(-time.Hour)),
	}
})

func TestCertificates_messages(t *testing.T) {
	p := pairs()
	table := NewCatalog(nil).Table("certificates")
	rsaKey := p["rsa"].signer.(*rsa.PrivateKey)
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}))
	sec1DER, err := x509.MarshalECPrivateKey(p["ec"].signer.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	sec1 := string(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS"})) + string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1DER}))
	encrypted := string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}))
	const same = "certificate and alternative certificate need to have different type (e.g. RSA and ECDSA), the provided certificates were both of the same type"
	for _, tt := range []struct {
		name    string
		in      schema.Object
		message string
	}{
		{"a pair", schema.Object{"cert": p["ec"].cert, "key": p["ec"].key}, ""},
		{"a chain", schema.Object{"cert": p["ec"].cert + p["ca"].cert, "key": p["ec"].key}, ""},
		{"an Ed25519 pair", schema.Object{"cert": p["ed"].cert, "key": p["ed"].key}, ""},
		{"a PKCS #1 key", schema.Object{"cert": p["rsa"].cert, "key": pkcs1}, ""},
		{"a SEC 1 key behind its parameters", schema.Object{"cert": p["ec"].cert, "key": sec1}, ""},
		{"two pairs", schema.Object{"cert": p["ec"].cert, "key": p["ec"].key, "cert_alt": p["rsa"].cert, "key_alt": p["rsa"].key}, ""},
		{"vault references", schema.Object{"cert": "{vault://env/cert}", "key": "{vault://env/key}"}, ""},
		{"a vault reference to the key", schema.Object{"cert": p["ec"].cert, "key": "{vault://env/key}"}, ""},
		{"nothing", schema.Object{}, several("cert: required field missing", "key: required field missing")},
		{"no PEM", schema.Object{"cert": "x", "key": "y"}, several("cert: invalid certificate: no PEM data found", "key: invalid key: no PEM data found")},
		{"a key for a certificate", schema.Object{"cert": p["ec"].key, "key": p["ec"].key}, one("cert: invalid certificate: no PEM data found")},
		{"an encrypted key", schema.Object{"cert": p["ec"].cert, "key": encrypted}, one("key: invalid key: the key is encrypted")},
		{"another's key", schema.Object{"cert": p["ec"].cert, "key": p["ec2"].key}, one("certificate does not match key")},
		{"a key of another type", schema.Object{"cert": p["ec"].cert, "key": p["rsa"].key}, one("certificate does not match key")},
		{"half of a second pair", schema.Object{"cert": p["ec"].cert, "key": p["ec"].key, "cert_alt": p["rsa"].cert},
			one("all or none of these fields must be set: 'cert_alt', 'key_alt'")},
		{"another's key in the second pair", schema.Object{"cert": p["ec"].cert, "key": p["ec"].key, "cert_alt": p["rsa"].cert, "key_alt": p["ec"].key},
			one("alternative certificate does not match key")},
		{"two pairs of one type", schema.Object{"cert": p["ec"].cert, "key": p["ec"].key, "cert_alt": p["ec2"].cert, "key_alt": p["ec2"].key}, one(same)},
		{"a bad name", schema.Object{"cert": p["ec"].cert, "key": p["ec"].key, "snis": []any{"a.com", "1.2.3.4"}}, one("snis.2: must not be an IP")},
	} {
		_, err := table.Process(schema.Insert, tt.in, nil, nil)
		got := ""
		if err != nil {
			got = err.Message
		}
		if got != tt.message {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.message)
		}
	}
}

func TestCACertificates(t *testing.T) {
	p := pairs()
	table := NewCatalog(nil).Table("ca_certificates")
	for name, tt := range map[string]struct{ cert, message string }{
		"a CA":         {p["ca"].cert, ""},
		"no CA":        {p["ec"].cert, one(`certificate does not appear to be a CA because it is missing the "CA" basic constraint`)},
		"an old one":   {p["old"].cert, one(`certificate expired, "Not After" time is in the past`)},
		"two":          {p["ca"].cert + p["ca"].cert, one("please submit only one certificate at a time")},
		"no PEM":       {"x", one("cert: invalid certificate: no PEM data found")},
		"empty string": {"", one("cert: length must be at least 1")},
	} {
		o, err := table.Process(schema.Insert, schema.Object{"cert": tt.cert, "cert_digest": "sent"}, nil, nil)
		got := ""
		if err != nil {
			got = err.Message
		}
		if got != tt.message {
			t.Errorf("%s: got %q, want %q", name, got, tt.message)
		}
		if err == nil {
			block, _ := pem.Decode([]byte(tt.cert))
			digest := sha256.Sum256(block.Bytes)
			if o["cert_digest"] != hex.EncodeToString(digest[:]) {
				t.Errorf("%s: digest %v", name, o["cert_digest"])
			}
		}
	}
}

func jwkText(t *testing.T, members map[string]any) string {
	t.Helper()
	b, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func TestKeys_messages(t *testing.T) {
	p := pairs()
	table := NewCatalog(nil).Table("keys")
	ec := p["ec"].signer.(*ecdsa.PrivateKey)
	point, err := ec.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	d, err := ec.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	rs := p["rsa"].signer.(*rsa.PrivateKey)
	ed := p["ed"].signer.(ed25519.PrivateKey)
	ecJWK := map[string]any{"kid": "k", "kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])}
	with := func(base map[string]any, name string, v any) map[string]any {
		out := map[string]any{name: v}
		for k, e := range base {
			if k != name {
				out[k] = e
			}
		}
		return out
	}
	rsaJWK := map[string]any{"kid": "k", "kty": "RSA", "n": b64(rs.N.Bytes()), "e": "AQAB"}
	edJWK := map[string]any{"kid": "k", "kty": "OKP", "crv": "Ed25519", "x": b64(ed.Public().(ed25519.PublicKey))}
	const unloadable = "could not load JWK, likely not a valid key"
	const none = "at least one of these fields must be non-empty: 'jwk', 'pem'"
	for _, tt := range []struct {
		name    string
		in      schema.Object
		message string
	}{
		{"an EC key", schema.Object{"kid": "k", "jwk": jwkText(t, ecJWK)}, ""},
		{"a private EC key", schema.Object{"kid": "k", "jwk": jwkText(t, with(ecJWK, "d", b64(d)))}, ""},
		{"an RSA key", schema.Object{"kid": "k", "jwk": jwkText(t, rsaJWK)}, ""},
		{"a private RSA key", schema.Object{"kid": "k", "jwk": jwkText(t, with(with(with(rsaJWK, "d", b64(rs.D.Bytes())),
			"p", b64(rs.Primes[0].Bytes())), "q", b64(rs.Primes[1].Bytes())))}, ""},
		{"an Ed25519 key", schema.Object{"kid": "k", "jwk": jwkText(t, edJWK)}, ""},
		{"a private Ed25519 key", schema.Object{"kid": "k", "jwk": jwkText(t, with(edJWK, "d", b64(ed.Seed())))}, ""},
		{"a vault reference", schema.Object{"kid": "k", "jwk": "{vault://env/key}"}, ""},
		{"PEM keys", schema.Object{"kid": "k", "pem": schema.Object{"private_key": p["ec"].key, "public_key": p["ec"].public}}, ""},
		{"a public PEM key", schema.Object{"kid": "k", "pem": schema.Object{"public_key": p["rsa"].public}}, ""},
		{"a PEM vault reference", schema.Object{"kid": "k", "pem": schema.Object{"private_key": "{vault://env/key}", "public_key": "x"}}, ""},
		{"nothing", schema.Object{}, several(none, "kid: required field missing")},
		{"no key", schema.Object{"kid": "k"}, one(none)},
		{"both forms", schema.Object{"kid": "k", "jwk": jwkText(t, ecJWK), "pem": schema.Object{"public_key": p["ec"].public}},
			one("only one or none of these fields must be set: 'jwk', 'pem'")},
		{"no JSON", schema.Object{"kid": "k", "jwk": "x"}, one("could not json decode jwk string")},
		{"another kid", schema.Object{"kid": "j", "jwk": jwkText(t, ecJWK)}, one("kid in jwk.kid must be equal to keys.kid")},
		{"a point off the curve", schema.Object{"kid": "k", "jwk": jwkText(t, with(ecJWK, "x", b64([]byte("x"))))}, one(unloadable)},
		{"a private key that is another's", schema.Object{"kid": "k", "jwk": jwkText(t, with(ecJWK, "d", b64([]byte{1})))}, one(unloadable)},
		{"a symmetric key", schema.Object{"kid": "k", "jwk": `{"kid":"k","kty":"oct","k":"AA"}`}, one(unloadable)},
		{"a small modulus", schema.Object{"kid": "k", "jwk": jwkText(t, with(rsaJWK, "n", "AQAB"))}, one(unloadable)},
		{"a short Ed25519 key", schema.Object{"kid": "k", "jwk": jwkText(t, with(edJWK, "x", "AQAB"))}, one(unloadable)},
		{"unknown members", schema.Object{"kid": "k", "jwk": jwkText(t, with(ecJWK, "foo", "bar"))}, one("Validation error: foo: unknown field")},
		{"no PEM public key", schema.Object{"kid": "k", "pem": schema.Object{"public_key": "x"}}, one("pem: could not load public key")},
		{"no PEM private key", schema.Object{"kid": "k", "pem": schema.Object{"private_key": "x"}}, one("pem: could not load private keyno PEM data found")},
		{"PEM keys that differ", schema.Object{"kid": "k", "pem": schema.Object{"private_key": p["ec"].key, "public_key": p["ec2"].public}},
			one("pem: public key does not match private key")},
		{"an empty pair", schema.Object{"kid": "k", "pem": schema.Object{"public_key": nil}},
			several(none, "pem.@entity: {\n  \"at least one of these fields must be non-empty: 'private_key', 'public_key'\"\n}")},
	} {
		_, err := table.Process(schema.Insert, tt.in, nil, nil)
		got := ""
		if err != nil {
			got = err.Message
		}
		if diff := cmp.Diff(tt.message, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func fuzzObject(text string) (schema.Object, bool) {
	var o schema.Object
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	err := d.Decode(&o)
	return o, err == nil && o != nil
}
