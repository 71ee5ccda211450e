package integration

import (
	"crypto/tls"
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
