package integration

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// siteOptions are those of a gateway inside of Caddy's sites only.
const siteOptions = `{
	gateway {
		store bolt {$HOME}/gateway.db
	}
	proxy_listen off
	status_listen off
	admin_listen 127.0.0.1:{$ADMIN}
}
`

// TestSite uses the gateway inside an ordinary Caddy site: the same routes,
// and no listener of its own.
func TestSite(t *testing.T) {
	t.Parallel()
	h := newHome(t, siteOptions+`
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
	p.route("/api/orders", behind.URL)

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

// TestSite_timeouts gives up on a client that does not send its body, in the
// time that the directive says.
func TestSite_timeouts(t *testing.T) {
	t.Parallel()
	h := newHome(t, siteOptions+`
http://127.0.0.1:{$SITE} {
	gateway {
		timeouts {
			read_body 300ms
		}
	}
}
`)
	behind := upstream(t, echo)
	p := h.start()
	p.route("/", behind.URL)
	c, err := net.Dial("tcp", p.addr("SITE"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second)) // the default is a minute
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\nhalf")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("got %s, want 408", resp.Status)
	}
}

// TestSite_certificates serves a certificate of the Admin API from a site of
// Caddy's, without a reload.
func TestSite_certificates(t *testing.T) {
	t.Parallel()
	h := newHome(t, `{
	gateway {
		store bolt {$HOME}/gateway.db
	}
	proxy_listen off
	status_listen off
	admin_listen 127.0.0.1:{$ADMIN}
	auto_https disable_redirects
	skip_install_trust
}

https://a.example.com:{$SITE} {
	bind 127.0.0.1
	tls {
		get_certificate gateway
	}
	respond "from the site"
}
`)
	p := h.start()
	for _, subject := range []string{"first", "second"} {
		if subject == "first" {
			p.admin("POST", "/certificates", pair(t, subject, "a.example.com"), 201)
		} else {
			sni := p.admin("GET", "/snis/a.example.com", "", 200)
			var row struct{ Certificate struct{ ID string } }
			if err := json.Unmarshal([]byte(sni.body), &row); err != nil {
				t.Fatal(err)
			}
			p.admin("PUT", "/certificates/"+row.Certificate.ID, pair(t, subject, "a.example.com"), 200)
		}
		conn, err := tls.Dial("tcp", p.addr("SITE"), &tls.Config{ServerName: "a.example.com", InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.ConnectionState().PeerCertificates[0].Subject.CommonName; got != subject {
			t.Errorf("got the certificate %q, want %q", got, subject)
		}
		conn.Close()
	}
}
