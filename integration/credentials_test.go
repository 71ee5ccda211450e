package integration

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/patient"
)

// tell answers what a service is told of the client.
func tell(w http.ResponseWriter, r *http.Request) {
	h := r.Header
	w.Write([]byte(strings.Join([]string{h.Get("X-Consumer-Username"), h.Get("X-Credential-Identifier"),
		h.Get("X-Anonymous-Consumer"), h.Get("X-Consumer-Groups"), h.Get("Authorization")}, "|")))
}

func basic(username, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password))
}

// webToken is a JSON web token signed with HS256.
func webToken(secret, claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"HS256"}`)) + "." + encode([]byte(claims))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return "Bearer " + text + "." + encode(mac.Sum(nil))
}

// guarded starts a gateway with the route /, which has the plugins given as JSON,
// and the consumers anna and guest.
func guarded(t *testing.T, plugins ...string) *process {
	t.Helper()
	behind := upstream(t, tell)
	p := newHome(t, usual).start()
	p.admin("POST", "/services", `{"name":"s","url":"`+behind.URL+`"}`, 201)
	p.admin("POST", "/services/s/routes", `{"name":"r","paths":["/"],"strip_path":false}`, 201)
	p.admin("POST", "/consumers", `{"username":"anna"}`, 201)
	p.admin("POST", "/consumers", `{"username":"guest"}`, 201)
	for _, body := range plugins {
		p.admin("POST", "/routes/r/plugins", body, 201)
	}
	return p
}

func (p *process) told(want string, header ...string) {
	p.t.Helper()
	if a := p.get("/", 200, header...); a.body != want {
		p.t.Errorf("%v: the service was told %q, want %q", header, a.body, want)
	}
}

// field answers a string of a JSON object.
func field(t *testing.T, body, name string) (text string, null bool) {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(body), &o); err != nil {
		t.Fatal(err)
	}
	v, there := o[name]
	text, _ = v.(string)
	return text, there && v == nil
}

func TestPlugins_basicAuth(t *testing.T) {
	t.Parallel()
	p := guarded(t, `{"name":"basic-auth","config":{"hide_credentials":true}}`)
	a := p.get("/", 401)
	if !strings.Contains(a.body, `"message":"Unauthorized"`) || a.header.Get("WWW-Authenticate") != `Basic realm="service"` {
		t.Errorf("got %v %s", a.header, a.body)
	}
	created := p.admin("POST", "/consumers/anna/basic-auth", `{"username":"anna","password":"Open, sesame"}`, 201)
	id, _ := field(t, created.body, "id")
	p.told("anna|anna|||", "Authorization", basic("anna", "Open, sesame"))
	p.get("/", 401, "Authorization", basic("anna", "open, sesame"))

	// Nobody sees the password or its hash.
	for _, path := range []string{"/basic-auths", "/basic-auths/" + id, "/consumers/anna/basic-auth", "/consumers/anna/basic-auth/anna"} {
		if a := p.admin("GET", path, "", 200); strings.Contains(a.body, "argon2id") || strings.Contains(a.body, "sesame") || !strings.Contains(a.body, `"password":null`) {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	if _, null := field(t, created.body, "password"); !null {
		t.Errorf("POST shows the password: %s", created.body)
	}

	// A PATCH of something else leaves the password; one of the password ends the old one.
	p.admin("PATCH", "/basic-auths/"+id, `{"tags":["a"]}`, 200)
	p.told("anna|anna|||", "Authorization", basic("anna", "Open, sesame"))
	p.admin("PATCH", "/consumers/anna/basic-auth/anna", `{"password":"new"}`, 200)
	p.get("/", 401, "Authorization", basic("anna", "Open, sesame"))
	p.told("anna|anna|||", "Authorization", basic("anna", "new"))
	p.reload()
	p.told("anna|anna|||", "Authorization", basic("anna", "new"))
	p.admin("PUT", "/consumers/anna/basic-auth/anna", `{}`, 400)
	p.admin("POST", "/consumers/guest/basic-auth", `{"username":"anna","password":"x"}`, 409)

	// What is on the disk is a hash.
	store, err := os.ReadFile(filepath.Join(p.dir, "gateway.db"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(store), "sesame") || !strings.Contains(string(store), "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Error("the store has the password, or no hash of it")
	}
	for _, secret := range []string{"sesame", "argon2id"} {
		if strings.Contains(p.log.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}

	// A backup has the hash, and brings it back.
	file := filepath.Join(p.dir, "backup.yml")
	kept := func() string {
		t.Helper()
		if out, code := p.caddy("gateway", "config", "export", "--address", p.addr("ADMIN"), file); code != 0 {
			t.Fatalf("export: %s", out)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		hash := regexp.MustCompile(`password: (\S+)`).FindString(string(text))
		if !strings.Contains(hash, "$argon2id$") {
			t.Fatalf("no hash in the backup: %s", text)
		}
		return hash
	}
	was := kept()
	p.admin("PATCH", "/basic-auths/"+id, `{"password":"new"}`, 200)
	if now := kept(); now != was {
		t.Errorf("the same password has another hash: %s, and %s before", now, was)
	}
	p.admin("DELETE", "/consumers/anna", "", 204)
	p.get("/", 401, "Authorization", basic("anna", "new"))
	for range 2 {
		if out, code := p.caddy("gateway", "config", "import", "--address", p.addr("ADMIN"), file); code != 0 {
			t.Fatalf("import: %s", out)
		}
		p.told("anna|anna|||", "Authorization", basic("anna", "new"))
		if now := kept(); now != was {
			t.Errorf("importing made %s of %s", now, was)
		}
	}
}

// TestPlugins_basicAuthOfKong loads a dump of Kong, in which passwords are the
// sums that Kong keeps.
func TestPlugins_basicAuthOfKong(t *testing.T) {
	t.Parallel()
	const consumer = "9d2f0c3e-54aa-4c0a-8a55-0e2d0d4a1b11"
	sum := sha1.Sum([]byte("secret of old" + consumer))
	behind := upstream(t, tell)
	h := newHome(t, strings.Replace(usual, "bolt {$HOME}/gateway.db", "memory {$HOME}/kong.yml", 1))
	h.write("kong.yml", `_format_version: "3.0"
services:
- name: s
  url: `+behind.URL+`
  routes:
  - name: r
    paths: [/]
    plugins:
    - name: basic-auth
      config: {hide_credentials: true}
    - name: acl
      config: {allow: [staff]}
consumers:
- id: `+consumer+`
  username: anna
  basicauth_credentials:
  - username: anna
    password: `+hex.EncodeToString(sum[:])+`
  - username: also-anna
    password: plain
  acls:
  - group: staff
- username: bert
  basicauth_credentials:
  - username: bert
    password: plain
`)
	p := h.start()
	p.told("anna|anna||staff|", "Authorization", basic("anna", "secret of old"))
	p.told("anna|also-anna||staff|", "Authorization", basic("also-anna", "plain"))
	p.get("/", 401, "Authorization", basic("anna", "plain"))
	p.get("/", 403, "Authorization", basic("bert", "plain"))
	p.reload()
	p.told("anna|anna||staff|", "Authorization", basic("anna", "secret of old"))
}

func TestPlugins_hmacAuth(t *testing.T) {
	t.Parallel()
	p := guarded(t, `{"name":"hmac-auth","config":{"validate_request_body":true,"hide_credentials":true,"enforce_headers":["host"]}}`)
	p.admin("POST", "/consumers/anna/hmac-auth", `{"username":"anna","secret":"shared"}`, 201)
	ask := func(method, target, body, text string, header ...string) answer {
		mac := hmac.New(sha256.New, []byte("shared"))
		mac.Write([]byte(text))
		names := ""
		for line := range strings.SplitSeq(text, "\n") {
			name, _, colon := strings.Cut(line, ":")
			if !colon {
				name = "request-line"
			}
			names += " " + name
		}
		return do(t, method, "http://"+p.addr("PROXY")+target, body, append(header, "Authorization",
			`hmac username="anna", algorithm="hmac-sha256", headers="`+names[1:]+`", signature="`+base64.StdEncoding.EncodeToString(mac.Sum(nil))+`"`)...)
	}
	date := time.Now().UTC().Format(http.TimeFormat)
	host := p.addr("PROXY")
	digest := func(body string) string {
		sum := sha256.Sum256([]byte(body))
		return "SHA-256=" + base64.StdEncoding.EncodeToString(sum[:])
	}
	for _, tt := range []struct {
		name, method, target, body, text string
		header                           []string
		status                           int
	}{
		{"a GET", "GET", "/a%2Fb?x=1", "", "date: " + date + "\nhost: " + host + "\n@request-target: get /a%2Fb?x=1", []string{"Date", date}, 200},
		{"request line", "GET", "/a?", "", "host: " + host + "\nGET /a? HTTP/1.1", []string{"X-Date", date}, 200},
		{"another target", "GET", "/b", "", "host: " + host + "\n@request-target: get /a", []string{"Date", date}, 401},
		{"a POST", "POST", "/", "body", "host: " + host + "\ndigest: " + digest("body") + "\ncontent-length: 4", []string{"Date", date, "Digest", digest("body")}, 200},
		{"another body", "POST", "/", "bodY", "host: " + host + "\ndigest: " + digest("body"), []string{"Date", date, "Digest", digest("body")}, 401},
		{"host not signed", "GET", "/", "", "date: " + date, []string{"Date", date}, 401},
		{"an old date", "GET", "/", "", "host: " + host, []string{"Date", "Thu, 22 Jun 2017 17:15:21 GMT"}, 401},
	} {
		a := ask(tt.method, tt.target, tt.body, tt.text, tt.header...)
		if a.status != tt.status || a.status == 200 && a.body != "anna|anna|||" || a.status == 401 && a.header.Get("WWW-Authenticate") != "hmac" {
			t.Errorf("%s: got %d %s, want %d", tt.name, a.status, a.body, tt.status)
		}
	}
}

func TestPlugins_jwt(t *testing.T) {
	t.Parallel()
	p := guarded(t, `{"name":"jwt","config":{"claims_to_verify":["exp"]}}`)
	a := p.admin("POST", "/consumers/anna/jwt", `{"key":"k"}`, 201)
	secret, _ := field(t, a.body, "secret")
	if len(secret) != 32 || !strings.Contains(a.body, `"algorithm":"HS256"`) {
		t.Fatalf("the secret that was made: %s", a.body)
	}
	if a := p.get("/", 401); a.body != `{"message":"Unauthorized"}` || a.header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("got %v %s", a.header, a.body)
	}
	good := webToken(secret, `{"iss":"k","exp":9999999999}`)
	p.told("anna|k|||"+good, "Authorization", good)
	for _, path := range []string{"/?jwt=" + good[7:], "/x?jwt=" + good[7:]} {
		p.get(path, 200)
	}
	if a := p.get("/", 401, "Authorization", webToken(secret, `{"iss":"k","exp":1}`)); a.body != `{"exp":"token expired"}` || a.header.Get("WWW-Authenticate") != `Bearer error="invalid_token"` {
		t.Errorf("got %v %s", a.header, a.body)
	}
	p.admin("PATCH", "/jwts/k", `{"secret":"another"}`, 200)
	if a := p.get("/", 401, "Authorization", good); a.body != `{"message":"Invalid signature"}` {
		t.Errorf("got %s", a.body)
	}
	a = p.admin("POST", "/consumers/anna/jwt", `{"algorithm":"RS256"}`, 400)
	if !strings.Contains(a.body, `"rsa_public_key":"required field missing"`) {
		t.Errorf("got %s", a.body)
	}
}

// TestPlugins_acl goes through the endpoints of groups, and through what the
// plugin makes of them.
func TestPlugins_acl(t *testing.T) {
	t.Parallel()
	p := guarded(t, `{"name":"key-auth"}`, `{"name":"acl","config":{"allow":["staff","a b"]}}`)
	p.admin("POST", "/consumers/anna/key-auth", `{"key":"k"}`, 201)
	a := p.get("/", 403, "apikey", "k")
	if !strings.Contains(a.body, `"message":"You cannot consume this service"`) {
		t.Errorf("got %s", a.body)
	}
	a = p.admin("POST", "/consumers/anna/acls", `{"group":"staff"}`, 201)
	id, _ := field(t, a.body, "id")
	p.told("anna|"+p.keyID()+"||staff|", "apikey", "k")
	p.admin("POST", "/consumers/anna/acls", `{"group":"staff"}`, 409)
	p.admin("POST", "/consumers/anna/acls", `{}`, 400)

	same := p.admin("GET", "/consumers/anna/acls/staff", "", 200)
	for _, path := range []string{"/acls/" + id, "/consumers/anna/acls/" + id} {
		if a := p.admin("GET", path, "", 200); a.body != same.body {
			t.Errorf("%s: got %s, want %s", path, a.body, same.body)
		}
	}
	p.admin("GET", "/consumers/guest/acls/staff", "", 404)
	p.admin("GET", "/consumers/anna/acls/nope", "", 404)
	p.admin("GET", "/acls/staff", "", 400)
	a = p.admin("PUT", "/consumers/anna/acls/a%20b", `{"tags":["x"]}`, 200)
	if group, _ := field(t, a.body, "group"); group != "a b" {
		t.Errorf("PUT made %s", a.body)
	}
	if again := p.admin("PUT", "/consumers/anna/acls/a%20b", `{}`, 200); again.body[:60] != a.body[:60] && !strings.Contains(again.body, `"tags":null`) {
		t.Errorf("a second PUT made %s of %s", again.body, a.body)
	}
	if a := p.admin("GET", "/consumers/anna/acls", "", 200); strings.Count(a.body, `"group"`) != 2 {
		t.Errorf("groups: %s", a.body)
	}
	p.admin("PATCH", "/consumers/anna/acls/a%20b", `{"group":"other"}`, 200)
	p.admin("DELETE", "/consumers/anna/acls/staff", "", 204)
	p.get("/", 403, "apikey", "k")
	p.admin("DELETE", "/consumers/anna/acls/staff", "", 404)
}

// keyID is the identifier of the only key.
func (p *process) keyID() string {
	p.t.Helper()
	var list struct{ Data []struct{ ID string } }
	if err := json.Unmarshal([]byte(p.admin("GET", "/key-auths", "", 200).body), &list); err != nil || len(list.Data) != 1 {
		p.t.Fatal(err)
	}
	return list.Data[0].ID
}

// TestPlugins_severalAuthentications has two on a route: both must pass, or, with
// an anonymous consumer, either.
func TestPlugins_severalAuthentications(t *testing.T) {
	t.Parallel()
	p := guarded(t, `{"name":"key-auth"}`, `{"name":"basic-auth"}`)
	p.admin("POST", "/consumers/anna/key-auth", `{"key":"k"}`, 201)
	p.admin("POST", "/consumers/anna/basic-auth", `{"username":"anna","password":"p"}`, 201)
	p.admin("POST", "/consumers/guest/acls", `{"group":"guests"}`, 201)
	header := basic("anna", "p")
	for _, tt := range []struct {
		header    []string
		challenge string
	}{
		{nil, "Key"}, {[]string{"Authorization", header}, "Key"}, {[]string{"apikey", "k"}, `Basic realm="service"`},
	} {
		if a := p.get("/", 401, tt.header...); a.header.Get("WWW-Authenticate") != tt.challenge {
			t.Errorf("%v: challenge %q, want %q", tt.header, a.header.Get("WWW-Authenticate"), tt.challenge)
		}
	}
	p.told("anna|anna|||"+header, "Authorization", header, "apikey", "k")

	var list struct{ Data []struct{ ID string } }
	if err := json.Unmarshal([]byte(p.admin("GET", "/plugins", "", 200).body), &list); err != nil {
		t.Fatal(err)
	}
	for _, plugin := range list.Data {
		p.admin("PATCH", "/plugins/"+plugin.ID, `{"config":{"anonymous":"guest"}}`, 200)
	}
	p.told("anna|anna|||"+header, "Authorization", header)
	p.told("anna|"+p.keyID()+"|||", "apikey", "k")
	p.told("guest||true||")
	p.told("guest||true||"+basic("anna", "wrong"), "Authorization", basic("anna", "wrong"))
	p.admin("POST", "/routes/r/plugins", `{"name":"acl","config":{"deny":["guests"]}}`, 201)
	p.get("/", 403)
	p.told("anna|"+p.keyID()+"|||", "apikey", "k")
}

// TestPlugins_keyAuthLifetime: a key that was made for a time tells what is left of
// it, also after a restart and in an export, and is gone when it is over.
func TestPlugins_keyAuthLifetime(t *testing.T) {
	t.Parallel()
	p := guarded(t, `{"name":"key-auth"}`)
	left := func(body string, most int) int {
		t.Helper()
		var key struct{ TTL *int }
		if err := json.Unmarshal([]byte(body), &key); err != nil || key.TTL == nil || *key.TTL > most || *key.TTL < 1 {
			t.Fatalf("%s: want a ttl of at most %d (%v)", body, most, err)
		}
		return *key.TTL
	}
	const keys = "/consumers/anna/key-auth"
	was := left(p.admin("POST", keys, `{"key":"long","ttl":5000}`, 201).body, 5000)
	if a := p.admin("POST", keys, `{"key":"stays"}`, 201); !strings.Contains(a.body, `"ttl":null`) {
		t.Errorf("a key without an end: %s", a.body)
	}
	for _, bad := range []string{`-1`, `100000001`, `"soon"`} {
		if a := p.admin("POST", keys, `{"ttl":`+bad+`}`, 400); !strings.Contains(a.body, `"code":11,`) || !strings.Contains(a.body, `"options":{"ttl":`) {
			t.Errorf("ttl %s: %s", bad, a.body)
		}
	}
	p.admin("POST", "/consumers/anna/basic-auth", `{"username":"anna","password":"x","ttl":5}`, 400) // it has none

	was = left(p.admin("PATCH", keys+"/long", `{"tags":["a"]}`, 200).body, was)
	p.stop()
	p = p.home.start()
	was = left(p.admin("GET", keys+"/long", "", 200).body, was)
	long, _ := field(t, p.admin("GET", keys+"/long", "", 200).body, "id")
	p.told("anna|"+long+"|||", "apikey", "long")
	if a := p.admin("PATCH", keys+"/long", `{"ttl":0}`, 200); !strings.Contains(a.body, `"ttl":null`) {
		t.Errorf("ttl 0: %s", a.body)
	}
	p.admin("PATCH", keys+"/long", `{"ttl":4000}`, 200)

	p.admin("POST", keys, `{"key":"short","ttl":1}`, 201)
	patient.Until(t, "the key does not work any more", func() bool {
		return do(t, "GET", "http://"+p.addr("PROXY")+"/", "", "apikey", "short").status == 401
	})
	p.admin("GET", keys+"/short", "", 404)
	if a := p.admin("GET", keys, "", 200); strings.Contains(a.body, `"short"`) || !strings.Contains(a.body, `"long"`) {
		t.Errorf("the list is %s", a.body)
	}
	p.admin("POST", keys, `{"key":"short"}`, 201) // it is free again

	// An export tells when the key is gone, so it is that also after an import.
	was = left(p.admin("GET", keys+"/long", "", 200).body, 4000)
	exported := p.home.write("exported.json", p.admin("GET", "/config/export?format=json", "", 200).body)
	if out, code := p.caddy("gateway", "config", "import", exported, "--address", "http://"+p.addr("ADMIN")); code != 0 {
		t.Fatalf("import: %s", out)
	}
	left(p.admin("GET", keys+"/long", "", 200).body, was)
}
