//go:build race

package http1

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// What is kept of a request that was said to be forgotten does not look as if it
// were still there.
func TestServer_spoilsWhatIsKept(t *testing.T) {
	var kept, value string
	var values []string
	s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keeps" {
			kept, value, values = r.RequestURI, r.Header.Get("X-One"), r.Header["X-One"]
		} else if kept == "/keeps" || value == "1" || values[0] == "1" {
			t.Errorf("kept %q, %q and %q", kept, value, values)
		}
		w.(Recycler).Recycle(true)
	})}
	c, _ := dial(t, start(t, s))
	defer c.Close()
	if _, err := io.WriteString(c, "GET /keeps HTTP/1.1\r\nHost: h\r\nX-One: 1\r\n\r\n"+
		"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); err != nil || strings.Count(string(b), "HTTP/1.1 200") != 2 {
		t.Errorf("%v: %q", err, b)
	}
}
