package gateway_test

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/modules/listen"
	"github.com/portcullis-gateway/portcullis/modules/ports"
)

// TestGuard_caddysAdminEndpointIsPrivateWhereverItIs runs Caddy with its admin
// endpoint on a port of its own. It also notices if Caddy moves the setting
// that the guard reads.
func TestGuard_caddysAdminEndpointIsPrivateWhereverItIs(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	one, other := uint16(ports.Free(t)), uint16(ports.Free(t))
	run := func(port uint16) {
		t.Helper()
		config := fmt.Sprintf(`{
			"admin": {"listen": "127.0.0.1:%d", "config": {"persist": false}},
			"apps": {"gateway": {"store": {"driver": "bolt", "path": %q}}}
		}`, port, filepath.Join(t.TempDir(), "gateway.db"))
		if err := caddy.Load([]byte(config), true); err != nil {
			t.Fatal(err)
		}
	}
	private := func(port uint16) bool {
		return listen.IsPrivate(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port))
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		if private(one) || private(other) {
			t.Error("an address is still private after Caddy stopped")
		}
	})

	run(one)
	if !private(one) || private(other) {
		t.Errorf("private: %t and %t, want true and false", private(one), private(other))
	}
	run(other) // a reload that moves it
	if private(one) || !private(other) {
		t.Errorf("after the reload, private: %t and %t, want false and true", private(one), private(other))
	}
}
