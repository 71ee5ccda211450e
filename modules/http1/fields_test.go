package http1

import (
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// Who asks for lists gets the fields in their order and no header, and may answer
// with a list, which counts more than what is in the header already.
func TestServer_lists(t *testing.T) {
	for _, tt := range []struct {
		name, method string
		status       int
		fields       Fields
		after        func(http.ResponseWriter)
		want         string // of the answer, with its lines of the head in order
	}{
		{"as they came", "GET", 200, Fields{{"B", "1"}, {"Content-Length", "2"}, {"A", "2"}, {"B", "3"}}, nil,
			"HTTP/1.1 200 OK|A: 2|B: 1|B: 3|Content-Length: 2|Early: 1||ok"},
		{"in the place of others", "GET", 200, Fields{{"Early", "late"}, {"Content-Length", "2"}}, nil,
			"HTTP/1.1 200 OK|Content-Length: 2|Early: late||ok"},
		{"without a length", "GET", 200, Fields{{"A", "b"}}, nil,
			"HTTP/1.1 200 OK|A: b|Content-Length: 2|Early: 1||ok"},
		{"a type of its own", "GET", 200, Fields{{"Content-Type", "a/b"}}, nil,
			"HTTP/1.1 200 OK|Content-Length: 2|Content-Type: a/b|Early: 1||ok"},
		{"frames are the server's", "GET", 200, Fields{{"Transfer-Encoding", "chunked"}, {"Connection", "close"}}, nil,
			"HTTP/1.1 200 OK|Content-Length: 2|Early: 1||ok"},
		{"head", "HEAD", 200, Fields{{"Content-Length", "7"}}, nil, "HTTP/1.1 200 OK|Content-Length: 7|Early: 1||"},
		{"no content", "GET", 204, Fields{{"A", "b"}}, nil, "HTTP/1.1 204 No Content|A: b|Early: 1||"},
		{"not modified", "GET", 304, Fields{{"Content-Length", "7"}}, nil, "HTTP/1.1 304 Not Modified|Content-Length: 7|Early: 1||"},
		{"a header after all", "GET", 200, Fields{{"A", "b"}, {"A", "c"}},
			func(w http.ResponseWriter) {
				if got, want := w.Header()["A"], []string{"b", "c"}; !reflect.DeepEqual(got, want) {
					t.Errorf("got %q in the header, want %q", got, want)
				}
				w.Header().Set("More", "1")
			}, "HTTP/1.1 200 OK|A: b|A: c|Content-Length: 2|Early: 1|More: 1||ok"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addr := start(t, &Server{Lists: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				hw := w.(HeadWriter)
				want := Fields{{"X", "1"}, {"A-B", "2"}, {"X", "3"}}
				if got := w.(HeadReader).RequestHead().Fields; r.Header != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("got %q and a header of %q, want %q and none", got, r.Header, want)
				}
				Expand(w, r)
				if want := (http.Header{"X": {"1", "3"}, "A-B": {"2"}}); !reflect.DeepEqual(r.Header, want) {
					t.Errorf("expanded to %q, want %q", r.Header, want)
				}
				w.Header().Set("Early", "1")
				hw.WriteHead(tt.status, &Head{Fields: tt.fields})
				if tt.after != nil {
					tt.after(w)
				}
				_, _ = io.WriteString(w, "ok")
			})})
			c, in := dial(t, addr)
			for range 2 { // nothing of the first one is left in the second
				if _, err := io.WriteString(c, tt.method+" / HTTP/1.1\r\nX: 1\r\nHost: h\r\na-b: 2\r\nX:3\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				resp, err := http.ReadResponse(in, &http.Request{Method: tt.method})
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				resp.Header.Del("Date")
				var head strings.Builder
				_ = resp.Header.Write(&head)
				got := resp.Proto + " " + resp.Status + "|" + strings.ReplaceAll(head.String(), "\r\n", "|") + "|" + string(body)
				if got != tt.want {
					t.Errorf("got  %s\nwant %s", got, tt.want)
				}
			}
		})
	}
}

// Whatever is in a header, what is made of it can be written down as it is.
func TestFields_ofHeader(t *testing.T) {
	got := Fields(nil).AppendHeader(http.Header{"A": {"b\r\nC: d"}, "bad name": {"x"}, "Bad\r\n": {"x"}})
	if want := (Fields{{"A", "b  C: d"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
