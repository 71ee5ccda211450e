package integration

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestListenerWrappers puts one of Caddy's listener wrappers in front of the
// proxy, with and without TLS behind it, and reloads.
func TestListenerWrappers(t *testing.T) {
	t.Parallel()
	h := newHome(t, strings.Replace(usual, "ssl http2\n", `ssl http2 {
		listener_wrappers {
			proxy_protocol {
				allow 127.0.0.0/8
			}
			tls
		}
	}
`, 1))
	behind := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("X-Real-IP"))
	})
	p := h.start()
	p.route("/", behind.URL)

	// ask sends one request, behind a PROXY header, and answers the address
	// that the upstream was told
	ask := func(port string, secure bool) string {
		t.Helper()
		conn, err := net.Dial("tcp", p.addr(port))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		io.WriteString(conn, "PROXY TCP4 203.0.113.9 198.51.100.1 4711 80\r\n")
		if secure {
			conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		}
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	for range 3 {
		for port, secure := range map[string]bool{"PROXY": false, "PROXY_SSL": true} {
			if got := ask(port, secure); got != "203.0.113.9" {
				t.Errorf("%s: the upstream heard of %q, want the address in the PROXY header", port, got)
			}
		}
		p.reload()
	}
}
