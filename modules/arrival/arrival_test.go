package arrival

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/portcullis-gateway/portcullis/transparent"
)

// arrived is a request whose connection came like that; nil: nobody knows.
func arrived(a *transparent.Arrival) (*http.Request, *caddy.Replacer) {
	repl := caddy.NewReplacer()
	ctx := context.WithValue(context.Background(), caddy.ReplacerCtxKey, repl)
	if a != nil {
		ctx = context.WithValue(ctx, arrivalKey{}, *a)
	}
	return httptest.NewRequest("GET", "/", nil).WithContext(ctx), repl
}

func TestMatcher(t *testing.T) {
	to := netip.MustParseAddrPort("10.77.2.2:80")
	ways := []string{"intercepted", "tproxy", "redirect", "direct", "unknown"}
	for _, tt := range []struct {
		name        string
		arrival     *transparent.Arrival
		matches     []bool // as ways
		destination string
	}{
		{"tproxy", &transparent.Arrival{How: transparent.TPROXY, Destination: to}, []bool{true, true, false, false, false}, "10.77.2.2:80"},
		{"redirect", &transparent.Arrival{How: transparent.Redirect, Destination: to}, []bool{true, false, true, false, false}, "10.77.2.2:80"},
		{"direct", &transparent.Arrival{How: transparent.Direct, Destination: to}, []bool{false, false, false, true, false}, "10.77.2.2:80"},
		{"unknown", &transparent.Arrival{}, []bool{false, false, false, false, true}, ""},
		{"unknown", nil, []bool{false, false, false, false, true}, ""}, // a listener that is not transparent
	} {
		for i, way := range ways {
			r, repl := arrived(tt.arrival)
			if got := (&Matcher{Ways: Words{way}}).Match(r); got != tt.matches[i] {
				t.Errorf("%+v is %s: %t, want %t", tt.arrival, way, got, tt.matches[i])
			}
			how, _ := repl.GetString("http.transparent.arrived")
			destination, _ := repl.GetString("http.transparent.destination")
			if how != tt.name || destination != tt.destination {
				t.Errorf("%+v: the placeholders are %q and %q, want %q and %q", tt.arrival, how, destination, tt.name, tt.destination)
			}
		}
		r, _ := arrived(tt.arrival)
		if !(&Matcher{Ways: Words{"direct", "intercepted", "unknown"}}).Match(r) {
			t.Errorf("%+v is none of several", tt.arrival)
		}
	}
}

func TestMatcher_validate(t *testing.T) {
	for _, bad := range []Words{nil, {"tproxy", "dnat"}, {"TPROXY"}} {
		if err := (&Matcher{Ways: bad}).Validate(); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	if err := (&Matcher{Ways: Words{"tproxy", "direct"}}).Validate(); err != nil {
		t.Error(err)
	}
}

// TestHandler_tellsTheNext how the connection came, and changes nothing else.
func TestHandler_tellsTheNext(t *testing.T) {
	r, repl := arrived(&transparent.Arrival{How: transparent.TPROXY, Destination: netip.MustParseAddrPort("[2001:db8::1]:443")})
	called := false
	err := new(Handler).ServeHTTP(httptest.NewRecorder(), r, caddyhttp.HandlerFunc(func(_ http.ResponseWriter, next *http.Request) error {
		called = next == r
		if got, _ := repl.GetString("http.transparent.destination"); got != "[2001:db8::1]:443" {
			t.Errorf("the destination is %q", got)
		}
		return nil
	}))
	if err != nil || !called {
		t.Errorf("next was called: %t, error %v", called, err)
	}
}
