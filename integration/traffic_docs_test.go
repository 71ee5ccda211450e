package integration

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/catalog"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// leaves are the names of all fields, also of those in records.
func leaves(fs *schema.Fields) (names []string) {
	for _, f := range fs.List {
		if names = append(names, f.Name); f.Fields != nil {
			names = append(names, leaves(f.Fields)...)
		}
	}
	return names
}

// TestTrafficDocs runs the examples of pages whose plugins need no credentials,
// and looks for every field.
func TestTrafficDocs(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("needs curl: apt-get install curl")
	}
	behind := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Internal", "yes")
		fmt.Fprintf(w, `{"secret":1,"user":%q,"debug":%q,"query":%q}`, r.Header.Get("X-User"), r.Header.Get("X-Debug"), r.URL.RawQuery)
	})
	p := newHome(t, usual).start()
	for _, tt := range []struct {
		name   string
		status int    // of a request afterwards
		want   string // in what the commands show
		not    string
	}{
		{"cors", 200, "Access-Control-Allow-Origin: https://eu.shop.example", "Access-Control-Allow-Origin: *"},
		{"ip-restriction", 403, "", ""},
		{"request-size-limiting", 200, "Request size limit exceeded", ""},
		{"request-transformer", 200, `"user":"nobody","debug":"","query":"lang=en"`, ""},
		{"response-transformer", 200, `"version":2}`, `"secret"`},
	} {
		page := "docs/plugins/" + tt.name + ".md"
		text, err := os.ReadFile(filepath.Join("..", page))
		if err != nil {
			t.Fatal(err)
		}
		kind, _ := catalog.Of().Plugin(tt.name)
		for _, name := range leaves(kind.Config) {
			if !strings.Contains(string(text), "`"+name) && !strings.Contains(string(text), "."+name+"`") {
				t.Errorf("%s: nothing about the field %s", page, name)
			}
		}
		for i, example := range blocks(t, page, "yaml") {
			file := p.write(tt.name+".yml", example)
			if out, code := p.caddy("gateway", "config", "check", file); code != 0 {
				t.Errorf("%s: example %d: %s", page, i+1, out)
			}
		}
		p.admin("PUT", "/services/orders", `{"url":"`+behind.URL+`"}`, 200)
		p.admin("PUT", "/services/orders/routes/orders", `{"paths":["/orders"]}`, 200)
		script := "set -e\n" + strings.ReplaceAll(p.elsewhere(blocks(t, page, "sh")[0]), "curl ", "curl --silent --show-error ")
		out, err := exec.CommandContext(t.Context(), "sh", "-c", script).CombinedOutput()
		got := string(out[max(0, strings.LastIndex(string(out), "HTTP/1.1")):]) // of the last command, if it shows a head
		if err != nil || !strings.Contains(got, tt.want) || tt.not != "" && strings.Contains(got, tt.not) {
			t.Errorf("%s: the commands end with %v\n%s", page, err, out)
		}
		if a := do(t, "GET", "http://"+p.addr("PROXY")+"/orders", ""); a.status != tt.status {
			t.Errorf("%s: after its commands the service answers %d, want %d", page, a.status, tt.status)
		}
		p.admin("DELETE", "/routes/orders", "", 204)
		p.admin("DELETE", "/services/orders", "", 204)
	}
}
