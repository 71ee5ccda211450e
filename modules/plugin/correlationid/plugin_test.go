package correlationid_test

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	_ "github.com/portcullis-gateway/portcullis/modules/plugin/correlationid"
	"github.com/portcullis-gateway/portcullis/modules/plugin/plugintest"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/requesttermination"
)

const uuid = `[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`

func TestCorrelationID(t *testing.T) {
	for _, tt := range []struct{ name, config, header, sent, want, echo string }{
		{"default", ``, "Kong-Request-ID", "", uuid + "#1", "^$"},
		{"uuid", `{"generator": "uuid", "echo_downstream": true}`, "Kong-Request-ID", "", uuid, uuid},
		{"tracker", `{"generator": "tracker"}`, "Kong-Request-ID", "", `198\.51\.100\.1-80-\d+-1-1-\d+\.\d{3}`, "^$"},
		{"the client's stays", `{"header_name": "X-Id", "echo_downstream": true}`, "X-Id", "mine", "mine", "mine"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := plugintest.New(t)
			g.Add("correlation-id", tt.config)
			change := []func(*http.Request){arrivedAt("198.51.100.1:80")}
			if tt.sent != "" {
				change = append(change, plugintest.Header(tt.header, tt.sent))
			}
			resp := g.Get("/", change...)
			if got := g.Last.Header.Get(tt.header); !regexp.MustCompile("^" + tt.want + "$").MatchString(got) {
				t.Errorf("the service got %q", got)
			}
			if got := resp.Header.Get(tt.header); !regexp.MustCompile(tt.echo).MatchString(got) {
				t.Errorf("the client got %q", got)
			}
		})
	}
}

// arrivedAt says which address of the gateway a request was sent to.
func arrivedAt(address string) func(*http.Request) {
	return func(r *http.Request) {
		to := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))
		*r = *r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(to)))
	}
}

func TestCorrelationID_refusesWhatIsNoHeader(t *testing.T) {
	for name, want := range map[string]string{
		"x id":           "config.header_name: bad header name 'x id', allowed characters are A-Z, a-z, 0-9, '_', and '-'",
		"content-length": "config.header_name: the header content-length cannot carry an identifier",
		"host":           "config.header_name: the header host cannot carry an identifier",
	} {
		_, err := plugintest.New(t).TryAdd("correlation-id", `{"header_name": "`+name+`"}`)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
}

func TestCorrelationID_isOnAnswersOfOtherPlugins(t *testing.T) {
	g := plugintest.New(t)
	g.Add("correlation-id", `{"echo_downstream": true}`)
	g.Add("request-termination", "")
	if resp := g.Get("/"); resp.StatusCode != 503 || resp.Header.Get("Kong-Request-ID") == "" {
		t.Errorf("got %d with %q", resp.StatusCode, resp.Header)
	}
}

func BenchmarkCorrelationID(b *testing.B) {
	g := plugintest.New(b)
	g.Add("correlation-id", "")
	plugintest.Bench(b, g)
}
