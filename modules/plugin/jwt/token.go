package jwt

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// A token is what a client showed, read and not yet believed.
type token struct {
	header, claims map[string]any
	algorithm      string
	signed         string // what the signature is of
	signature      []byte
}

// parse reads a token. It answers what is bad about it, in Kong's words
// (kong/plugins/jwt/jwt_parser.lua), or "".
func parse(text string) (*token, string) {
	parts := strings.SplitN(text, ".", 3)
	if len(parts) < 3 {
		return nil, "invalid JSON"
	}
	header, err := decode(parts[0])
	if err != nil {
		return nil, "invalid JSON"
	}
	claims, err := decode(parts[1])
	if err != nil {
		return nil, "invalid JSON"
	}
	t := &token{signed: text[:len(parts[0])+1+len(parts[1])]}
	t.header, _ = header.(map[string]any)
	t.algorithm, _ = t.header["alg"].(string)
	if methods[t.algorithm] == nil {
		return nil, "invalid alg"
	}
	var ok bool
	if t.claims, ok = claims.(map[string]any); !ok {
		return nil, "invalid claims"
	}
	if t.signature, err = base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[2], "=")); err != nil {
		return nil, "invalid signature"
	}
	return t, ""
}

func decode(part string) (v any, err error) {
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(part, "="))
	if err != nil {
		return nil, err
	}
	err = json.Unmarshal(text, &v)
	return v, err
}

// timely answers what is wrong with the times that are to be verified, by claim;
// nil: nothing.
func (t *token) timely(now int64, verify []string, maximum float64) map[string]string {
	var errs map[string]string
	wrong := func(claim, what string) {
		if errs == nil {
			errs = map[string]string{}
		}
		errs[claim] = what
	}
	for _, claim := range verify {
		switch at, ok := t.claims[claim].(float64); {
		case !ok:
			wrong(claim, "must be a number")
		case claim == "exp" && at <= float64(now):
			wrong(claim, "token expired")
		case claim == "nbf" && at > float64(now):
			wrong(claim, "token not valid yet")
		}
	}
	if errs == nil && maximum > 0 {
		if exp, ok := t.claims["exp"].(float64); !ok || exp-float64(now) > maximum {
			wrong("exp", "exceeds maximum allowed expiration")
		}
	}
	return errs
}

// methods are the algorithms that a secret may be for. There is no "none" among
// them.
var methods = func() map[string]jwt.SigningMethod {
	m := map[string]jwt.SigningMethod{}
	for _, name := range algorithms {
		m[name] = jwt.GetSigningMethod(name)
	}
	return m
}()

var algorithms = []string{
	"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA",
}
