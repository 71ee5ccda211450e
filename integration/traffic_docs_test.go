package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/catalog"
	"github.com/portcullis-gateway/portcullis/modules/patient"
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
	entries := make(chan string, 100)
	logs := upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		entries <- string(b)
	})
	p := newHome(t, usual).start()
	elsewhere := strings.NewReplacer("logs.internal:9200", logs.Listener.Addr().String(), "/var/log/gateway", p.dir,
		"localhost:8007", p.addr("STATUS"))
	for _, tt := range []struct {
		name   string
		status int    // of a request afterwards
		want   string // in what the commands show
		not    string
		told   func() string // asked afterwards, until there is something
		tells  string        // what that is to have in it
	}{
		{name: "README", status: 200, want: `"max_age":3600`},
		{name: "correlation-id", status: 200, want: "X-Correlation-Id: "},
		{name: "cors", status: 200, want: "Access-Control-Allow-Origin: https://eu.shop.example", not: "Access-Control-Allow-Origin: *"},
		{name: "file-log", status: 200, tells: `"uri":"/orders"`, told: func() string {
			text, _ := os.ReadFile(filepath.Join(p.dir, "requests.log"))
			return string(text)
		}},
		{name: "http-log", status: 200, tells: `"uri":"/orders"`, told: func() string {
			select {
			case list := <-entries:
				return list
			default:
				return ""
			}
		}},
		{name: "ip-restriction", status: 403},
		{name: "prometheus", status: 200, want: "kong_node_info{", tells: `code="200"`, told: func() string {
			for line := range strings.Lines(do(t, "GET", "http://"+p.addr("STATUS")+"/metrics", "").body) {
				if strings.HasPrefix(line, "kong_http_requests_total{") {
					return line
				}
			}
			return ""
		}},
		{name: "request-size-limiting", status: 200, want: "Request size limit exceeded"},
		{name: "request-termination", status: 200, want: `{"message":"moved to /v2"}`},
		{name: "request-transformer", status: 200, want: `"user":"nobody","debug":"","query":"lang=en"`},
		{name: "response-transformer", status: 200, want: `"version":2}`, not: `"secret"`},
	} {
		page := "docs/plugins/" + tt.name + ".md"
		text, err := os.ReadFile(filepath.Join("..", page))
		if err != nil {
			t.Fatal(err)
		}
		var fields []string
		if kind, ok := catalog.Of().Plugin(tt.name); ok {
			fields = leaves(kind.Config)
		}
		for _, name := range fields {
			if !strings.Contains(string(text), "`"+name) && !strings.Contains(string(text), "."+name+"`") {
				t.Errorf("%s: nothing about the field %s", page, name)
			}
		}
		for i, example := range blocks(t, page, "yaml") {
			if strings.HasPrefix(example, "# prometheus.yml") { // is not for the gateway
				continue
			}
			file := p.write(tt.name+".yml", example)
			if out, code := p.caddy("gateway", "config", "check", file); code != 0 {
				t.Errorf("%s: example %d: %s", page, i+1, out)
			}
		}
		p.admin("PUT", "/services/orders", `{"url":"`+behind.URL+`"}`, 200)
		p.admin("PUT", "/services/orders/routes/orders", `{"paths":["/orders"]}`, 200)
		p.admin("PUT", "/services/orders/routes/old", `{"paths":["/old"]}`, 200)
		script := "set -e\n" + strings.ReplaceAll(p.elsewhere(elsewhere.Replace(blocks(t, page, "sh")[0])), "curl ", "curl --silent --show-error ")
		out, err := exec.CommandContext(t.Context(), "sh", "-c", script).CombinedOutput()
		got := string(out[max(0, strings.LastIndex(string(out), "HTTP/1.1")):]) // of the last command, if it shows a head
		if err != nil || !strings.Contains(got, tt.want) || tt.not != "" && strings.Contains(got, tt.not) {
			t.Errorf("%s: the commands end with %v\n%s", page, err, out)
		}
		if a := do(t, "GET", "http://"+p.addr("PROXY")+"/orders", ""); a.status != tt.status {
			t.Errorf("%s: after its commands the service answers %d, want %d", page, a.status, tt.status)
		}
		if tt.told != nil {
			var told string
			patient.Until(t, page+": its example tells of a request", func() bool { told = tt.told(); return told != "" })
			if !strings.Contains(told, tt.tells) {
				t.Errorf("%s: its example tells %s, want %s in it", page, told, tt.tells)
			}
		}
		var plugins struct{ Data []struct{ ID string } }
		if err := json.Unmarshal([]byte(p.admin("GET", "/plugins", "", 200).body), &plugins); err != nil || len(plugins.Data) == 0 {
			t.Fatalf("%s: after its commands there are %d plugins: %v", page, len(plugins.Data), err)
		}
		for _, one := range plugins.Data {
			p.admin("DELETE", "/plugins/"+one.ID, "", 204)
		}
		p.admin("DELETE", "/routes/old", "", 204)
		p.admin("DELETE", "/routes/orders", "", 204)
		p.admin("DELETE", "/services/orders", "", 204)
	}
}
