package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/catalog"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// documented are the plugins whose pages are held to what they say, with the
// tables that they bring.
var documented = map[string]string{
	"acl": "acls", "basic-auth": "basicauth_credentials", "hmac-auth": "hmacauth_credentials", "jwt": "jwt_secrets",
	"key-auth": "keyauth_credentials",
}

// TestPluginDocs runs the examples of the plugins' pages, and looks for every
// field.
func TestPluginDocs(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"curl", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: apt-get install %s", tool, tool)
		}
	}
	behind := upstream(t, tell)
	p := newHome(t, usual).start()
	for name, table := range documented {
		page := "docs/plugins/" + name + ".md"
		text, err := os.ReadFile(filepath.Join("..", page))
		if err != nil {
			t.Fatal(err)
		}
		fields := catalog.Of().Table(table).Fields.List
		kind, _ := catalog.Of().Plugin(name)
		for _, f := range append(append([]schema.Field(nil), kind.Config.List...), fields...) {
			switch f.Name {
			case "id", "created_at", "consumer":
			default:
				if !strings.Contains(string(text), "`"+f.Name+"`") {
					t.Errorf("%s: nothing about the field %s", page, f.Name)
				}
			}
		}

		for i, example := range blocks(t, page, "yaml") {
			file := p.write(name+".yml", example)
			if out, code := p.caddy("gateway", "config", "check", file); code != 0 {
				t.Errorf("%s: example %d: %s", page, i+1, out)
			}
		}

		service := p.admin("POST", "/services", `{"name":"orders","url":"`+behind.URL+`"}`, 201)
		id, _ := field(t, service.body, "id")
		p.admin("POST", "/services/orders/routes", `{"name":"orders","paths":["/orders"]}`, 201)
		script := "set -e\n" + strings.ReplaceAll(p.elsewhere(blocks(t, page, "sh")[0]), "curl ", "curl --fail --silent --show-error ")
		out, err := exec.CommandContext(t.Context(), "sh", "-c", script).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "anna|") {
			t.Errorf("%s: the commands end with %v\n%s", page, err, out)
		}
		if a := do(t, "GET", "http://"+p.addr("PROXY")+"/orders", ""); a.status != 401 {
			t.Errorf("%s: after its commands the service answers anyone with %d", page, a.status)
		}
		p.admin("DELETE", "/routes/orders", "", 204)
		p.admin("DELETE", "/services/"+id, "", 204)
		p.admin("DELETE", "/consumers/anna", "", 204)
	}
}
