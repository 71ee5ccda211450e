package caddyfile

import (
	"maps"
	"strings"

	"github.com/caddyserver/caddy/v2"
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
//		original_destination_allow <addresses or ranges...>
//		original_destination_deny  <addresses or ranges...>
//		ssl_cipher_suite          modern|intermediate|old|fips|custom
//		ssl_ciphers               <OpenSSL's names...>
//		ssl_protocols             TLSv1|TLSv1.1|TLSv1.2|TLSv1.3...
//		ssl_prefer_server_ciphers on|off
//		ssl_session_tickets       on|off
//		ssl_session_timeout       <duration>
//		ssl_session_cache_size    <size>
//		ssl_cert                  <PEM files...>
//		ssl_cert_key              <PEM files...>
//		client_ssl                on|off
//		client_ssl_cert           <PEM file>
//		client_ssl_cert_key       <PEM file>
//		dns_resolver         <addresses of name servers...>
//		dns_hostsfile        <path>
//		dns_order            LAST|SRV|A|AAAA|CNAME...
//		dns_valid_ttl        <seconds or duration>
//		dns_stale_ttl        <seconds or duration>
//		dns_not_found_ttl    <seconds or duration>
//		dns_error_ttl        <seconds or duration>
//		dns_cache_size       <number of names>
//	}
//
// The lists may be written with commas, as in kong.conf. The names that Kong's
// newer DNS client has for some of the last ones are understood, too:
// resolver_address, resolver_hosts_file, resolver_valid_ttl, resolver_stale_ttl,
// resolver_error_ttl and resolver_lru_cache_size.
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
	"original_destination_allow": setting(func(s *gateway.Settings, d *caddyfile.Dispenser) error {
		return extend(&s.OriginalDestinationAllow, d, "IP addresses or CIDR ranges")
	}),
	"original_destination_deny": setting(func(s *gateway.Settings, d *caddyfile.Dispenser) error {
		return extend(&s.OriginalDestinationDeny, d, "IP addresses or CIDR ranges")
	}),
}

func init() {
	list := setting(func(s *gateway.Settings, d *caddyfile.Dispenser) error {
		return extend(&s.DNSResolver, d, "addresses of name servers such as 10.0.0.2 10.0.0.3:5353")
	})
	hosts := setting(func(s *gateway.Settings, d *caddyfile.Dispenser) (err error) {
		s.DNSHostsFile, err = one(d, "the path of a file")
		return err
	})
	valid := setting(func(s *gateway.Settings, d *caddyfile.Dispenser) (err error) {
		s.DNSValidTTL, err = seconds(d)
		return err
	})
	ttl := func(of func(s *gateway.Settings) **caddy.Duration) func(*caddyfile.Dispenser, *gateway.App) error {
		return setting(func(s *gateway.Settings, d *caddyfile.Dispenser) error {
			value, err := seconds(d)
			*of(s) = &value
			return err
		})
	}
	stale := ttl(func(s *gateway.Settings) **caddy.Duration { return &s.DNSStaleTTL })
	failed := ttl(func(s *gateway.Settings) **caddy.Duration { return &s.DNSErrorTTL })
	size := setting(func(s *gateway.Settings, d *caddyfile.Dispenser) (err error) {
		s.DNSCacheSize, err = count(d, "a number of names")
		return err
	})
	maps.Copy(gatewayWords, words[gateway.App]{
		"dns_resolver": list, "resolver_address": list,
		"dns_hostsfile": hosts, "resolver_hosts_file": hosts,
		"dns_order": setting(func(s *gateway.Settings, d *caddyfile.Dispenser) error {
			return extend(&s.DNSOrder, d, "kinds of records such as LAST SRV A")
		}),
		"dns_valid_ttl": valid, "resolver_valid_ttl": valid,
		"dns_stale_ttl": stale, "resolver_stale_ttl": stale,
		"dns_not_found_ttl": ttl(func(s *gateway.Settings) **caddy.Duration { return &s.DNSNotFoundTTL }),
		"dns_error_ttl":     failed, "resolver_error_ttl": failed,
		"dns_cache_size": size, "resolver_lru_cache_size": size,
	})
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
