package integration

import (
	"strings"
	"testing"
)

// TestSite uses the gateway inside an ordinary Caddy site: the same routes,
// and no listener of its own.
func TestSite(t *testing.T) {
	t.Parallel()
	h := newHome(t, `{
	gateway {
		store bolt {$HOME}/gateway.db
	}
	proxy_listen off
	status_listen off
	admin_listen 127.0.0.1:{$ADMIN}
}

http://127.0.0.1:{$SITE} {
	header X-Site caddy
	respond /site "from the site"
	route /api/* {
		gateway {
			pass
		}
		respond "from the end of the site"
	}
	gateway /strict/*
}
`)
	behind := upstream(t, echo)
	p := h.start()
	p.admin("POST", "/services", `{"name":"a","url":"`+behind.URL+`"}`, 201)
	p.admin("POST", "/services/a/routes", `{"paths":["/api/orders"]}`, 201)

	for _, tt := range []struct {
		name, path string
		status     int
		want       string
	}{
		{"a route", "/api/orders/1", 200, "GET " + strings.TrimPrefix(behind.URL, "http://") + " /1\n"},
		{"no route, passed on", "/api/other", 200, "from the end of the site"},
		{"no route, answered", "/strict/other", 404, "no Route matched with those values"},
		{"another directive", "/site", 200, "from the site"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := do(t, "GET", "http://"+p.addr("SITE")+tt.path, "")
			if a.status != tt.status || !strings.Contains(a.body, tt.want) {
				t.Errorf("got %d %q, want %d %q", a.status, a.body, tt.status, tt.want)
			}
			if a.header.Get("X-Site") != "caddy" {
				t.Error("the site's own header is missing")
			}
		})
	}
}
