package basicauth_test

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	_ "github.com/portcullis-gateway/portcullis/modules/plugin/basicauth"
	"github.com/portcullis-gateway/portcullis/modules/plugin/plugintest"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func basic(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }

func bcrypted(t *testing.T, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

func TestBasicAuth(t *testing.T) {
	show := func(values ...string) func(*http.Request) {
		return func(r *http.Request) {
			for i := 0; i < len(values); i += 2 {
				r.Header.Set(values[i], values[i+1])
			}
		}
	}
	const auth, proxy = "Authorization", "Proxy-Authorization"
	good := basic("anna:p:w")
	quick := bcrypted(t, "p:w") // the usual hash would take its time in each case
	for _, tt := range []struct {
		name, config string
		change       func(*http.Request)
		consumer     string // empty: refused
		service      string // "Authorization|Proxy-Authorization" that the service gets
	}{
		{name: "nothing", change: show()},
		{name: "right", change: show(auth, good), consumer: "anna", service: good + "|"},
		{name: "wrong password", change: show(auth, basic("anna:p"))},
		{name: "no password", change: show(auth, basic("anna:"))},
		{name: "wrong user", change: show(auth, basic("bert:p:w"))},
		{name: "no user", change: show(auth, basic(":p:w"))},
		{name: "no colon", change: show(auth, basic("anna"))},
		{name: "no base64", change: show(auth, "Basic !")},
		{name: "another scheme", change: show(auth, "Bearer abc")},
		{name: "small scheme", change: show(auth, "b"+good[1:]), consumer: "anna", service: "b" + good[1:] + "|"},
		{name: "spaces", change: show(auth, "Basic    "+good[6:]), consumer: "anna", service: "Basic    " + good[6:] + "|"},
		{name: "proxy", change: show(proxy, good), consumer: "anna", service: "|" + good},
		{name: "proxy first", change: show(proxy, basic("anna:x"), auth, good)},
		{name: "unknown in proxy", change: show(proxy, basic("bert:x"), auth, good), consumer: "anna", service: good + "|" + basic("bert:x")},
		{name: "hidden", config: `{"hide_credentials": true}`, change: show(auth, good), consumer: "anna", service: "|"},
		{name: "the one that was used is hidden", config: `{"hide_credentials": true}`, change: show(proxy, good, auth, "x"), consumer: "anna", service: "x|"},
		{name: "anonymous", config: `{"anonymous": "guest"}`, change: show(auth, basic("anna:x")), consumer: "guest", service: basic("anna:x") + "|"},
		{name: "anonymous is not needed", config: `{"anonymous": "guest"}`, change: show(auth, good), consumer: "anna", service: good + "|"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := plugintest.New(t)
			g.Consumer("guest")
			g.Insert("basicauth_credentials", schema.Object{"consumer": g.Consumer("anna"), "username": "anna", "password": quick})
			g.Add("basic-auth", tt.config)
			for range 2 { // the second time it is remembered
				resp := g.Get("/", tt.change)
				body := plugintest.Body(resp)
				if tt.consumer == "" {
					if resp.StatusCode != 401 || !strings.Contains(body, `"message":"Unauthorized"`) || resp.Header.Get("WWW-Authenticate") != `Basic realm="service"` {
						t.Fatalf("got %d %v %s", resp.StatusCode, resp.Header, body)
					}
					continue
				}
				if resp.StatusCode != 200 {
					t.Fatalf("got %d %s, want 200", resp.StatusCode, body)
				}
				h := g.Last.Header
				if got := h.Get("X-Consumer-Username"); got != tt.consumer {
					t.Errorf("consumer %q, want %q", got, tt.consumer)
				}
				if got := h.Get(auth) + "|" + h.Get(proxy); got != tt.service {
					t.Errorf("the service got %q, want %q", got, tt.service)
				}
				identifier := map[string]string{"anna": "anna"}[tt.consumer]
				if got := h.Get("X-Credential-Identifier"); got != identifier {
					t.Errorf("identifier %q, want %q", got, identifier)
				}
			}
		})
	}
}

func TestBasicAuth_realm(t *testing.T) {
	g := plugintest.New(t)
	g.Add("basic-auth", `{"realm": "the vault"}`)
	if got := g.Get("/").Header.Get("WWW-Authenticate"); got != `Basic realm="the vault"` {
		t.Errorf("got %q", got)
	}
}

// TestBasicAuth_kept looks at what is stored of passwords, and at who is let in by
// it.
func TestBasicAuth_kept(t *testing.T) {
	const consumer = "6c3b1a3e-5fd2-4f0c-9d5a-6c7f1d2b3a4e"
	other := bcrypted(t, "open sesame")
	sum := sha1.Sum([]byte("old secret" + consumer))
	kongs := hex.EncodeToString(sum[:])
	for _, tt := range []struct {
		name, password string
		form           string // how what is stored begins
		right, wrong   []string
	}{
		{"a password", "open sesame", "$argon2id$v=19$m=19456,t=2,p=1$", []string{"open sesame"}, []string{"open", kongs}},
		{"what Kong keeps", kongs, "$kong-sha1$argon2id$", []string{"old secret", kongs}, []string{"secret"}},
		{"bcrypt", other, other, []string{"open sesame"}, []string{"open"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := plugintest.New(t)
			g.Insert("consumers", schema.Object{"id": consumer, "username": "anna"})
			row := g.Insert("basicauth_credentials", schema.Object{"consumer": schema.Object{"id": consumer}, "username": "anna", "password": tt.password})
			stored := g.Stored("basicauth_credentials", row)
			if !strings.HasPrefix(stored["password"].(string), tt.form) {
				t.Errorf("stored is %v, want %s…", stored["password"], tt.form)
			}
			g.Add("basic-auth", "")
			for _, p := range tt.right {
				if resp := g.Get("/", plugintest.Header("Authorization", basic("anna:"+p))); resp.StatusCode != 200 {
					t.Errorf("%q is refused", p)
				}
			}
			for _, p := range tt.wrong {
				if resp := g.Get("/", plugintest.Header("Authorization", basic("anna:"+p))); resp.StatusCode != 401 {
					t.Errorf("%q is taken", p)
				}
			}
		})
	}
}

func TestBasicAuth_badRows(t *testing.T) {
	for password, want := range map[string]string{
		"":                                      "length must be at least 1",
		"$argon2id$v=19$m=19456,t=2,p=1$c2FsdA": "begins as a hash does, but is none",
		"$argon2id$v=19$m=4194304,t=2,p=1$c2FsdHNhbHRzYWx0$a2V5a2V5a2V5a2V5a2V5a2V5": "the costs of an argon2id hash must be",
		"$argon2id$v=19$m=19456,t=2,p=1$c2E$a2V5a2V5a2V5a2V5a2V5a2V5":                "must have a salt of 8 to 64 bytes",
		"$2b$31$XIUh/BJyYkFrDHxBvxkufOKdHqiLeyVnSgnvCOCPMEPkVWzQA68yK":               "the cost of a bcrypt hash must be between 4 and 14",
		"$kong-sha1$argon2id$": "begins as a hash does, but is none",
	} {
		err := plugintest.New(t).TryInsert("basicauth_credentials", schema.Object{
			"consumer": schema.Object{"id": "6c3b1a3e-5fd2-4f0c-9d5a-6c7f1d2b3a4e"}, "username": "anna", "password": password,
		})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", password, err, want)
		}
		if err != nil && password != "" && strings.Contains(err.Error(), password) {
			t.Errorf("the error repeats the password: %v", err)
		}
	}
}

func BenchmarkBasicAuth(b *testing.B) {
	g := plugintest.New(b)
	g.Insert("basicauth_credentials", schema.Object{"consumer": g.Consumer("anna"), "username": "anna", "password": "secret"})
	g.Add("basic-auth", "")
	plugintest.Bench(b, g, plugintest.Header("Authorization", basic("anna:secret")))
}
