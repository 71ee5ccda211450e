package http1

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// A handler that takes the body out of the request leaves the bytes of it on the
// connection. They are no request.
func TestServer_bodyTakenOutOfTheRequest(t *testing.T) {
	var paths []string
	s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, strings.Clone(r.URL.Path))
		r.Body = http.NoBody
		if r, ok := w.(Recycler); ok {
			r.Recycle(true)
		}
	})}
	c, _ := dial(t, start(t, s))
	defer c.Close()
	const inner = "GET /inner HTTP/1.1\r\nHost: h\r\n\r\n"
	if _, err := io.WriteString(c, "POST /outer HTTP/1.1\r\nHost: h\r\nContent-Length: 32\r\n\r\n"+inner+
		"GET /next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(c); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(paths, " "); got != "/outer /next" || len(inner) != 32 {
		t.Errorf("served %s, with %d bytes inside", got, len(inner))
	}
}
