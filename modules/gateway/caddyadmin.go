package gateway

import (
	"net/netip"
	"reflect"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/modules/listen"
)

// guardCaddyAdmin marks the admin endpoint of Caddy itself as private, so that
// no service can point at it, until the function that it returns is called.
func guardCaddyAdmin(ctx caddy.Context) (unguard func()) {
	address := caddyAdminListen(ctx)
	if address == "" {
		return func() {}
	}
	a, err := caddy.ParseNetworkAddressWithDefaults(address, "tcp", 2019)
	if err != nil || !strings.HasPrefix(a.Network, "tcp") {
		return func() {}
	}
	var ips []netip.Addr
	if ip, err := netip.ParseAddr(a.Host); err == nil {
		ips = []netip.Addr{ip}
	} else if a.Host == "localhost" {
		ips = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	} else {
		ips = []netip.Addr{netip.IPv6Unspecified()} // any address of this host
	}
	var unmark []func()
	for _, ip := range ips {
		unmark = append(unmark, listen.MarkPrivate(netip.AddrPortFrom(ip, uint16(a.StartPort))))
	}
	return func() {
		for _, f := range unmark {
			f()
		}
	}
}

// caddyAdminListen answers the address of the admin endpoint of the
// configuration that ctx belongs to; empty if it has none. Caddy tells modules
// nothing about it, so this looks for itself: caddy.Context has the
// configuration in a field that is not exported, and reflection may read what
// is in it. A test notices if Caddy rearranges that.
func caddyAdminListen(ctx caddy.Context) string {
	admin := reflect.ValueOf(ctx)
	for _, name := range []string{"cfg", "Admin"} {
		admin = admin.FieldByName(name)
		if !admin.IsValid() || admin.Kind() != reflect.Pointer || admin.IsNil() {
			return caddy.DefaultAdminListen
		}
		admin = admin.Elem()
	}
	if disabled := admin.FieldByName("Disabled"); disabled.IsValid() && disabled.Bool() {
		return ""
	}
	address := admin.FieldByName("Listen")
	if !address.IsValid() || address.String() == "" {
		return caddy.DefaultAdminListen
	}
	return caddy.NewReplacer().ReplaceAll(address.String(), "")
}
