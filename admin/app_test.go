package admin

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/portcullis-gateway/portcullis/modules/listen"
	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/modules/ports"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// provision makes an app of a configuration with one door and a store of its
// own. Nothing is open yet.
func provision(t *testing.T, app, settings string) (any, error) {
	t.Helper()
	dir := t.TempDir()
	quote := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	config := &caddy.Config{
		StorageRaw: json.RawMessage(`{"module":"file_system","root":` + quote(dir) + `}`),
		AppsRaw: caddy.ModuleMap{
			"gateway": json.RawMessage(`{"store":{"driver":"bolt","path":` + quote(filepath.Join(dir, "gateway.db")) + `}}`),
			app:       json.RawMessage(settings),
		},
	}
	ctx, err := caddy.ProvisionContext(config)
	if err != nil {
		return nil, err
	}
	door, err := ctx.App(app)
	if err != nil {
		return nil, err
	}
	gateway, err := ctx.App("gateway")
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		door.(caddy.CleanerUpper).Cleanup()
		gateway.(caddy.CleanerUpper).Cleanup()
	})
	return door, nil
}

// start starts an app and answers the address of its first listener.
func start(t *testing.T, app, settings string) string {
	t.Helper()
	door, err := provision(t, app, settings)
	if err != nil {
		t.Fatal(err)
	}
	if err := door.(caddy.App).Start(); err != nil {
		t.Fatal(err)
	}
	switch door := door.(type) {
	case *App:
		return door.Addrs()[0].String()
	case *StatusApp:
		return door.Addrs()[0].String()
	}
	return ""
}

func get(t *testing.T, url string, header ...string) (status int, body string, h http.Header) {
	t.Helper()
	return do(t, client, "GET", url, "", header...)
}

func do(t *testing.T, client *http.Client, method, url, body string, header ...string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return "sha256:" + hex.EncodeToString(sum[:])
}

const anyPort = `"listen":[{"address":"127.0.0.1","port":0}]`

func TestApp_withoutCredentialOnLoopback(t *testing.T) {
	addr := start(t, "gateway_admin", `{`+anyPort+`}`)
	status, body, _ := get(t, "http://"+addr+"/")
	if status != 200 || !strings.Contains(body, `"database":"bolt"`) || !strings.Contains(body, `"admin_listen":["127.0.0.1:0"]`) {
		t.Errorf("%d %s", status, body)
	}
	if status, _, _ := get(t, "http://"+addr+"/", "Origin", "http://"+addr, "Sec-Fetch-Site", "same-origin"); status != 200 {
		t.Errorf("a page of the Admin API itself: %d", status)
	}
	if _, body, _ := get(t, "http://"+addr+"/metrics"); !strings.Contains(body, "go_goroutines") {
		t.Errorf("metrics: %s", body)
	}
	if status, _, _ := do(t, client, "POST", "http://"+addr+"/services", `{"host":"a.test"}`, "Content-Type", "application/json"); status != 201 {
		t.Errorf("POST: %d", status)
	}
}

func TestApp_isPrivate(t *testing.T) {
	door, err := provision(t, "gateway_admin", `{`+anyPort+`}`)
	if err != nil {
		t.Fatal(err)
	}
	app := door.(*App)
	if err := app.Start(); err != nil {
		t.Fatal(err)
	}
	if !listen.IsPrivate(app.Addrs()[0]) {
		t.Errorf("the proxy may dial %s", app.Addrs()[0])
	}
}

func TestApp_token(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	writeFile(t, file, "from-file\n")
	t.Setenv("TEST_ADMIN_TOKEN", "from-env")
	addr := start(t, "gateway_admin", `{`+anyPort+`,"token":"`+hashOf("secret")+`","tokens":["file:`+file+`","{env.TEST_ADMIN_TOKEN}"],"origins":["https://gui.test"]}`)
	url := "http://" + addr + "/services"

	for _, tt := range []struct {
		name   string
		header []string
		want   int
	}{
		{"none", nil, 401},
		{"wrong", []string{"Kong-Admin-Token", "secret2"}, 401},
		{"its sum is not the token", []string{"Kong-Admin-Token", hashOf("secret")}, 401},
		{"in Kong's header", []string{"Kong-Admin-Token", "secret"}, 200},
		{"as bearer", []string{"Authorization", "Bearer secret"}, 200},
		{"as bearer, in lower case", []string{"Authorization", "bearer secret"}, 200},
		{"as something else", []string{"Authorization", "Basic secret"}, 401},
		{"of the file", []string{"Kong-Admin-Token", "from-file"}, 200},
		{"of the environment", []string{"Kong-Admin-Token", "from-env"}, 200},
		{"from another site", []string{"Kong-Admin-Token", "secret", "Origin", "https://evil.test"}, 403},
		{"from an allowed site, without", []string{"Origin", "https://gui.test"}, 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, body, header := get(t, url, tt.header...)
			if status != tt.want {
				t.Fatalf("got %d %s, want %d", status, body, tt.want)
			}
			if challenge := header.Get("WWW-Authenticate"); (status == 401) != (challenge != "") {
				t.Errorf("WWW-Authenticate: %q", challenge)
			}
			if status == 401 && !strings.HasPrefix(body, `{"message":"`) {
				t.Errorf("body %s", body)
			}
		})
	}
	status, _, header := do(t, client, "OPTIONS", url, "", "Origin", "https://gui.test", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "Kong-Admin-Token")
	if status != 204 || header.Get("Access-Control-Allow-Headers") != "Kong-Admin-Token" {
		t.Errorf("preflight: %d %v", status, header)
	}
	if status, _, _ := do(t, client, "OPTIONS", url, "", "Origin", "https://gui.test"); status != 401 {
		t.Errorf("OPTIONS that is no preflight: %d", status)
	}
}

func TestApp_clientAuth(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, ca, pems()["ca_cert"])
	addr := start(t, "gateway_admin", `{"listen":[{"address":"127.0.0.1","port":0,"ssl":true,"http2":true}],"client_auth":{"trusted_ca_certs":["`+ca+`"]}}`)

	pair, err := tls.X509KeyPair([]byte(pems()["ca_cert"]), []byte(pems()["ecdsa_key"]))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		pairs []tls.Certificate
		want  int
	}{{"with", []tls.Certificate{pair}, 200}, {"without", nil, 0}} {
		t.Run(tt.name, func(t *testing.T) {
			transport := &http.Transport{
				ForceAttemptHTTP2: true,
				TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, Certificates: tt.pairs},
			}
			defer transport.CloseIdleConnections()
			resp, err := (&http.Client{Transport: transport}).Get("https://" + addr + "/status")
			if tt.want == 0 {
				if err == nil {
					t.Errorf("got %s", resp.Status)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != tt.want || resp.ProtoMajor != 2 {
				t.Errorf("got %s %s", resp.Proto, resp.Status)
			}
		})
	}
}

func TestApp_allow(t *testing.T) {
	addr := start(t, "gateway_admin", `{`+anyPort+`,"allow":["10.0.0.0/8","192.168.1.1"]}`)
	if status, body, _ := get(t, "http://"+addr+"/"); status != 403 || !strings.Contains(body, "allow") {
		t.Errorf("%d %s", status, body)
	}
	addr = start(t, "gateway_admin", `{`+anyPort+`,"allow":["127.0.0.0/8"]}`)
	if status, _, _ := get(t, "http://"+addr+"/"); status != 200 {
		t.Errorf("%d", status)
	}
}

func TestApp_Validate(t *testing.T) {
	everywhere := `"listen":[{"address":"0.0.0.0","port":8001}]`
	for _, tt := range []struct {
		name, settings string
		want           []string // parts of the error; none: it is valid
	}{
		{"the default", `{}`, nil},
		{"off", `{"listen":[]}`, nil},
		{"reachable", `{` + everywhere + `}`, []string{"admin_listen 0.0.0.0:8001", "token", "client_auth", "insecure"}},
		{"reachable by name", `{"listen":[{"address":"gateway.test","port":8001}]}`, []string{"gateway.test:8001"}},
		{"localhost", `{"listen":[{"address":"localhost","port":8001}]}`, nil},
		{"reachable beside loopback", `{"listen":[{"address":"127.0.0.1","port":8001},{"address":"10.0.0.1","port":8001}]}`, []string{"10.0.0.1:8001"}},
		{"with a token", `{` + everywhere + `,"token":"` + hashOf("a") + `"}`, nil},
		{"insecure", `{` + everywhere + `,"insecure":true}`, nil},
		{"client certificates without TLS", `{` + everywhere + `,"client_auth":{"trusted_ca_certs":["CA"]}}`, []string{"0.0.0.0:8001", "ssl"}},
		{"client certificates with TLS", `{"listen":[{"address":"0.0.0.0","port":8444,"ssl":true}],"client_auth":{"trusted_ca_certs":["CA"]}}`, nil},
		{"client certificates of nobody", `{"client_auth":{}}`, []string{"client_auth", "trusted_ca_certs"}},
		{"client certificates of a file that is not there", `{"client_auth":{"trusted_ca_certs":["/nowhere"]}}`, []string{"client_auth", "/nowhere"}},
		{"token in clear text", `{"token":"secret"}`, []string{"token", "clear text", "sha256:"}},
		{"token with a wrong sum", `{"token":"sha256:abc"}`, []string{"token", "64 hexadecimal digits"}},
		{"token of a file that is not there", `{"token":"file:/nowhere"}`, []string{"token", "/nowhere"}},
		{"token of an empty variable", `{"token":"{env.NO_SUCH_VARIABLE_HERE}"}`, []string{"token"}},
		{"allow", `{"allow":["10.0.0.0/33"]}`, []string{"allow", "10.0.0.0/33"}},
		{"origins", `{"origins":["gui.test"]}`, []string{"origins", "gui.test", "scheme://host"}},
		{"hosts", `{"hosts":["http://gui.test"]}`, []string{"hosts", "gui.test"}},
		{"two of one address", `{"listen":[{"address":"127.0.0.1","port":8001},{"address":"127.0.0.1","port":8001,"ssl":true}]}`, []string{"admin_listen", "same address"}},
		{"a flag of streams", `{"listen":[{"address":"127.0.0.1","port":8001,"udp":true}]}`, []string{"admin_listen", "udp"}},
		{"negative timeout", `{"timeouts":{"body":-1}}`, []string{"timeouts: body"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ca := filepath.Join(t.TempDir(), "ca.pem")
			writeFile(t, ca, pems()["ca_cert"])
			_, err := provision(t, "gateway_admin", strings.ReplaceAll(tt.settings, `"CA"`, `"`+ca+`"`))
			if len(tt.want) == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				t.Fatal("it is valid")
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v\nlacks %q", err, part)
				}
			}
		})
	}
}

// TestApps_sameAddress makes sure that two doors do not share a port.
func TestApps_sameAddress(t *testing.T) {
	dir := t.TempDir()
	settings := json.RawMessage(`{"listen":[{"address":"127.0.0.1","port":8001}]}`)
	_, err := caddy.ProvisionContext(&caddy.Config{
		StorageRaw: json.RawMessage(`{"module":"file_system","root":"` + dir + `"}`),
		AppsRaw: caddy.ModuleMap{
			"gateway":        json.RawMessage(`{"store":{"driver":"bolt","path":"` + dir + `/gateway.db"}}`),
			"gateway_admin":  settings,
			"gateway_status": settings,
		},
	})
	if err == nil || !strings.Contains(err.Error(), "same address") {
		t.Errorf("%v", err)
	}
}

// TestApp_slowBody makes sure that nobody can hold a request for ever.
func TestApp_slowBody(t *testing.T) {
	addr := start(t, "gateway_admin", `{`+anyPort+`,"timeouts":{"body":"100ms","header":"100ms"}}`)
	for name, head := range map[string]string{
		"body":             "POST /services HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
		"large body":       "POST /config/import HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
		"body of a GET":    "GET /services HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
		"body of a denied": "POST /services HTTP/1.1\r\nHost: evil.test\r\nContent-Length: 100\r\n\r\n{",
		"head":             "GET /services HTTP/1.1\r\nHost: lo",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, head); err != nil {
				t.Fatal(err)
			}
			conn.SetReadDeadline(time.Now().Add(patient.Limit))
			answer, err := io.ReadAll(conn)
			if err != nil {
				t.Fatalf("the connection stays: %v, %s", err, answer)
			}
		})
	}
}

// TestAPI_slowReader makes sure that a client that does not read its answer
// loses it.
func TestAPI_slowReader(t *testing.T) {
	w := openDatabase(t)
	err := w.Write(t.Context(), func(tx *store.Tx) error {
		for i := range 150 {
			name := strings.Repeat("x", 60000) + strconv.Itoa(i)
			if _, err := tx.Insert("services", schema.Object{"name": name, "host": "a.test"}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	gaveUp := make(chan zapcore.Entry, 1)
	api := newTestAPI(t, w)
	api.writeTimeout = 100 * time.Millisecond
	api.logger = zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), zapcore.AddSync(io.Discard), zap.InfoLevel),
		zap.Hooks(func(e zapcore.Entry) error { gaveUp <- e; return nil }))
	server := httptest.NewServer(api)
	defer server.Close()

	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /config/export HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-gaveUp:
		if e.Message != "export ended early" {
			t.Errorf("log: %s", e.Message)
		}
	case <-time.After(patient.Limit):
		t.Error("the export still waits for its client")
	}
}

func TestStatusApp(t *testing.T) {
	addr := start(t, "gateway_status", `{`+anyPort+`}`)
	base := "http://" + addr
	for _, tt := range []struct{ method, path, body, contentType, want string }{
		{"GET", "/status", "", "", `"database":{"reachable":true}`},
		{"GET", "/status/ready", "", "", `{"message":"ready"}`},
		{"GET", "/metrics", "", "", "go_goroutines"},
		{"GET", "/metrics", "", "", "process_resident_memory_bytes"},
		{"GET", "/robots.txt", "", "", "Disallow"},
		{"GET", "/status/dns", "", "", "not implemented"},
		{"GET", "/services", "", "", `{"message":"Not found"}`},
		{"GET", "/upstreams/a/health", "", "", `{"message":"Not found"}`},
		{"DELETE", "/status", "", "", `{"message":"Method not allowed"}`},
		{"POST", "/status/ready", "", "", ""},
		{"POST", "/status/ready", "status=other", "application/x-www-form-urlencoded", ""},
		{"GET", "/status/ready", "", "", `{"message":"ready"}`},
		{"POST", "/status/ready", "status=draining", "application/x-www-form-urlencoded", ""},
		{"GET", "/status/ready", "", "", `{"message":"draining"}`},
	} {
		var header []string
		if tt.contentType != "" {
			header = []string{"Content-Type", tt.contentType}
		}
		status, body, _ := do(t, client, tt.method, base+tt.path, tt.body, header...)
		if !strings.Contains(body, tt.want) {
			t.Errorf("%s %s %s: %d %s, want %q", tt.method, tt.path, tt.body, status, body, tt.want)
		}
	}
	if status, _, _ := get(t, base+"/status/ready"); status != 503 {
		t.Errorf("draining: %d", status)
	}
	if _, err := provision(t, "gateway_status", `{"listen":[{"address":"0.0.0.0","port":8100}]}`); err != nil {
		t.Errorf("the Status API may be reachable: %v", err)
	}
}

// A connection outlives a reload; what it may do is for the new configuration
// to say.
func TestApp_clientAuthCountsForOlderConnections(t *testing.T) {
	bind := fmt.Sprintf(`"listen":[{"address":"127.0.0.1","port":%d,"ssl":true,"http2":true}]`, ports.Free(t))
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, ca, pems()["ca_cert"])

	url := "https://" + start(t, "gateway_admin", `{`+bind+`}`) + "/status"
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	if status, body, _ := do(t, client, "GET", url, ""); status != 200 {
		t.Fatalf("before: %d %s", status, body)
	}
	start(t, "gateway_admin", `{`+bind+`,"client_auth":{"trusted_ca_certs":["`+ca+`"]}}`)
	if status, body, _ := do(t, client, "GET", url, ""); status != 403 || !strings.Contains(body, "client_auth") {
		t.Errorf("on the same connection, after client_auth was asked for: %d %s", status, body)
	}
}
