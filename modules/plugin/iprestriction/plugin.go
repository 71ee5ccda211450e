// Package iprestriction is the plugin ip-restriction: addresses that may ask, and
// addresses that may not.
package iprestriction

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/caddyserver/caddy/v2"
	"github.com/gaissmai/bart"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func init() { caddy.RegisterModule(new(Plugin)) }

// Plugin lets clients in by their addresses, for requests as for TCP connections
// and UDP sessions. The address is the one that `trusted_ips` and
// `real_ip_header` make out.
//
// A client is refused if `deny` has its address, or if there is an `allow` that
// does not. How many ranges there are does not matter: an address is looked up
// in a few steps.
type Plugin struct {
	// The addresses and CIDR ranges that may ask. Default: all.
	Allow []string `json:"allow"`

	// The addresses and CIDR ranges that may not. Default: none.
	Deny []string `json:"deny"`

	// The status of refused requests. Default: 403.
	Status float64 `json:"status"`

	// The message that refused clients get. Default: `IP address not allowed:`
	// and the address.
	Message string `json:"message"`

	allow, deny *bart.Lite
}

// CaddyModule returns the Caddy module information.
func (*Plugin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway.plugins.ip_restriction", New: func() caddy.Module { return new(Plugin) }}
}

// Describe answers Kong's schema (kong/plugins/ip-restriction/schema.lua).
func (*Plugin) Describe() entity.PluginKind {
	elem := entity.IPOrCIDR()
	return entity.PluginKind{
		Priority: 990, Forgets: true,
		Usual: []string{"http", "https", "tcp", "tls", "grpc", "grpcs"},
		Config: &schema.Fields{List: []schema.Field{
			{Name: "allow", Kind: schema.Array, Elem: &elem, Doc: "The addresses and CIDR ranges that may ask."},
			{Name: "deny", Kind: schema.Array, Elem: &elem, Doc: "The addresses and CIDR ranges that may not."},
			{Name: "status", Kind: schema.Number, Between: []float64{100, 599}, Doc: "The status of refused requests; 403 if unset."},
			{Name: "message", Kind: schema.String, Doc: "The message that refused clients get."},
		}},
		Checks: []schema.Check{schema.AtLeastOneOf("config.allow", "config.deny")},
	}
}

// Provision makes tables of the ranges.
func (p *Plugin) Provision(caddy.Context) (err error) {
	if p.allow, err = table("allow", p.Allow); err != nil {
		return err
	}
	p.deny, err = table("deny", p.Deny)
	return err
}

// Validate reports a status with a fraction.
func (p *Plugin) Validate() error {
	if float64(int(p.Status)) != p.Status {
		return fmt.Errorf("status: expected a whole number, got %v", p.Status)
	}
	return nil
}

// table answers nil for no ranges at all.
func table(field string, list []string) (*bart.Lite, error) {
	if len(list) == 0 {
		return nil, nil
	}
	t := new(bart.Lite)
	for i, text := range list {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			a, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("%s[%d]: expected an address or a CIDR range, got %q", field, i, text)
			}
			prefix = netip.PrefixFrom(a, a.BitLen())
		}
		if a := prefix.Addr(); a.Is4In6() && prefix.Bits() >= 96 {
			prefix = netip.PrefixFrom(a.Unmap(), prefix.Bits()-96)
		}
		t.Insert(prefix.Masked())
	}
	return t, nil
}

// judge refuses clients that may not come in.
func (p *Plugin) judge(client netip.AddrPort) error {
	if !client.IsValid() {
		return plugin.Refuse(http.StatusForbidden, "Cannot identify the client IP address, unix domain sockets are not supported.")
	}
	a := client.Addr().Unmap()
	if p.deny != nil && p.deny.Contains(a) || p.allow != nil && !p.allow.Contains(a) {
		return plugin.Refuse(cmp.Or(int(p.Status), http.StatusForbidden), cmp.Or(p.Message, "IP address not allowed: "+a.String()))
	}
	return nil
}

// Access refuses requests.
func (p *Plugin) Access(x *plugin.Exchange) error { return p.judge(x.Client) }

// Preread refuses connections.
func (p *Plugin) Preread(s *plugin.Session) error { return p.judge(s.Client) }

// Interface guards
var (
	_ plugin.Described  = (*Plugin)(nil)
	_ plugin.Accessor   = (*Plugin)(nil)
	_ plugin.Prereader  = (*Plugin)(nil)
	_ caddy.Provisioner = (*Plugin)(nil)
	_ caddy.Validator   = (*Plugin)(nil)
)
