package correlationid_test

import (
	"regexp"
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
		{"tracker", `{"generator": "tracker"}`, "Kong-Request-ID", "", `192\.0\.2\.1-80-\d+-1-1-\d+\.\d{3}`, "^$"},
		{"the client's stays", `{"header_name": "X-Id", "echo_downstream": true}`, "X-Id", "mine", "mine", "mine"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := plugintest.New(t)
			g.Add("correlation-id", tt.config)
			var resp = g.Get("/")
			if tt.sent != "" {
				resp = g.Get("/", plugintest.Header(tt.header, tt.sent))
			}
			if got := g.Last.Header.Get(tt.header); !regexp.MustCompile("^" + tt.want + "$").MatchString(got) {
				t.Errorf("the service got %q", got)
			}
			if got := resp.Header.Get(tt.header); !regexp.MustCompile(tt.echo).MatchString(got) {
				t.Errorf("the client got %q", got)
			}
		})
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
