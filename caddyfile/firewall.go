package caddyfile

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/portcullis-gateway/portcullis/modules/firewall"
)

// readFirewall reads the global option `firewall`: the rules of the host's
// firewall are kept in line with the listeners. Syntax:
//
//	firewall {
//		backend         nftables|iptables|iptables-nft|iptables-legacy
//		interfaces      <names...>
//		clients         <addresses or ranges...>
//		trusted         <addresses or ranges...>
//		rate            <number>/second|minute|hour [burst <number>]
//		intercept       tcp|udp dport <ports> [iifname <names>] [saddr <ranges>] [daddr <ranges>] [by tproxy|redirect] [to :<port>]
//		intercept_local tcp|udp dport <ports> [saddr <ranges>] [daddr <ranges>] [by tproxy|redirect] [to :<port>]
//		return_from     <names...>
//	}
//
// The lists are separated by commas or blanks.
func readFirewall(d *caddyfile.Dispenser, app *firewall.App) error {
	if err := none(d); err != nil {
		return err
	}
	return firewallWords.block(d, app)
}

var firewallWords = words[firewall.App]{
	"backend": checked(func(s *firewall.Settings, d *caddyfile.Dispenser) (err error) {
		s.Backend, err = one(d, "nftables, iptables, iptables-nft or iptables-legacy")
		return err
	}),
	"interfaces": checked(func(s *firewall.Settings, d *caddyfile.Dispenser) error {
		return extend(&s.Interfaces, d, "names of network interfaces")
	}),
	"clients": checked(func(s *firewall.Settings, d *caddyfile.Dispenser) error {
		return extend(&s.Clients, d, "addresses or CIDR ranges")
	}),
	"trusted": checked(func(s *firewall.Settings, d *caddyfile.Dispenser) error {
		return extend(&s.Trusted, d, "addresses or CIDR ranges")
	}),
	"rate": checked(func(s *firewall.Settings, d *caddyfile.Dispenser) (err error) {
		s.Rate, err = sentence(d, "<number>/second|minute|hour [burst <number>]")
		return err
	}),
	"intercept": checked(func(s *firewall.Settings, d *caddyfile.Dispenser) error {
		text, err := sentence(d, "what to intercept, such as tcp dport 80,443")
		s.Intercept = append(s.Intercept, text)
		return err
	}),
	"intercept_local": checked(func(s *firewall.Settings, d *caddyfile.Dispenser) error {
		text, err := sentence(d, "what to intercept, such as tcp dport 80,443")
		s.InterceptLocal = append(s.InterceptLocal, text)
		return err
	}),
	"return_from": checked(func(s *firewall.Settings, d *caddyfile.Dispenser) error {
		return extend(&s.ReturnFrom, d, "names of network interfaces")
	}),
}

// checked makes a word of the firewall's settings, which judge the value while
// the line is still known.
func checked(read func(s *firewall.Settings, d *caddyfile.Dispenser) error) func(*caddyfile.Dispenser, *firewall.App) error {
	return func(d *caddyfile.Dispenser, app *firewall.App) error {
		if err := read(&app.Settings, d); err != nil {
			return err
		}
		if err := app.Settings.Check(); err != nil {
			return d.WrapErr(err)
		}
		return nil
	}
}

// sentence answers all arguments of the word that d stands on.
func sentence(d *caddyfile.Dispenser, form string) (string, error) {
	word := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return "", d.Errf("%s: expected %s", word, form)
	}
	return strings.Join(args, " "), nil
}
