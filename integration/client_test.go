package integration

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// client follows no redirect, trusts every certificate (those of the tests are
// self-signed) and keeps no connection.
var client = &http.Client{
	Transport: &http.Transport{
		DisableKeepAlives: true,
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// upstream serves with handler on a port of its own until the test ends.
func upstream(t testing.TB, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// echo answers what it was asked for: method, host and path.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Upstream", "echo")
	w.Write([]byte(r.Method + " " + r.Host + " " + r.RequestURI + "\n"))
}

// keep asks the proxy for path in a loop, on one connection.
func keep(b *testing.B, p *process, path string) {
	b.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for b.Loop() {
		resp, err := client.Get("http://" + p.addr("PROXY") + path)
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			b.Fatalf("GET %s: %s", path, resp.Status)
		}
	}
}
