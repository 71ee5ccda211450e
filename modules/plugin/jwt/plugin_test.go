package jwt_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"hash"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	_ "github.com/portcullis-gateway/portcullis/modules/plugin/jwt"
	"github.com/portcullis-gateway/portcullis/modules/plugin/plugintest"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// The signing side is made of the standard library alone.

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func unsigned(header, claims string) string { return b64([]byte(header)) + "." + b64([]byte(claims)) }

func hs256(secret, text string) string { return hs(sha256.New, secret, text) }

func hs(h func() hash.Hash, secret, text string) string {
	mac := hmac.New(h, []byte(secret))
	mac.Write([]byte(text))
	return text + "." + b64(mac.Sum(nil))
}

// token is signed with the secret "secret" by HS256.
func token(claims string) string {
	return hs256("secret", unsigned(`{"typ":"JWT","alg":"HS256"}`, claims))
}

func pemOf(t testing.TB, key crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// world has anna's secret with the key k.
func world(t testing.TB, config string) *plugintest.Gateway {
	g := plugintest.New(t)
	g.Now = time.Unix(1_000_000, 500_000_000)
	g.Consumer("guest")
	g.Insert("jwt_secrets", schema.Object{"consumer": g.Consumer("anna"), "key": "k", "secret": "secret"})
	g.Add("jwt", config)
	return g
}

func TestJWT(t *testing.T) {
	good := token(`{"iss":"k"}`)
	other := token(`{"iss":"k","x":1}`)
	bearer := func(token string) []string { return []string{"Authorization", "Bearer " + token} }
	const plain, wrong = "Bearer", `Bearer error="invalid_token"`
	message := func(text string) string { return `{"message":"` + text + `"}` }
	for _, tt := range []struct {
		name, config, method, target string
		header                       []string
		body, challenge              string // body empty: let in
		consumer                     string // default: anna
	}{
		{name: "nothing", body: message("Unauthorized"), challenge: plain},
		{name: "nothing, with a realm", config: `{"realm":"r"}`, body: message("Unauthorized"), challenge: `Bearer realm="r"`},
		{name: "rubbish, with a realm", config: `{"realm":"r"}`, header: bearer("x"), body: message("Bad token; invalid JSON"), challenge: `Bearer realm="r", error="invalid_token"`},
		{name: "header", header: bearer(good)},
		{name: "small scheme and spaces", header: []string{"Authorization", "bearer   " + good}},
		{name: "another scheme", header: []string{"Authorization", "Basic " + good}, body: message("Unauthorized"), challenge: plain},
		{name: "query", target: "/?jwt=" + good},
		{name: "empty query", target: "/?jwt=", body: message("Unauthorized"), challenge: plain},
		{name: "another argument", config: `{"uri_param_names":["a","b"]}`, target: "/?b=" + good},
		{name: "no argument", config: `{"uri_param_names":[]}`, target: "/?jwt=" + good, body: message("Unauthorized"), challenge: plain},
		{name: "cookie", config: `{"cookie_names":["c","d"]}`, header: []string{"Cookie", "a=b; d=" + good + "; e=f"}},
		{name: "no cookie by default", header: []string{"Cookie", "jwt=" + good}, body: message("Unauthorized"), challenge: plain},
		{name: "another header", config: `{"header_names":["X-Token"]}`, header: []string{"X-Token", "Bearer " + good}},
		{name: "the same twice", target: "/?jwt=" + good, header: bearer(good)},
		{name: "two", target: "/?jwt=" + good, header: bearer(other), body: message("Multiple tokens provided"), challenge: wrong},
		{name: "two in the query", target: "/?jwt=" + good + "&jwt=" + other, body: message("Multiple tokens provided"), challenge: wrong},
		{name: "two parts", header: bearer("e30.e30"), body: message("Bad token; invalid JSON"), challenge: wrong},
		{name: "no JSON", header: bearer("e30.e3.x"), body: message("Bad token; invalid JSON"), challenge: wrong},
		{name: "no algorithm", header: bearer("e30.e30.x"), body: message("Bad token; invalid alg"), challenge: wrong},
		{name: "algorithm none", header: bearer(unsigned(`{"alg":"none"}`, `{"iss":"k"}`) + "."), body: message("Bad token; invalid alg"), challenge: wrong},
		{name: "algorithm is a number", header: bearer(unsigned(`{"alg":256}`, `{"iss":"k"}`) + "."), body: message("Bad token; invalid alg"), challenge: wrong},
		{name: "claims are a list", header: bearer(unsigned(`{"alg":"HS256"}`, `[]`) + "."), body: message("Bad token; invalid claims"), challenge: wrong},
		{name: "a signature that is none", header: bearer(unsigned(`{"alg":"HS256"}`, `{"iss":"k"}`) + ".!"), body: message("Bad token; invalid signature"), challenge: wrong},
		{name: "four parts", header: bearer(good + ".x"), body: message("Bad token; invalid signature"), challenge: wrong},
		{name: "no issuer", header: bearer(token(`{}`)), body: message("No mandatory 'iss' in claims"), challenge: wrong},
		{name: "empty issuer", header: bearer(token(`{"iss":""}`)), body: message("Invalid 'iss' in claims"), challenge: wrong},
		{name: "issuer is a list", header: bearer(token(`{"iss":["k"]}`)), body: message("Invalid 'iss' in claims"), challenge: wrong},
		{name: "another issuer", header: bearer(token(`{"iss":"x"}`)), body: message("No credentials found for given 'iss'"), challenge: wrong},
		{name: "key in the header", config: `{"key_claim_name":"kid"}`, header: bearer(hs256("secret", unsigned(`{"alg":"HS256","kid":"k"}`, `{}`)))},
		{name: "the claim before the header", config: `{"key_claim_name":"kid"}`, header: bearer(hs256("secret", unsigned(`{"alg":"HS256","kid":"k"}`, `{"kid":"x"}`))),
			body: message("No credentials found for given 'kid'"), challenge: wrong},
		{name: "another claim missing", config: `{"key_claim_name":"kid"}`, header: bearer(good), body: message("No mandatory 'kid' in claims"), challenge: wrong},
		{name: "another algorithm", header: bearer(hs(sha512.New, "secret", unsigned(`{"alg":"HS512"}`, `{"iss":"k"}`))), body: message("Invalid algorithm"), challenge: wrong},
		{name: "another secret", header: bearer(hs256("Secret", unsigned(`{"alg":"HS256"}`, `{"iss":"k"}`))), body: message("Invalid signature"), challenge: wrong},
		{name: "no signature", header: bearer(unsigned(`{"alg":"HS256"}`, `{"iss":"k"}`) + "."), body: message("Invalid signature"), challenge: wrong},
		{name: "other claims", header: bearer(unsigned(`{"typ":"JWT","alg":"HS256"}`, `{"iss":"k","admin":true}`) + good[strings.LastIndexByte(good, '.'):]),
			body: message("Invalid signature"), challenge: wrong},
		{name: "expired, and nobody cares", header: bearer(token(`{"iss":"k","exp":1}`))},
		{name: "expired", config: `{"claims_to_verify":["exp"]}`, header: bearer(token(`{"iss":"k","exp":1000000}`)), body: `{"exp":"token expired"}`, challenge: wrong},
		{name: "not expired", config: `{"claims_to_verify":["exp"]}`, header: bearer(token(`{"iss":"k","exp":1000001}`))},
		{name: "no expiry", config: `{"claims_to_verify":["exp"]}`, header: bearer(good), body: `{"exp":"must be a number"}`, challenge: wrong},
		{name: "too early", config: `{"claims_to_verify":["nbf"]}`, header: bearer(token(`{"iss":"k","nbf":1000001}`)), body: `{"nbf":"token not valid yet"}`, challenge: wrong},
		{name: "not too early", config: `{"claims_to_verify":["nbf"]}`, header: bearer(token(`{"iss":"k","nbf":1000000}`))},
		{name: "both wrong", config: `{"claims_to_verify":["nbf","exp"]}`, header: bearer(token(`{"iss":"k","nbf":2000000,"exp":"x"}`)),
			body: `{"exp":"must be a number","nbf":"token not valid yet"}`, challenge: wrong},
		{name: "too long", config: `{"claims_to_verify":["exp"],"maximum_expiration":60}`, header: bearer(token(`{"iss":"k","exp":1000061}`)),
			body: `{"exp":"exceeds maximum allowed expiration"}`, challenge: wrong},
		{name: "not too long", config: `{"claims_to_verify":["exp"],"maximum_expiration":60}`, header: bearer(token(`{"iss":"k","exp":1000060}`))},
		{name: "anonymous", config: `{"anonymous":"guest"}`, header: bearer("x"), consumer: "guest"},
		{name: "anonymous is not needed", config: `{"anonymous":"guest"}`, header: bearer(good)},
		{name: "preflight", method: "OPTIONS", body: message("Unauthorized"), challenge: plain},
		{name: "preflight passes", config: `{"run_on_preflight":false}`, method: "OPTIONS", consumer: "-"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := world(t, tt.config)
			if tt.target == "" {
				tt.target = "/"
			}
			if tt.method == "" {
				tt.method = "GET"
			}
			resp := g.Do(tt.method, tt.target, "", func(r *http.Request) {
				for i := 0; i < len(tt.header); i += 2 {
					r.Header.Set(tt.header[i], tt.header[i+1])
				}
			})
			body := plugintest.Body(resp)
			if tt.body != "" {
				if resp.StatusCode != 401 || body != tt.body || resp.Header.Get("WWW-Authenticate") != tt.challenge {
					t.Fatalf("got %d %v %s, want %q %s", resp.StatusCode, resp.Header, body, tt.challenge, tt.body)
				}
				if g.Last != nil {
					t.Error("the service was called")
				}
				return
			}
			if resp.StatusCode != 200 {
				t.Fatalf("got %d %s, want 200", resp.StatusCode, body)
			}
			who, identifier := g.Last.Header.Get("X-Consumer-Username"), g.Last.Header.Get("X-Credential-Identifier")
			want := map[string]string{"": "anna k", "guest": "guest ", "-": " "}[tt.consumer]
			if got := who + " " + identifier; got != want {
				t.Errorf("consumer and identifier %q, want %q", got, want)
			}
		})
	}
}

func TestJWT_base64(t *testing.T) {
	secret := "\xfb\xff\xfe-secret-of-bytes"
	for name, text := range map[string]string{
		"standard": base64.StdEncoding.EncodeToString([]byte(secret)), "url": base64.RawURLEncoding.EncodeToString([]byte(secret)),
	} {
		t.Run(name, func(t *testing.T) {
			g := plugintest.New(t)
			g.Insert("jwt_secrets", schema.Object{"consumer": g.Consumer("anna"), "key": "k", "secret": text})
			g.Insert("jwt_secrets", schema.Object{"consumer": g.Consumer("bert"), "key": "empty", "secret": "=="})
			g.Insert("jwt_secrets", schema.Object{"consumer": g.Consumer("carl"), "key": "none", "secret": "!"})
			g.Add("jwt", `{"secret_is_base64": true}`)
			ask := func(secret, key string) *http.Response {
				text := unsigned(`{"alg":"HS256"}`, `{"iss":"`+key+`"}`)
				return g.Get("/", plugintest.Header("Authorization", "Bearer "+hs256(secret, text)))
			}
			if resp := ask(secret, "k"); resp.StatusCode != 200 {
				t.Errorf("got %d %s", resp.StatusCode, plugintest.Body(resp))
			}
			if resp := ask(text, "k"); plugintest.Body(resp) != `{"message":"Invalid signature"}` {
				t.Error("the text was taken for the secret")
			}
			for _, key := range []string{"empty", "none"} {
				if body := plugintest.Body(ask("", key)); body != `{"message":"Invalid key/secret"}` {
					t.Errorf("%s: got %s", key, body)
				}
			}
		})
	}
}

// A signer makes signatures for tokens of one algorithm.
type signer struct {
	public crypto.PublicKey
	sign   func(text []byte) []byte
}

func signers(t *testing.T) map[string]signer {
	t.Helper()
	hashes := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}
	digest := func(h crypto.Hash, text []byte) []byte {
		w := h.New()
		w.Write(text)
		return w.Sum(nil)
	}
	must := func(b []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	out := map[string]signer{}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for bits, h := range hashes {
		out["RS"+bits] = signer{key.Public(), func(text []byte) []byte { return must(rsa.SignPKCS1v15(nil, key, h, digest(h, text))) }}
		out["PS"+bits] = signer{key.Public(), func(text []byte) []byte { return must(rsa.SignPSS(rand.Reader, key, h, digest(h, text), nil)) }}
		curve := map[string]elliptic.Curve{"256": elliptic.P256(), "384": elliptic.P384(), "512": elliptic.P521()}[bits]
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		size := (curve.Params().BitSize + 7) / 8
		out["ES"+bits] = signer{k.Public(), func(text []byte) []byte {
			r, s, err := ecdsa.Sign(rand.Reader, k, digest(h, text))
			if err != nil {
				t.Fatal(err)
			}
			return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
		}}
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	out["EdDSA"] = signer{public, func(text []byte) []byte { return ed25519.Sign(private, text) }}
	return out
}

// TestJWT_algorithms signs by each algorithm, for a key of each. Nothing but the
// algorithm of the key is taken, also not with the public key as the secret.
func TestJWT_algorithms(t *testing.T) {
	all := signers(t)
	g := plugintest.New(t)
	anna := g.Consumer("anna")
	for name, s := range all {
		g.Insert("jwt_secrets", schema.Object{"consumer": anna, "key": name, "algorithm": name, "rsa_public_key": pemOf(t, s.public)})
	}
	for name, h := range map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New} {
		g.Insert("jwt_secrets", schema.Object{"consumer": anna, "key": name, "algorithm": name, "secret": "secret"})
		all[name] = signer{nil, func(text []byte) []byte {
			mac := hmac.New(h, []byte("secret"))
			mac.Write(text)
			return mac.Sum(nil)
		}}
	}
	g.Add("jwt", "")
	ask := func(text string, signature []byte) string {
		resp := g.Get("/", plugintest.Header("Authorization", "Bearer "+text+"."+b64(signature)))
		if resp.StatusCode == 200 {
			return "let in"
		}
		return plugintest.Body(resp)
	}
	const refused = `{"message":"Invalid algorithm"}`
	for name, s := range all {
		for key := range all {
			text := unsigned(`{"alg":"`+name+`"}`, `{"iss":"`+key+`"}`)
			got, want := ask(text, s.sign([]byte(text))), refused
			if key == name {
				want = "let in"
			}
			if got != want {
				t.Errorf("%s for a key of %s: got %s, want %s", name, key, got, want)
			}
		}
		text := unsigned(`{"alg":"`+name+`"}`, `{"iss":"`+name+`"}`)
		signature := s.sign([]byte(text))
		signature[len(signature)/2] ^= 1
		if got := ask(text, signature); got != `{"message":"Invalid signature"}` {
			t.Errorf("%s with another signature: got %s", name, got)
		}
		if s.public != nil {
			forged := unsigned(`{"alg":"HS256"}`, `{"iss":"`+name+`"}`)
			mac := hmac.New(sha256.New, []byte(pemOf(t, s.public)))
			mac.Write([]byte(forged))
			if got := ask(forged, mac.Sum(nil)); got != refused {
				t.Errorf("the public key of %s as a secret: got %s", name, got)
			}
		}
	}
}

// TestJWT_keysOfAnotherKind has keys that do not belong to their algorithm.
func TestJWT_keysOfAnotherKind(t *testing.T) {
	all := signers(t)
	g := plugintest.New(t)
	anna := g.Consumer("anna")
	g.Add("jwt", "")
	for _, tt := range []struct{ algorithm, key string }{
		{"RS256", "ES256"}, {"ES256", "RS256"}, {"ES256", "ES384"}, {"PS256", "EdDSA"}, {"EdDSA", "ES256"}, {"ES256", ""},
	} {
		row := schema.Object{"consumer": anna, "key": tt.algorithm + tt.key, "algorithm": tt.algorithm}
		if tt.key != "" {
			row["rsa_public_key"] = pemOf(t, all[tt.key].public)
		}
		g.Insert("jwt_secrets", row)
		text := unsigned(`{"alg":"`+tt.algorithm+`"}`, `{"iss":"`+tt.algorithm+tt.key+`"}`)
		s := all[tt.algorithm]
		resp := g.Get("/", plugintest.Header("Authorization", "Bearer "+text+"."+b64(s.sign([]byte(text)))))
		if body := plugintest.Body(resp); body != `{"message":"Invalid key/secret"}` {
			t.Errorf("%s with a key of %q: got %s", tt.algorithm, tt.key, body)
		}
	}
}

func TestJWT_refused(t *testing.T) {
	consumer := schema.Object{"id": uuid.NewString()}
	for _, tt := range []struct {
		name string
		row  schema.Object
		want string
	}{
		{"no key", schema.Object{"algorithm": "RS256"}, "rsa_public_key: required field missing"},
		{"a key that is none", schema.Object{"algorithm": "PS512", "rsa_public_key": "x"}, "rsa_public_key: invalid key"},
		{"a key that is none, ES", schema.Object{"algorithm": "ES256", "rsa_public_key": "x"}, "rsa_public_key: invalid key"},
		{"none", schema.Object{"algorithm": "none"}, "expected one of: HS256"},
	} {
		tt.row["consumer"] = consumer
		if err := plugintest.New(t).TryInsert("jwt_secrets", tt.row); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	for config, want := range map[string]string{
		`{"maximum_expiration": 60, "claims_to_verify": ["nbf"]}`: "expected to contain: exp",
		`{"maximum_expiration": -1}`:                              "value should be between 0 and 31536000",
		`{"claims_to_verify": ["iat"]}`:                           "expected one of: exp, nbf",
	} {
		if _, err := plugintest.New(t).TryAdd("jwt", config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
}

// FuzzJWT: no token that was not signed is let in, and none is a failure.
func FuzzJWT(f *testing.F) {
	f.Add("x")
	f.Add("e30.e30.e30")
	f.Add(unsigned(`{"alg":"HS256","kid":"k"}`, `{"iss":"k","exp":1e400}`) + ".AA")
	f.Add(unsigned(`{"alg":"none"}`, `{"iss":"k"}`) + ".")
	g := world(f, `{"claims_to_verify":["exp","nbf"],"maximum_expiration":60}`)
	f.Fuzz(func(t *testing.T, text string) {
		g.T = t
		resp := g.Get("/", plugintest.Header("Authorization", "Bearer "+text))
		if resp.StatusCode != 401 || !json.Valid([]byte(plugintest.Body(resp))) {
			t.Errorf("%q: got %d", text, resp.StatusCode)
		}
	})
}

func BenchmarkJWT(b *testing.B) {
	b.Run("HS256", func(b *testing.B) {
		plugintest.Bench(b, world(b, ""), plugintest.Header("Authorization", "Bearer "+token(`{"iss":"k"}`)))
	})
	b.Run("RS256", func(b *testing.B) {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			b.Fatal(err)
		}
		text := unsigned(`{"alg":"RS256"}`, `{"iss":"rsa"}`)
		sum := sha256.Sum256([]byte(text))
		signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
		if err != nil {
			b.Fatal(err)
		}
		g := world(b, "")
		g.Insert("jwt_secrets", schema.Object{"consumer": g.Consumer("rosa"), "key": "rsa", "algorithm": "RS256", "rsa_public_key": pemOf(b, key.Public())})
		plugintest.Bench(b, g, plugintest.Header("Authorization", "Bearer "+text+"."+b64(signature)))
	})
}
