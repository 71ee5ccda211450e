package caddyfile

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// readGateway reads the global option `gateway`: the node, and Kong's default
// for every listen option that is left unsaid. Syntax:
//
//	gateway {
//		store                <driver> [<arguments...>] [{ ... }]
//		plugins              <names...>
//		trusted_ips          <addresses or ranges...>
//		real_ip_header       <name>
//		real_ip_recursive    on|off
//		port_maps            <public>:<listened>...
//		headers              <tokens...>
//		headers_upstream     X-Kong-Request-Id|off
//		allow_debug_header   on|off
//		router_flavor        traditional_compatible
//		error_default_type   <content type>
//		proxy_ssl_verify     on|off
//		allow_admin_upstream on|off
//	}
//
// The lists may be written with commas, as in kong.conf.
func readGateway(d *caddyfile.Dispenser, app *gateway.App) error {
	if err := none(d); err != nil {
		return err
	}
	app.DefaultListeners = true
	return gatewayWords.block(d, app)
}

var gatewayWords = words[gateway.App]{
	"store": readStore,
	"plugins": setting(func(s *gateway.Settings, d *caddyfile.Dispenser) error {
		return extend(&s.Plugins, d, "names of plugins, bundled or off")
	}),
	"trusted_ips": setting(func(s *gateway.Settings, d *caddyfile.Dispenser) error {
		return extend(&s.TrustedIPs, d, "addresses, CIDR ranges or unix:")
	}),
	"real_ip_header": setting(func(s *gateway.Settings, d *caddyfile.Dispenser) (err error) {
		s.RealIPHeader, err = one(d, "the name of a header, or proxy_protocol")
		return err
	}),
	"real_ip_recursive": setting(func(s *gateway.Settings, d *caddyfile.Dispenser) (err error) {
		s.RealIPRecursive, err = onOff(d)
		return err
	}),
	"port_maps": setting(func(s *gateway.Settings, d *caddyfile.Dispenser) error {
		return extend(&s.PortMaps, d, "pairs of ports such as 80:8000 443:8443")
	}),
	"headers": setting(func(s *gateway.Settings, d *caddyfile.Dispenser) error {
		return extend(&s.Headers, d, "server_tokens, latency_tokens, headers that the gateway adds, or off")
	}),
	"headers_upstream": setting(func(s *gateway.Settings, d *caddyfile.Dispenser) error {
		return extend(&s.HeadersUpstream, d, "X-Kong-Request-Id or off")
	}),
	"allow_debug_header": setting(func(s *gateway.Settings, d *caddyfile.Dispenser) (err error) {
		s.AllowDebugHeader, err = onOff(d)
		return err
	}),
	"router_flavor": setting(func(s *gateway.Settings, d *caddyfile.Dispenser) (err error) {
		s.RouterFlavor, err = one(d, "traditional_compatible")
		return err
	}),
	"error_default_type": setting(func(s *gateway.Settings, d *caddyfile.Dispenser) (err error) {
		s.ErrorDefaultType, err = one(d, "a content type such as application/json")
		return err
	}),
	"proxy_ssl_verify": setting(func(s *gateway.Settings, d *caddyfile.Dispenser) (err error) {
		s.ProxySSLVerify, err = onOff(d)
		return err
	}),
	"allow_admin_upstream": setting(func(s *gateway.Settings, d *caddyfile.Dispenser) (err error) {
		s.AllowAdminUpstream, err = onOff(d)
		return err
	}),
}

// setting makes a word of one of the node's settings. The gateway itself
// judges the value, while the line is still known.
func setting(read func(s *gateway.Settings, d *caddyfile.Dispenser) error) func(*caddyfile.Dispenser, *gateway.App) error {
	return func(d *caddyfile.Dispenser, app *gateway.App) error {
		if err := read(&app.Settings, d); err != nil {
			return err
		}
		if err := app.Settings.Check(); err != nil {
			return d.WrapErr(err)
		}
		return nil
	}
}

// extend appends the arguments of the word that d stands on to items.
func extend(items *[]string, d *caddyfile.Dispenser, form string) error {
	more, err := list(d, form)
	*items = append(*items, more...)
	return err
}

// readStore reads where entities are kept: the name of a driver, and what its
// module understands.
func readStore(d *caddyfile.Dispenser, app *gateway.App) (err error) {
	if !d.NextArg() {
		return d.Errf("store: expected a driver: %s", strings.Join(modules("gateway.stores"), ", "))
	}
	app.StoreRaw, err = guest[store.Module](d, "store", "gateway.stores", "driver")
	return err
}
