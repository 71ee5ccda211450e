package entity

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"math/big"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// loadableJWK tells whether a JSON Web Key holds a usable RSA, elliptic-curve
// or Edwards-curve key, public or private (RFC 7518 section 6, RFC 8037).
func loadableJWK(jwk schema.Object) bool {
	switch jwk["kty"] {
	case "RSA":
		return loadableRSA(jwk)
	case "EC":
		return loadableEC(jwk)
	case "OKP":
		return loadableOKP(jwk)
	}
	return false
}

func loadableRSA(jwk schema.Object) bool {
	n, okN := jwkBytes(jwk, "n")
	e, okE := jwkBytes(jwk, "e")
	if !okN || !okE || len(e) > 4 {
		return false
	}
	public := rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	if public.N.BitLen() < 512 || public.E < 2 {
		return false
	}
	if jwk["d"] == nil {
		return true
	}
	d, okD := jwkBytes(jwk, "d")
	private := rsa.PrivateKey{PublicKey: public, D: new(big.Int).SetBytes(d)}
	if jwk["p"] == nil && jwk["q"] == nil {
		return okD
	}
	p, okP := jwkBytes(jwk, "p")
	q, okQ := jwkBytes(jwk, "q")
	if !okD || !okP || !okQ {
		return false
	}
	private.Primes = []*big.Int{new(big.Int).SetBytes(p), new(big.Int).SetBytes(q)}
	return private.Validate() == nil
}

func loadableEC(jwk schema.Object) bool {
	curve := map[any]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[jwk["crv"]]
	x, okX := jwkBytes(jwk, "x")
	y, okY := jwkBytes(jwk, "y")
	if curve == nil || !okX || !okY {
		return false
	}
	size := (curve.Params().BitSize + 7) / 8
	if len(x) > size || len(y) > size {
		return false
	}
	point := make([]byte, 1+2*size)
	point[0] = 4 // uncompressed
	copy(point[1+size-len(x):], x)
	copy(point[1+2*size-len(y):], y)
	public, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return false
	}
	if jwk["d"] == nil {
		return true
	}
	d, okD := jwkBytes(jwk, "d")
	if !okD || len(d) > size {
		return false
	}
	raw := make([]byte, size)
	copy(raw[size-len(d):], d)
	private, err := ecdsa.ParseRawPrivateKey(curve, raw)
	return err == nil && private.PublicKey.Equal(public)
}

func loadableOKP(jwk schema.Object) bool {
	x, okX := jwkBytes(jwk, "x")
	if !okX {
		return false
	}
	d, okD := jwkBytes(jwk, "d")
	switch jwk["crv"] {
	case "Ed25519":
		if len(x) != ed25519.PublicKeySize {
			return false
		}
		if jwk["d"] == nil {
			return true
		}
		return okD && len(d) == ed25519.SeedSize &&
			ed25519.PublicKey(x).Equal(ed25519.NewKeyFromSeed(d).Public())
	case "X25519":
		if _, err := ecdh.X25519().NewPublicKey(x); err != nil {
			return false
		}
		return jwk["d"] == nil || okD && len(d) == 32
	case "Ed448", "X448": // not in the standard library: only their lengths are known
		return (len(x) == 56 || len(x) == 57) && (jwk["d"] == nil || okD)
	}
	return false
}

// jwkBytes decodes a member that holds base64url without padding.
func jwkBytes(jwk schema.Object, name string) ([]byte, bool) {
	s, ok := jwk[name].(string)
	if !ok || s == "" {
		return nil, false
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	return b, err == nil
}
