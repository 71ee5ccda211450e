package site

import (
	"strings"
	"testing"

	_ "github.com/portcullis-gateway/portcullis/modules/plugin/keyauth"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/prometheus"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/stock"
)

// TestKnown: what cannot stand in a site is refused with the reason, and what can
// is named where the name is none.
func TestKnown(t *testing.T) {
	if err := known("key-auth"); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{
		"prometheus":            "a site has none of",
		"http.handlers.headers": "stands in a site by itself",
		"no-such":               "expected one of: key-auth",
		"":                      "expected one of: key-auth",
	} {
		err := known(name)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", name, err, want)
		}
		if err != nil && want != "a site has none of" && strings.Contains(err.Error(), "prometheus") {
			t.Errorf("%q: prometheus is offered: %v", name, err)
		}
	}
}
