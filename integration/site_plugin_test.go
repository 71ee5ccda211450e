package integration

import (
	"fmt"
	"strings"
	"testing"
)

// siteWithPlugins has a plugin of most kinds in front of what a site does.
const siteWithPlugins = siteOptions + `
http://127.0.0.1:{$SITE} {
	handle /closed* {
		gateway_plugin key-auth {
			key_names apikey
			hide_credentials on
		}
		respond "{http.auth.user.id} {header.X-Consumer-Username} [{header.Apikey}]"
	}
	handle /staff {
		gateway_plugin key-auth
		gateway_plugin acl {
			allow staff
		}
		respond "{header.X-Consumer-Groups}"
	}
	handle /pages/* {
		gateway_plugin cors {
			origins https://a.example https://b.example
		}
		root {$HOME}
		uri strip_prefix /pages
		file_server
	}
	handle /json {
		gateway_plugin response-transformer {
			remove {
				json secret
			}
		}
		header Content-Type application/json
		respond ` + "`" + `{"secret":1,"public":2}` + "`" + `
	}
	handle /small {
		gateway_plugin request-size-limiting {
			allowed_payload_size 10
			size_unit bytes
		}
		respond "small enough"
	}
	handle /moved/* {
		gateway_plugin request-transformer {
			replace {
				uri /to/$(query_params.where)
			}
			add {
				headers "x-from:$(headers.host)"
			}
		}
		respond "{method} {path} {header.X-From}"
	}
	handle /gone {
		gateway_plugin request-termination {
			status_code 410
			message "gone for good"
		}
	}
	handle /elsewhere {
		gateway_plugin ip-restriction {
			deny 127.0.0.1
		}
	}
}
`

func TestSitePlugin(t *testing.T) {
	t.Parallel()
	h := newHome(t, siteWithPlugins)
	h.write("a.txt", "of the disk")
	p := h.start()
	p.admin("POST", "/consumers", `{"username":"anna"}`, 201)
	site := "http://" + p.addr("SITE")
	if a := do(t, "GET", site+"/closed", "", "apikey", "k"); a.status != 401 {
		t.Fatalf("a key that nobody has: %d", a.status)
	}
	p.admin("POST", "/consumers/anna/key-auth", `{"key":"k"}`, 201)
	// what one plugin has found out is known to the next
	if a := do(t, "GET", site+"/staff", "", "apikey", "k"); a.status != 403 || !strings.Contains(a.body, "You cannot consume this service") {
		t.Errorf("a consumer without a group: %d %s", a.status, a.body)
	}
	p.admin("POST", "/consumers/anna/acls", `{"group":"staff"}`, 201)
	check := func() {
		t.Helper()
		for _, tt := range []struct {
			name, method, path, body string
			header                   []string
			status                   int
			want, from, value        string
		}{
			{"no key", "GET", "/closed", "", nil, 401, `"message":"No API key found in request"`, "WWW-Authenticate", "Key"},
			{"no key, and HTML is wanted", "GET", "/closed", "", []string{"Accept", "text/html"}, 401, "<p>No API key found in request.</p>", "", ""},
			{"key", "GET", "/closed", "", []string{"apikey", "k"}, 200, "anna anna []", "", ""},
			{"group", "GET", "/staff", "", []string{"apikey", "k"}, 200, "staff", "", ""},
			{"origin", "GET", "/pages/a.txt", "", []string{"Origin", "https://b.example"}, 200, "of the disk", "Access-Control-Allow-Origin", "https://b.example"},
			{"origin of an error", "GET", "/pages/b.txt", "", []string{"Origin", "https://b.example"}, 404, "", "Access-Control-Allow-Origin", "https://b.example"},
			{"preflight", "OPTIONS", "/pages/a.txt", "", []string{"Origin", "https://b.example", "Access-Control-Request-Method", "PUT"}, 200, "", "Access-Control-Allow-Methods", "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT"},
			{"body changed", "GET", "/json", "", nil, 200, `{"public":2}`, "Content-Type", "application/json"},
			{"small body", "POST", "/small", "0123456789", nil, 200, "small enough", "", ""},
			{"large body", "POST", "/small", "0123456789a", nil, 413, "Request size limit exceeded", "", ""},
			{"request changed", "GET", "/moved/x?where=there", "", nil, 200, "GET /to/there 127.0.0.1", "", ""},
			{"answered", "GET", "/gone", "", nil, 410, `{"message":"gone for good"}`, "", ""},
			{"address", "GET", "/elsewhere", "", nil, 403, "IP address not allowed: 127.0.0.1", "", ""},
		} {
			a := do(t, tt.method, site+tt.path, tt.body, tt.header...)
			if a.status != tt.status || !strings.Contains(a.body, tt.want) {
				t.Errorf("%s: got %d %q, want %d %q", tt.name, a.status, a.body, tt.status, tt.want)
			}
			if got := a.header.Get(tt.from); tt.from != "" && got != tt.value {
				t.Errorf("%s: %s: got %q, want %q", tt.name, tt.from, got, tt.value)
			}
		}
	}
	check()
	p.reload()
	check()
	p.admin("DELETE", "/consumers/anna", "", 204)
	if a := do(t, "GET", site+"/closed", "", "apikey", "k"); a.status != 401 {
		t.Errorf("a key whose consumer has gone: %d", a.status)
	}
}

// TestSitePlugin_withoutAGateway needs no store where nothing is looked up.
func TestSitePlugin_withoutAGateway(t *testing.T) {
	t.Parallel()
	const counted = `http://127.0.0.1:{$SITE} {
	gateway_plugin correlation-id {
		echo_downstream on
	}
	respond ok
}
`
	h := newHome(t, counted)
	p := h.start()
	ids := map[string]bool{}
	for n := range 3 {
		if n == 2 {
			p.write("gateway.caddyfile", strings.Replace(counted, "respond ok", "respond fine", 1))
			p.reload()
		}
		id := do(t, "GET", "http://"+p.addr("SITE")+"/", "").header.Get("Kong-Request-ID")
		if !strings.HasSuffix(id, fmt.Sprintf("#%d", n+1)) || ids[id] { // the counter goes on after a reload
			t.Errorf("request %d: got %q", n+1, id)
		}
		ids[id] = true
	}
	if strings.Contains(p.log.String(), "node is open") {
		t.Error("a store was opened")
	}
}

// TestSitePlugin_countersAreOfOneHandler: those that say the same count apart, and
// go on after a reload.
func TestSitePlugin_countersAreOfOneHandler(t *testing.T) {
	t.Parallel()
	limited := func(path string) string {
		return "\thandle " + path + " {\n\t\tgateway_plugin rate-limiting {\n\t\t\tyear 2\n\t\t\tlimit_by ip\n\t\t}\n\t\trespond ok\n\t}\n"
	}
	h := newHome(t, "http://127.0.0.1:{$SITE} {\n"+limited("/a")+limited("/b")+"}\n")
	p := h.start()
	ask := func(path string, status int) {
		t.Helper()
		if a := do(t, "GET", "http://"+p.addr("SITE")+path, ""); a.status != status {
			t.Errorf("%s: got %d %s, want %d", path, a.status, a.body, status)
		}
	}
	ask("/a", 200)
	ask("/b", 200)
	ask("/a", 200)
	ask("/a", 429)
	p.reload()
	ask("/a", 429)
	ask("/b", 200)
	ask("/b", 429)
}
