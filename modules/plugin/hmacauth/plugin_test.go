package hmacauth_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash"
	"net/http"
	"strings"
	"testing"
	"time"

	_ "github.com/portcullis-gateway/portcullis/modules/plugin/hmacauth"
	"github.com/portcullis-gateway/portcullis/modules/plugin/plugintest"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

const date = "Thu, 22 Jun 2017 17:15:21 GMT"

// sign makes the header for a text.
func sign(algorithm, headers, text string) string {
	h := map[string]func() hash.Hash{
		"hmac-sha1": sha1.New, "hmac-sha256": sha256.New, "hmac-sha384": sha512.New384, "hmac-sha512": sha512.New,
	}[algorithm]
	mac := hmac.New(h, []byte("secret"))
	mac.Write([]byte(text))
	return fmt.Sprintf(`hmac username="alice123", algorithm="%s", headers="%s", signature="%s"`,
		algorithm, headers, base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

const (
	noDate     = "HMAC signature cannot be verified, a valid date or x-date header is required for HMAC Authentication"
	unverified = "HMAC signature cannot be verified"
	different  = "HMAC signature does not match"
)

func TestHMACAuth(t *testing.T) {
	// The example of Kong's documentation, which a program of others signed.
	const known = `hmac username="alice123", algorithm="hmac-sha256", headers="date request-line", signature="ujWCGHeec9Xd6UD2zlyxiNMCiXnDOWeVFMu5VeRUxtw="`
	const knownBody = `hmac username="alice123", algorithm="hmac-sha256", headers="date request-line digest", signature="gaweQbATuaGmLrUr3HE0DzU1keWGCt3H96M28sSHTG8="`
	const bodyDate, bodyDigest = "Thu, 22 Jun 2017 21:12:36 GMT", "SHA-256=SBH7QEtqnYUpEcIhDbmStNd1MxtHg2+feBfWc1105MA="
	dated := func(auth string) []string { return []string{"Date", date, "Authorization", auth} }
	for _, tt := range []struct {
		name, config, method, target, body string
		header                             []string
		message                            string // empty: let in
		consumer                           string // default: alice
		service                            string // that Authorization and Proxy-Authorization begin with there
	}{
		{name: "nothing", message: "Unauthorized"},
		{name: "known example", target: "/requests", header: dated(known), service: "hmac|"},
		{name: "known example with a body", target: "/requests", body: "A small body", config: `{"validate_request_body": true}`,
			header: []string{"Date", bodyDate, "Authorization", knownBody, "Digest", bodyDigest}, service: "hmac|"},
		{name: "another body", target: "/requests", body: "A small bodY", config: `{"validate_request_body": true}`,
			header: []string{"Date", bodyDate, "Authorization", knownBody, "Digest", bodyDigest}, message: different},
		{name: "another body, and nobody cares", target: "/requests", body: "A small bodY",
			header: []string{"Date", bodyDate, "Authorization", knownBody, "Digest", bodyDigest}, service: "hmac|"},
		{name: "a body without a digest", target: "/requests", body: "x", config: `{"validate_request_body": true}`, header: dated(known), message: different},
		{name: "no body and no digest", target: "/requests", config: `{"validate_request_body": true}`, header: dated(known), service: "hmac|"},
		{name: "another target", target: "/other", header: dated(known), message: different},
		{name: "another method", method: "PUT", target: "/requests", header: dated(known), message: different},
		{name: "sha1", header: dated(sign("hmac-sha1", "date", "date: "+date)), service: "hmac|"},
		{name: "sha384", header: dated(sign("hmac-sha384", "date", "date: "+date)), service: "hmac|"},
		{name: "sha512", header: dated(sign("hmac-sha512", "date", "date: "+date)), service: "hmac|"},
		{name: "an algorithm that is not allowed", config: `{"algorithms": ["hmac-sha512"]}`, header: dated(sign("hmac-sha1", "date", "date: "+date)), message: unverified},
		{name: "an unknown algorithm", header: dated(strings.Replace(known, "sha256", "md5", 1)), message: unverified},
		{name: "request target", method: "POST", target: "/a%20b?x=1&y", header: dated(sign("hmac-sha256", "@request-target", "@request-target: post /a%20b?x=1&y")), service: "hmac|"},
		{name: "host, a header that is not there, and names as they were written", target: "/", header: dated(sign("hmac-sha256", "Host x-none date", "Host: example.com\nx-none:\ndate: "+date)), service: "hmac|"},
		{name: "the first of several values", target: "/", header: append(dated(sign("hmac-sha256", "x-two", "x-two: a")), "X-Two", "a\x00b"), service: "hmac|"},
		{name: "two spaces", target: "/", header: dated(sign("hmac-sha256", "date  date", "date: "+date+"\n:\ndate: "+date)), service: "hmac|"},
		{name: "enforced", config: `{"enforce_headers": ["date", "request-line"]}`, target: "/requests", header: dated(known), service: "hmac|"},
		{name: "enforced and not signed", config: `{"enforce_headers": ["date", "host"]}`, target: "/requests", header: dated(known), message: unverified},
		{name: "unknown user", target: "/requests", header: dated(strings.Replace(known, "alice123", "bert", 1)), message: unverified},
		{name: "no base64", target: "/requests", header: dated(strings.Replace(known, "ujW", "!!!", 1)), message: different},
		{name: "no signature", header: dated("hmac x"), message: unverified},
		{name: "no headers member", header: dated(`hmac username="alice123", algorithm="hmac-sha256", signature="x"`), message: unverified},
		{name: "capital scheme and no spaces", target: "/requests", header: dated("Hmac " + strings.ReplaceAll(known[5:], ", ", ",")), service: "Hmac|"},
		{name: "proxy", target: "/requests", header: []string{"Date", date, "Proxy-Authorization", known}, service: "|hmac"},
		{name: "proxy that is none", target: "/requests", header: append(dated(known), "Proxy-Authorization", "Basic x"), service: "hmac|Basic"},
		{name: "hidden", config: `{"hide_credentials": true}`, target: "/requests", header: append(dated(known), "Proxy-Authorization", "Basic x"), service: "|Basic"},
		{name: "hidden in proxy", config: `{"hide_credentials": true}`, target: "/requests", header: []string{"Date", date, "Proxy-Authorization", known, "Authorization", "Basic x"}, service: "Basic|"},
		{name: "no date", target: "/requests", header: []string{"Authorization", known}, message: noDate},
		{name: "no date that can be read", target: "/requests", header: []string{"Date", "today", "Authorization", known}, message: noDate},
		{name: "too old", target: "/requests", header: []string{"Date", "Thu, 22 Jun 2017 17:10:19 GMT", "Authorization", known}, message: noDate},
		{name: "old enough", target: "/requests", header: []string{"Date", "Thu, 22 Jun 2017 17:10:22 GMT", "Authorization", known}, message: different},
		{name: "too new", target: "/requests", header: []string{"Date", "Thu, 22 Jun 2017 17:20:24 GMT", "Authorization", known}, message: noDate},
		{name: "a narrow skew", config: `{"clock_skew": 1}`, target: "/requests", header: []string{"Date", "Thu, 22 Jun 2017 17:15:19 GMT", "Authorization", known}, message: noDate},
		{name: "x-date", target: "/requests", header: append(dated(known), "X-Date", date), service: "hmac|"},
		{name: "x-date that cannot be read, and a date", target: "/requests", header: append(dated(known), "X-Date", "x"), service: "hmac|"},
		{name: "x-date alone", header: []string{"X-Date", date, "Authorization", sign("hmac-sha256", "x-date", "x-date: "+date)}, service: "hmac|"},
		{name: "anonymous", config: `{"anonymous": "guest"}`, header: dated("hmac x"), consumer: "guest", service: "hmac|"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := plugintest.New(t)
			g.Now, _ = http.ParseTime(date)
			if strings.Contains(strings.Join(tt.header, "|"), bodyDate) {
				g.Now, _ = http.ParseTime(bodyDate)
			}
			g.Now = g.Now.Add(900 * time.Millisecond)
			g.Consumer("guest")
			g.Insert("hmacauth_credentials", schema.Object{"consumer": g.Consumer("alice"), "username": "alice123", "secret": "secret"})
			g.Add("hmac-auth", tt.config)
			if tt.method == "" {
				tt.method = "GET"
			}
			if tt.target == "" {
				tt.target = "/"
			}
			resp := g.Do(tt.method, tt.target, tt.body, func(r *http.Request) {
				for i := 0; i < len(tt.header); i += 2 {
					r.Header[tt.header[i]] = strings.Split(tt.header[i+1], "\x00")
				}
			})
			body := plugintest.Body(resp)
			if tt.message != "" {
				if resp.StatusCode != 401 || !strings.Contains(body, `"message":"`+tt.message+`"`) || resp.Header.Get("WWW-Authenticate") != "hmac" {
					t.Fatalf("got %d %v %s, want %q", resp.StatusCode, resp.Header, body, tt.message)
				}
				return
			}
			if resp.StatusCode != 200 {
				t.Fatalf("got %d %s, want 200", resp.StatusCode, body)
			}
			h := g.Last.Header
			want := tt.consumer
			if want == "" {
				want = "alice"
			}
			if got := h.Get("X-Consumer-Username"); got != want {
				t.Errorf("consumer %q, want %q", got, want)
			}
			if got := h.Get("X-Credential-Identifier"); got != map[bool]string{true: "alice123"}[want == "alice"] {
				t.Errorf("identifier %q", got)
			}
			scheme := func(name string) string {
				s, _, _ := strings.Cut(h.Get(name), " ")
				return s
			}
			if got := scheme("Authorization") + "|" + scheme("Proxy-Authorization"); got != tt.service {
				t.Errorf("the service got %q, want %q", got, tt.service)
			}
			if g.LastBody != tt.body {
				t.Errorf("the service got the body %q, want %q", g.LastBody, tt.body)
			}
		})
	}
}

func TestHMACAuth_configurations(t *testing.T) {
	g := plugintest.New(t)
	for config, want := range map[string]string{
		`{"clock_skew": 0}`:        "value must be greater than 0",
		`{"algorithms": ["x"]}`:    "expected one of: hmac-sha1, hmac-sha256, hmac-sha384, hmac-sha512",
		`{"enforce_headers": "x"}`: "expected an array",
	} {
		if _, err := g.TryAdd("hmac-auth", config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
	g.Add("hmac-auth", `{"realm": "r"}`)
	if got := g.Get("/").Header.Get("WWW-Authenticate"); got != `hmac realm="r"` {
		t.Errorf("challenge %q", got)
	}
	row := g.Insert("hmacauth_credentials", schema.Object{"consumer": g.Consumer("anna"), "username": "a"})
	if secret, _ := row["secret"].(string); len(secret) != 32 {
		t.Errorf("the secret that was made is %q", secret)
	}
}

func BenchmarkHMACAuth(b *testing.B) {
	g := plugintest.New(b)
	g.Now, _ = http.ParseTime(date)
	g.Insert("hmacauth_credentials", schema.Object{"consumer": g.Consumer("alice"), "username": "alice123", "secret": "secret"})
	g.Add("hmac-auth", "")
	plugintest.Bench(b, g, plugintest.Header("Date", date),
		plugintest.Header("Authorization", sign("hmac-sha256", "date request-line", "date: "+date+"\nGET / HTTP/1.1")))
}
