package acl_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/acl"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/keyauth"
	"github.com/portcullis-gateway/portcullis/modules/plugin/plugintest"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func init() { caddy.RegisterModule(new(directory)) }

// A directory is a plugin that knows the groups of clients, and of some of them
// nothing else: they are who a credential without a consumer says.
type directory struct{}

func (*directory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway.plugins.directory", New: func() caddy.Module { return new(directory) }}
}

func (*directory) Describe() entity.PluginKind { return entity.PluginKind{Priority: 1000} }

func (*directory) Access(x *plugin.Exchange) error {
	if g := x.First("Groups"); g != "" {
		x.Groups = strings.Split(g, ",")
	}
	if g := x.First("Shared-Groups"); g != "" {
		x.Shared = map[string]any{"authenticated_groups": strings.Split(g, ",")}
	}
	if x.Has("Alone") {
		x.SetConsumer(nil, &plugin.Credential{Identifier: "x"})
	}
	return nil
}

func TestACL(t *testing.T) {
	for _, tt := range []struct {
		name, config, key string
		header            []string // of the request
		status            int
		told              string // X-Consumer-Groups|X-Authenticated-Groups
	}{
		{name: "allowed", config: `{"allow": ["sales", "admin"]}`, key: "anna", status: 200, told: "admin, staff|"},
		{name: "not allowed", config: `{"allow": ["sales"]}`, key: "anna", status: 403},
		{name: "allowed, and in no group", config: `{"allow": ["sales"]}`, key: "bert", status: 403},
		{name: "denied", config: `{"deny": ["admin"]}`, key: "anna", status: 403},
		{name: "not denied", config: `{"deny": ["sales"]}`, key: "anna", status: 200, told: "admin, staff|"},
		{name: "not denied, and in no group", config: `{"deny": ["sales"]}`, key: "bert", status: 200, told: "|"},
		{name: "hidden", config: `{"allow": ["admin"], "hide_groups_header": true}`, key: "anna", status: 200, told: "|"},
		{name: "what the client says of itself", config: `{"deny": ["sales"], "hide_groups_header": true}`, key: "bert",
			header: []string{"X-Consumer-Groups", "admin", "X-Authenticated-Groups", "admin"}, status: 200, told: "|"},
		{name: "anonymous in no group", config: `{"allow": ["sales"]}`, status: 401},
		{name: "anonymous, not denied", config: `{"deny": ["sales"]}`, status: 200, told: "|"},
		{name: "anonymous with groups of a plugin", config: `{"allow": ["sales"]}`, header: []string{"Groups", "sales,x"}, status: 200, told: "|sales, x"},
		{name: "anonymous with groups that a plugin shares", config: `{"allow": ["sales"]}`, header: []string{"Shared-Groups", "sales,x"}, status: 200, told: "|sales, x"},
		{name: "anonymous with other groups of a plugin", config: `{"allow": ["sales"]}`, header: []string{"Groups", "x"}, status: 403},
		{name: "the consumer's before those of a plugin", config: `{"allow": ["sales"]}`, key: "anna", header: []string{"Groups", "sales"}, status: 403},
		{name: "those of a plugin first", config: `{"allow": ["sales"], "always_use_authenticated_groups": true}`, key: "anna",
			header: []string{"Groups", "sales"}, status: 200, told: "|sales"},
		{name: "those that are shared first", config: `{"allow": ["sales"], "always_use_authenticated_groups": true}`, key: "anna",
			header: []string{"Groups", "admin", "Shared-Groups", "sales"}, status: 200, told: "|sales"},
		{name: "those of a plugin first, and there are none", config: `{"allow": ["admin"], "always_use_authenticated_groups": true}`, key: "anna",
			status: 200, told: "admin, staff|"},
		{name: "a credential alone", config: `{"deny": ["sales"]}`, header: []string{"Alone", "1"}, status: 403},
		{name: "a credential and groups of a plugin", config: `{"deny": ["x"]}`, header: []string{"Alone", "1", "Groups", "sales"}, status: 200, told: "|sales"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := plugintest.New(t)
			g.Consumer("guest")
			for _, name := range []string{"anna", "bert"} {
				c := g.Consumer(name)
				g.Insert("keyauth_credentials", schema.Object{"consumer": c, "key": name})
				if name == "anna" {
					g.Insert("acls", schema.Object{"consumer": c, "group": "admin", "id": "00000000-0000-4000-8000-000000000001"})
					g.Insert("acls", schema.Object{"consumer": c, "group": "staff", "id": "00000000-0000-4000-8000-000000000002"})
				}
			}
			g.Add("key-auth", `{"anonymous": "guest"}`)
			g.Add("directory", "")
			g.Add("acl", tt.config)
			resp := g.Get("/", func(r *http.Request) {
				if tt.key != "" {
					r.Header.Set("apikey", tt.key)
				}
				for i := 0; i < len(tt.header); i += 2 {
					r.Header.Set(tt.header[i], tt.header[i+1])
				}
			})
			body := plugintest.Body(resp)
			if resp.StatusCode != tt.status {
				t.Fatalf("got %d %s, want %d", resp.StatusCode, body, tt.status)
			}
			message := map[int]string{401: `"message":"Unauthorized"`, 403: `"message":"You cannot consume this service"`}[tt.status]
			if !strings.Contains(body, message) {
				t.Errorf("got %s, want %s", body, message)
			}
			if tt.status != 200 {
				if g.Last != nil {
					t.Error("the service was called")
				}
				return
			}
			if got := g.Last.Header.Get("X-Consumer-Groups") + "|" + g.Last.Header.Get("X-Authenticated-Groups"); got != tt.told {
				t.Errorf("the service was told %q, want %q", got, tt.told)
			}
		})
	}
}

// TestACL_nobody has no plugin that authenticates.
func TestACL_nobody(t *testing.T) {
	g := plugintest.New(t)
	g.Add("acl", `{"deny": ["x"]}`)
	if resp := g.Get("/"); resp.StatusCode != 401 {
		t.Errorf("got %d, want 401", resp.StatusCode)
	}
}

func TestACL_configurations(t *testing.T) {
	for config, want := range map[string]string{
		`{}`:                             "at least one of these fields must be non-empty: 'config.allow', 'config.deny'",
		`{"allow": [], "deny": []}`:      "exactly one of these fields must be non-empty: 'config.allow', 'config.deny'",
		`{"allow": ["a"], "deny": [1]}`:  "expected a string",
		`{"allow":["a"], "deny": ["b"]}`: "exactly one of these fields must be non-empty: 'config.allow', 'config.deny'",
	} {
		if _, err := plugintest.New(t).TryAdd("acl", config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
}

func BenchmarkACL(b *testing.B) {
	g := plugintest.New(b)
	anna := g.Consumer("anna")
	g.Insert("keyauth_credentials", schema.Object{"consumer": anna, "key": "secret"})
	for _, group := range []string{"a", "b", "c"} {
		g.Insert("acls", schema.Object{"consumer": anna, "group": group})
	}
	g.Add("key-auth", "")
	g.Add("acl", `{"allow": ["c"]}`)
	plugintest.Bench(b, g, plugintest.Header("apikey", "secret"))
}
