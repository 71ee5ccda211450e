package outlet

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// UnmarshalCaddyfile reads the transport inside of `reverse_proxy`. Syntax:
//
//	transport gateway_outlet {
//		source client|<addresses or ranges...>
//		guard
//		allow  <addresses or ranges...>
//		deny   <addresses or ranges...>
//		http {
//			...
//		}
//	}
//
// The block `http` is that of the transport of this name.
func (t *Transport) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the transport's name
	if d.NextArg() {
		return d.Errf("gateway_outlet takes no argument, got %q", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		switch word {
		case "source":
			if err := extend(d, &t.Source, "client, IP addresses of this host, or ranges of such"); err != nil {
				return err
			}
		case "guard":
			if d.NextArg() {
				return d.Errf("guard takes no argument, got %q", d.Val())
			}
			t.Guard = true
		case "allow":
			if err := extend(d, &t.Allow, "IP addresses or CIDR ranges"); err != nil {
				return err
			}
		case "deny":
			if err := extend(d, &t.Deny, "IP addresses or CIDR ranges"); err != nil {
				return err
			}
		case "http":
			if err := t.HTTP.UnmarshalCaddyfile(d.NewFromNextSegment()); err != nil {
				return err
			}
		default:
			return d.Errf("unrecognized option %q; expected one of: allow, deny, guard, http, source", word)
		}
		if err := t.parse(); err != nil {
			return d.WrapErr(err)
		}
		t.guard, t.sources = nil, nil
	}
	return nil
}

// extend appends the arguments of the word that d stands on.
func extend(d *caddyfile.Dispenser, list *[]string, form string) error {
	word := d.Val()
	args := strings.FieldsFunc(strings.Join(d.RemainingArgs(), " "), func(r rune) bool { return r == ',' || r == ' ' })
	if len(args) == 0 {
		return d.Errf("%s: expected %s", word, form)
	}
	*list = append(*list, args...)
	return nil
}

// Interface guards
var _ caddyfile.Unmarshaler = (*Transport)(nil)
