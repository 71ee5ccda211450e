package integration

import (
	"encoding/json"
	"testing"
)

// TestAdmin_tellsWhatListens reads `/` as clients do that look for the proxy.
func TestAdmin_tellsWhatListens(t *testing.T) {
	t.Parallel()
	h := newHome(t, usual)
	p := h.start()
	var info struct {
		Configuration struct {
			Proxy []struct {
				Port     int
				SSL      bool
				Listener string
			} `json:"proxy_listeners"`
			Stream []any    `json:"stream_listeners"`
			Admin  []string `json:"admin_listen"`
		}
	}
	if err := json.Unmarshal([]byte(p.admin("GET", "/", "", 200).body), &info); err != nil {
		t.Fatal(err)
	}
	got := info.Configuration
	if len(got.Proxy) != 2 || got.Proxy[0].Port != h.ports["PROXY"] || got.Proxy[0].SSL ||
		got.Proxy[1].Port != h.ports["PROXY_SSL"] || !got.Proxy[1].SSL {
		t.Errorf("proxy_listeners: %+v, want ports %d and, with TLS, %d", got.Proxy, h.ports["PROXY"], h.ports["PROXY_SSL"])
	}
	if got.Stream == nil || len(got.Stream) != 0 {
		t.Errorf("stream_listeners: %v, want an empty list", got.Stream)
	}
	if len(got.Admin) == 0 || got.Admin[0] == "off" {
		t.Errorf("admin_listen: %q", got.Admin)
	}
}
