package requestsizelimiting_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/plugin/plugintest"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/requestsizelimiting"
)

func TestRequestSizeLimiting_announcedLengths(t *testing.T) {
	announced := func(n int64) func(*http.Request) {
		return func(r *http.Request) { r.ContentLength = n }
	}
	const refused = "Request size limit exceeded"
	for _, tt := range []struct {
		name, config string
		length       int64
		expect       string
		status       int
		message      string
	}{
		{"default", ``, 128 << 20, "", 200, "ok"},
		{"more than the default", ``, 128<<20 + 1, "", 413, refused},
		{"megabytes", `{"allowed_payload_size": 1}`, 1 << 20, "", 200, "ok"},
		{"more megabytes", `{"allowed_payload_size": 1}`, 1<<20 + 1, "", 413, refused},
		{"kilobytes", `{"allowed_payload_size": 2, "size_unit": "kilobytes"}`, 2048, "", 200, "ok"},
		{"more kilobytes", `{"allowed_payload_size": 2, "size_unit": "kilobytes"}`, 2049, "", 413, refused},
		{"bytes", `{"allowed_payload_size": 10, "size_unit": "bytes"}`, 10, "", 200, "ok"},
		{"more bytes", `{"allowed_payload_size": 10, "size_unit": "bytes"}`, 11, "", 413, refused},
		{"client that waits", `{"allowed_payload_size": 10, "size_unit": "bytes"}`, 11, " 100-Continue", 417, refused},
		{"nothing may be sent", `{"allowed_payload_size": 0}`, 1, "", 413, refused},
		{"more than can be counted", `{"allowed_payload_size": 9007199254740992}`, 1 << 40, "", 200, "ok"},
		{"a length is wanted", `{"require_content_length": true}`, 5, "", 200, "ok"},
		{"a length is wanted, and there is none", `{"require_content_length": true}`, 0, "", 411, "A valid Content-Length header is required"},
		{"no body", ``, 0, "", 200, "ok"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := plugintest.New(t)
			g.Add("request-size-limiting", tt.config)
			body := ""
			if tt.length > 0 {
				body = "hello"
			}
			resp := g.Do("POST", "/", body, announced(tt.length), func(r *http.Request) {
				if tt.expect != "" {
					r.Header.Set("Expect", tt.expect)
				}
			})
			if got := plugintest.Body(resp); resp.StatusCode != tt.status || !strings.Contains(got, tt.message) {
				t.Errorf("got %d %s, want %d %q", resp.StatusCode, got, tt.status, tt.message)
			}
		})
	}
}

func TestRequestSizeLimiting_lengthOfZero(t *testing.T) {
	g := plugintest.New(t)
	g.Add("request-size-limiting", `{"require_content_length": true}`)
	if resp := g.Do("POST", "/", "", plugintest.Header("Content-Length", "0")); resp.StatusCode != 200 {
		t.Errorf("got %d", resp.StatusCode)
	}
	chunked := func(r *http.Request) {
		r.ContentLength, r.TransferEncoding, r.Body = -1, []string{"chunked"}, io.NopCloser(strings.NewReader("hello"))
	}
	if resp := g.Do("POST", "/", "", chunked); resp.StatusCode != 200 || g.LastBody != "hello" {
		t.Errorf("chunked: got %d %q", resp.StatusCode, g.LastBody)
	}
}

func BenchmarkRequestSizeLimiting(b *testing.B) {
	g := plugintest.New(b)
	g.Add("request-size-limiting", ``)
	plugintest.Bench(b, g)
}
