package command

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/portcullis-gateway/portcullis/modules/declarative"
	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// result is what a command left behind.
type result struct {
	out, err string
	status   int
}

// run runs `caddy gateway` with arguments, as Caddy's main function does.
func run(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	root := &cobra.Command{Use: "caddy", SilenceUsage: true}
	cmd := &cobra.Command{Use: "gateway <command>", Short: "Looks after the gateway"}
	setup(cmd)
	root.AddCommand(cmd)
	var out, errs bytes.Buffer
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetArgs(append([]string{"gateway"}, args...))
	r := result{}
	if err := root.Execute(); err == errNo {
		r.status = statusNo
	} else if err != nil && err.Error() == "exiting with status 2" {
		r.status = statusTrouble
	} else if err != nil {
		t.Fatalf("%v: unexpected %v", args, err)
	}
	r.out, r.err = out.String(), errs.String()
	return r
}

func (r result) check(t *testing.T, status int, out, errs string) {
	t.Helper()
	if r.status != status {
		t.Errorf("status %d, want %d", r.status, status)
	}
	if r.out != out {
		t.Errorf("stdout is\n%s\nwant\n%s", r.out, out)
	}
	if r.err != errs {
		t.Errorf("stderr is\n%s\nwant\n%s", r.err, errs)
	}
}

// file makes a file and answers its name.
func file(t *testing.T, name, text string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// admin is an Admin API with a store of its own, of the endpoints that the
// commands use.
type admin struct {
	image    *store.Image
	replaces bool // as a node without a database does

	text string // answers everything, if set

	last *http.Request
	body string
}

func (a *admin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.last, a.body = r, string(body)
	if a.text != "" {
		io.WriteString(w, a.text)
		return
	}
	switch r.Method + " " + r.URL.Path {
	case "POST /explain":
		io.WriteString(w, explanation)
	case "GET /config/export":
		_ = declarative.Export(w, a.image, declarative.Format(r.URL.Query().Get("format")))
	case "POST /config/import":
		events := json.NewEncoder(w)
		events.Encode(declarative.ImportEvent{Stage: declarative.StageParsed, Done: len(body), Total: len(body)})
		outcome := declarative.ImportEvent{DryRun: r.URL.Query().Get("dry_run") == "1", Replaced: a.replaces}
		sum, err := a.load(body, r.URL.Query().Get("prune") == "1", outcome.DryRun)
		if err != nil {
			outcome.Error = declarative.NewImportError(err)
		} else {
			outcome.Summary = &sum
		}
		events.Encode(outcome)
	default:
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"message":"Not found"}`)
	}
}

func (a *admin) load(body []byte, prune, dry bool) (sum declarative.Summary, err error) {
	doc, err := declarative.Parse(body)
	if err != nil {
		return sum, err
	}
	rows, errs := doc.Resolve(gateway.Catalog(), declarative.Options{})
	if errs != nil {
		return sum, errs
	}
	tx := store.Begin(a.image, store.Options{})
	if a.replaces {
		sum, err = declarative.Replace(tx, rows, nil)
	} else {
		sum, err = declarative.Sync(tx, rows, declarative.SyncOptions{Prune: prune})
	}
	if err == nil && !dry {
		a.image = tx.Image()
	}
	return sum, err
}

func serve(t *testing.T) (*admin, string) { return serveText(t, "") }

func serveText(t *testing.T, text string) (*admin, string) {
	a := &admin{image: store.NewImage(gateway.Catalog()), text: text}
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	return a, s.URL
}

func TestGateway_help(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"explain", "config", "Examples:"}},
		{[]string{"config"}, []string{"import", "export", "check"}},
		{[]string{"explain", "--help"}, []string{"--header", "--insecure-skip-verify", "$ caddy gateway explain"}},
		{[]string{"config", "import", "--help"}, []string{"--dry-run", "--sync", tokenVariable, "exit status"}},
		{[]string{"config", "export", "--help"}, []string{"--format", "--output"}},
		{[]string{"config", "check", "--help"}, []string{"FILE", "exit status"}},
	} {
		r := run(t, "", tt.args...)
		for _, want := range tt.want {
			if r.status != 0 || !strings.Contains(r.out, want) {
				t.Errorf("%v: status %d, no %q in\n%s%s", tt.args, r.status, want, r.out, r.err)
			}
		}
	}
}

func TestGateway_misuse(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"fly"}, `unknown command "fly"; 'caddy gateway --help' lists them`},
		{[]string{"config", "improt"}, `unknown command "improt"; 'caddy gateway config --help' lists them`},
		{[]string{"explain"}, "accepts 1 arg(s), received 0; usage: caddy gateway explain URL [flags]"},
		{[]string{"config", "check", "a", "b"}, "accepts 1 arg(s), received 2; usage: caddy gateway config check FILE [flags]"},
		{[]string{"explain", "--colour", "/"}, "unknown flag: --colour"},
		{[]string{"explain", "--header", "novalue", "/"}, `--header: "novalue" is not of the form 'Name: value'`},
		{[]string{"explain", "--address", "ftp://a", "/"}, `--address: "ftp://a" is not an address such as http://127.0.0.1:8001`},
		{[]string{"explain", "--address", ":", "/"}, `--address: ":" is not an address such as http://127.0.0.1:8001`},
		{[]string{"explain", "--cert", "x", "/"}, "--cert and --key belong together"},
		{[]string{"explain", "--cacert", "/does/not/exist", "/"}, "--cacert: open /does/not/exist: no such file or directory"},
		{[]string{"config", "import", "/does/not/exist"}, "open /does/not/exist: no such file or directory"},
		{[]string{"config", "check", "/does/not/exist"}, "open /does/not/exist: no such file or directory"},
		{[]string{"config", "export", "--format", "xml"}, `--format: "xml" is neither yaml nor json`},
		{[]string{"config", "export", "--output", "a", "b"}, "both FILE and --output are given"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			run(t, "", tt.args...).check(t, statusTrouble, "", "Error: "+tt.want+"\n")
		})
	}
}

func TestClient_unreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	r := run(t, "", "explain", "--address", address, "/")
	r.check(t, statusTrouble, "", fmt.Sprintf("Error: cannot reach the Admin API at http://%s: dial tcp %s: connect: connection refused; is the gateway running? --address says where\n", address, address))
}

func TestClient_refused(t *testing.T) {
	status, body := 0, ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	defer s.Close()
	for _, tt := range []struct {
		status     int
		body, want string
	}{
		{401, `{"message":"Unauthorized"}`, "401 Unauthorized: Unauthorized; --token or GATEWAY_ADMIN_TOKEN gives the token"},
		{404, `{"message":"Not found"}`, "404 Not Found: Not found; is this the Admin API of a gateway of this kind?"},
		{400, `{"code":2,"message":"schema violation (url: required field missing)"}`, "400 Bad Request: schema violation (url: required field missing)"},
		{502, "<html>", "502 Bad Gateway: <html>"},
		{302, "", "302 Found: "},
	} {
		status, body = tt.status, tt.body
		r := run(t, "", "explain", "--address", s.URL, "/")
		r.check(t, statusTrouble, "", "Error: the Admin API at "+s.URL+" answered "+tt.want+"\n")
	}
}

func TestClient_token(t *testing.T) {
	a, address := serve(t)
	got := func() string { return a.last.Header.Get("Kong-Admin-Token") }
	run(t, "", "explain", "--address", address, "/")
	if got() != "" {
		t.Errorf("a token that nobody gave: %q", got())
	}
	t.Setenv(tokenVariable, "from the environment")
	run(t, "", "config", "export", "--address", address)
	if got() != "from the environment" {
		t.Errorf("token %q", got())
	}
	run(t, "_format_version: '3.0'", "config", "import", "--address", address, "--token", "from the flag", "-")
	if got() != "from the flag" {
		t.Errorf("token %q", got())
	}
}

func TestClient_TLS(t *testing.T) {
	a := &admin{image: store.NewImage(gateway.Catalog())}
	s := httptest.NewUnstartedServer(a)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	ca := file(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))

	for _, args := range [][]string{{"--cacert", ca}, {"--insecure-skip-verify"}} {
		if r := run(t, "", append([]string{"explain", "--address", s.URL, "/"}, args...)...); r.status != 0 {
			t.Errorf("%v: status %d\n%s", args, r.status, r.err)
		}
	}
	if r := run(t, "", "explain", "--address", s.URL, "/"); r.status != statusTrouble || !strings.Contains(r.err, "--cacert names the CA to trust") {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
	if r := run(t, "", "explain", "--address", s.URL, "--cacert", file(t, "empty.pem", "x"), "/"); !strings.Contains(r.err, "there is no certificate in") {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
	_, plain := serve(t)
	if r := run(t, "", "explain", "--address", strings.Replace(plain, "http:", "https:", 1), "/"); !strings.Contains(r.err, "--address should begin with http://") {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
}
