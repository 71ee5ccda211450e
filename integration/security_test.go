package integration

import (
	"crypto/sha256"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// TestAdmin_browsers tries what a web page could do to an Admin API on the
// loopback address: write from another origin, and read through a name that
// was made to point here.
func TestAdmin_browsers(t *testing.T) {
	t.Parallel()
	p := newHome(t, usual).start()
	p.admin("POST", "/services", `{"name":"secret","url":"http://10.0.0.1"}`, 201)
	base := "http://" + p.addr("ADMIN")
	port := strconv.Itoa(p.ports["ADMIN"])

	for _, tt := range []struct {
		name, method, path, body string
		header                   []string
		allowed                  bool
	}{
		{"curl", "GET", "/services", "", nil, true},
		{"by name", "GET", "/services", "", []string{"Host", "localhost:" + port}, true},
		{"a script's form", "POST", "/consumers", "username=a", []string{"Content-Type", "application/x-www-form-urlencoded"}, true},
		{"a page of the Admin API itself", "GET", "/services", "", []string{"Origin", base, "Sec-Fetch-Site", "same-origin"}, true},
		{"typed into the address bar", "GET", "/services", "", []string{"Sec-Fetch-Site", "none"}, true},

		{"rebound name", "GET", "/services", "", []string{"Host", "evil.example:" + port}, false},
		{"rebound name, write", "POST", "/consumers", `{"username":"b"}`, []string{"Host", "evil.example", "Content-Type", "application/json"}, false},
		{"other origin", "GET", "/services", "", []string{"Origin", "https://evil.example"}, false},
		{"other origin, simple form", "POST", "/consumers", "username=c", []string{"Origin", "https://evil.example", "Content-Type", "application/x-www-form-urlencoded"}, false},
		{"other origin, plain text", "POST", "/consumers", `{"username":"d"}`, []string{"Origin", "https://evil.example", "Content-Type", "text/plain"}, false},
		{"sandboxed page", "GET", "/services", "", []string{"Origin", "null"}, false},
		{"other port of this host", "GET", "/services", "", []string{"Origin", "http://localhost:3000"}, false},
		{"image of another site", "GET", "/services", "", []string{"Sec-Fetch-Site", "cross-site"}, false},
		{"page of a sibling", "POST", "/consumers", `{"username":"e"}`, []string{"Sec-Fetch-Site", "same-site", "Content-Type", "application/json"}, false},
		{"preflight", "OPTIONS", "/services", "", []string{"Origin", "https://evil.example", "Access-Control-Request-Method", "POST"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := do(t, tt.method, base+tt.path, tt.body, tt.header...)
			if tt.allowed {
				if a.status >= 400 {
					t.Errorf("refused: %d %s", a.status, a.body)
				}
				return
			}
			if a.status != 403 && a.status != 421 {
				t.Errorf("got %d %s, want a refusal", a.status, a.body)
			}
			if strings.Contains(a.body, "secret") {
				t.Errorf("the refusal leaks: %s", a.body)
			}
			if origin := a.header.Get("Access-Control-Allow-Origin"); origin != "" {
				t.Errorf("Access-Control-Allow-Origin: %s", origin)
			}
		})
	}
	if a := p.admin("GET", "/consumers", "", 200); strings.Count(a.body, `"username"`) != 1 {
		t.Errorf("a refused request wrote: %s", a.body)
	}
}

// TestAdmin_reachedThroughProxy makes sure that a service cannot point at the
// Admin API of its own gateway, by whatever name.
func TestAdmin_reachedThroughProxy(t *testing.T) {
	t.Parallel()
	p := newHome(t, usual).start()
	admin, status, caddy := p.ports["ADMIN"], p.ports["STATUS"], p.ports["CADDY"]
	for name, target := range map[string]string{
		"address":     "http://127.0.0.1:" + strconv.Itoa(admin),
		"name":        "http://localhost:" + strconv.Itoa(admin),
		"unspecified": "http://0.0.0.0:" + strconv.Itoa(admin),
		"status":      "http://127.0.0.1:" + strconv.Itoa(status),
		"caddy":       "http://127.0.0.1:" + strconv.Itoa(caddy),
	} {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		p.admin("POST", "/services", `{"name":"`+name+`","protocol":"http","host":"`+u.Hostname()+`","port":`+u.Port()+`,"retries":0}`, 201)
		p.admin("POST", "/services/"+name+"/routes", `{"paths":["/`+name+`"]}`, 201)
		a := do(t, "GET", "http://"+p.addr("PROXY")+"/"+name+"/services", "")
		if a.status < 500 || strings.Contains(a.body, `"data"`) {
			t.Errorf("%s (%s): got %d %s", name, target, a.status, a.body)
		}
	}

	// and by a target of an upstream
	p.admin("POST", "/upstreams", `{"name":"inside"}`, 201)
	p.admin("POST", "/upstreams/inside/targets", `{"target":"127.0.0.1:`+strconv.Itoa(admin)+`"}`, 201)
	p.admin("POST", "/services", `{"name":"inside","host":"inside","retries":0}`, 201)
	p.admin("POST", "/services/inside/routes", `{"paths":["/inside"]}`, 201)
	if a := do(t, "GET", "http://"+p.addr("PROXY")+"/inside/services", ""); a.status < 500 || strings.Contains(a.body, `"data"`) {
		t.Errorf("target: got %d %s", a.status, a.body)
	}
}

// TestAdmin_unsafeBind makes sure that nobody opens the Admin API to a network
// without having said how it is guarded.
func TestAdmin_unsafeBind(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, block, want string }{
		{"bare", "", "admin_listen"},
		{"insecure", "insecure", ""},
		{"token", fmt.Sprintf("token sha256:%x", sha256.Sum256([]byte("s3cret"))), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t, `{
	gateway {
		store memory
	}
	proxy_listen off
	status_listen off
	admin_listen 0.0.0.0:{$ADMIN} {
		`+tt.block+`
	}
}
`)
			if tt.want != "" {
				out, code := h.caddy("run", "--config", "gateway.caddyfile")
				if code == 0 {
					t.Error("the gateway started")
				}
				for _, want := range []string{tt.want, "token", "client_auth", "insecure"} {
					if !strings.Contains(out, want) {
						t.Errorf("the refusal does not mention %s:\n%s", want, out)
					}
				}
				return
			}
			p := h.start()
			base := "http://" + p.addr("ADMIN")
			if tt.block == "insecure" {
				if a := do(t, "GET", base+"/services", ""); a.status != 200 {
					t.Errorf("insecure: %d %s", a.status, a.body)
				}
				return
			}
			for header, value := range map[string]string{"": "", "Kong-Admin-Token": "wrong", "Authorization": "Bearer wrong"} {
				var list []string
				if header != "" {
					list = []string{header, value}
				}
				if a := do(t, "GET", base+"/services", "", list...); a.status != 401 {
					t.Errorf("%s: %q: got %d %s, want 401", header, value, a.status, a.body)
				}
			}
			for header, value := range map[string]string{"Kong-Admin-Token": "s3cret", "Authorization": "Bearer s3cret"} {
				if a := do(t, "GET", base+"/services", "", header, value); a.status != 200 {
					t.Errorf("%s: %q: got %d %s, want 200", header, value, a.status, a.body)
				}
			}
		})
	}
}
