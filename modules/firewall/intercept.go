package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/portcullis-gateway/portcullis/modules/listen"
)

// An Intercept says which traffic is diverted, and to which listener.
type Intercept struct {
	text       string // as it was written
	proto      string
	ports      []ports
	interfaces []string
	from, to   []netip.Prefix // nil: all
	by         string         // tproxy, redirect, or "" for what the listener takes
	target     netip.AddrPort // an invalid address stands for any, port 0 for a choice by protocol
}

// ParseIntercept reads what is to be diverted, in words like those of nft:
//
//	tcp|udp dport <ports> [iifname <interfaces>] [saddr <networks>] [daddr <networks>] [by tproxy|redirect] [to [<address>]:<port>]
//
// Lists stand in braces or without, separated by commas; ports may be ranges
// such as 8000-8010. Without `to`, the traffic goes to the transparent listener
// of the transport if there is one; of several, port 443 goes to the one of the
// proxy with `ssl`, and port 80 to the one without. Without `by`, TPROXY is
// used if the listener takes it.
func ParseIntercept(text string) (Intercept, error) {
	i := Intercept{text: text}
	words := strings.Fields(strings.NewReplacer("{", " ", "}", " ", ",", " ").Replace(text))
	if len(words) == 0 || words[0] != "tcp" && words[0] != "udp" {
		return i, fmt.Errorf("%q: expected tcp or udp first, as in `tcp dport { 80, 443 }`", text)
	}
	i.proto = words[0]
	seen := map[string]bool{}
	for words = words[1:]; len(words) > 0; {
		word := words[0]
		read, ok := interceptWords[word]
		switch {
		case !ok:
			return i, fmt.Errorf("%q: unknown word %q; expected dport, iifname, saddr, daddr, by or to", text, word)
		case seen[word]:
			return i, fmt.Errorf("%q: %s is given twice", text, word)
		}
		seen[word] = true
		end := 1
		for end < len(words) && interceptWords[words[end]] == nil {
			end++
		}
		if end == 1 {
			return i, fmt.Errorf("%q: something is missing behind %s", text, word)
		}
		if err := read(&i, words[1:end]); err != nil {
			return i, fmt.Errorf("%q: %s: %w", text, word, err)
		}
		words = words[end:]
	}
	if !seen["dport"] {
		return i, fmt.Errorf("%q: the ports are missing, as in `tcp dport { 80, 443 }`", text)
	}
	if i.proto == "udp" && i.by == "redirect" {
		return i, fmt.Errorf("%q: by redirect: UDP can be diverted by tproxy only, since a redirection hides the destination", text)
	}
	return i, nil
}

var interceptWords map[string]func(i *Intercept, args []string) error

func init() { // they refer to each other
	interceptWords = map[string]func(i *Intercept, args []string) error{
		"dport": func(i *Intercept, args []string) error {
			for _, arg := range args {
				first, last, ranged := strings.Cut(arg, "-")
				a, err := strconv.ParseUint(first, 10, 16)
				b := a
				if ranged && err == nil {
					b, err = strconv.ParseUint(last, 10, 16)
				}
				if err != nil || a == 0 || b < a {
					return fmt.Errorf("%q: expected a port, or a range such as 8000-8010", arg)
				}
				i.ports = append(i.ports, ports{uint16(a), uint16(b)})
			}
			slices.SortFunc(i.ports, func(a, b ports) int { return int(a.first) - int(b.first) })
			for n := 1; n < len(i.ports); n++ {
				if i.ports[n].first <= i.ports[n-1].last {
					return fmt.Errorf("port %d is given twice", i.ports[n].first)
				}
			}
			return nil
		},
		"iifname": func(i *Intercept, args []string) error {
			for _, arg := range args {
				name := strings.Trim(arg, `"`)
				if err := checkInterface(name); err != nil {
					return err
				}
				i.interfaces = append(i.interfaces, name)
			}
			i.interfaces = sorted(i.interfaces)
			return nil
		},
		"saddr": func(i *Intercept, args []string) (err error) {
			i.from, err = parsePrefixes("networks", args)
			return err
		},
		"daddr": func(i *Intercept, args []string) (err error) {
			i.to, err = parsePrefixes("networks", args)
			return err
		},
		"by": func(i *Intercept, args []string) error {
			if len(args) != 1 || args[0] != "tproxy" && args[0] != "redirect" {
				return fmt.Errorf("%q: expected tproxy or redirect", strings.Join(args, " "))
			}
			i.by = args[0]
			return nil
		},
		"to": func(i *Intercept, args []string) error {
			err := fmt.Errorf("%q: expected the port of a listener, such as :8443, or its address and port", strings.Join(args, " "))
			if len(args) != 1 {
				return err
			}
			if port, ok := strings.CutPrefix(args[0], ":"); ok {
				n, parseErr := strconv.ParseUint(port, 10, 16)
				if parseErr != nil || n == 0 {
					return err
				}
				i.target = netip.AddrPortFrom(netip.Addr{}, uint16(n))
				return nil
			}
			target, parseErr := netip.ParseAddrPort(args[0])
			if parseErr != nil || target.Port() == 0 {
				return err
			}
			i.target = target
			return nil
		},
	}
}

func parseIntercepts(option string, texts []string) (all []Intercept, err error) {
	for _, text := range texts {
		i, err := ParseIntercept(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", option, err)
		}
		all = append(all, i)
	}
	return all, nil
}

// divert finds the listeners of what is to be intercepted.
func (p *Plan) divert(option string, intercepts []Intercept, listeners []Listener, local bool) (all []intake, err error) {
	for _, i := range intercepts {
		found, err := p.resolve(i, listeners, local)
		if err != nil {
			return nil, fmt.Errorf("%s: %q: %w", option, i.text, err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// resolve makes the intakes of one intercept: for each family that it is about,
// and for each listener that it needs.
func (p *Plan) resolve(i Intercept, listeners []Listener, local bool) (all []intake, err error) {
	found := false
	for _, f := range families {
		in := intake{text: i.text, family: f, proto: i.proto, interfaces: i.interfaces}
		in.from, in.to = ofFamily(i.from, f), ofFamily(i.to, f)
		if i.from != nil && len(in.from) == 0 || i.to != nil && len(in.to) == 0 {
			continue // it is about the other family
		}
		candidates := fitting(i, listeners, f)
		if len(candidates) == 0 && i.target.Addr().IsValid() {
			continue // the listener that is meant is of the other family
		}
		if len(candidates) == 0 {
			in.ports = i.ports
			all = append(all, in)
			continue
		}
		found = true
		groups := map[Listener]*intake{}
		var order []Listener
		for _, ports := range i.ports {
			l, err := choose(i, candidates, ports)
			if err != nil {
				return nil, err
			}
			if groups[l] == nil {
				fresh := in
				if err := fresh.aim(i, l, local); err != nil {
					return nil, err
				}
				groups[l], order = &fresh, append(order, l)
			}
			groups[l].ports = append(groups[l].ports, ports)
		}
		for _, l := range order {
			all = append(all, *groups[l])
		}
	}
	if !found {
		return nil, fmt.Errorf("there is no listener for it: one with the flag \"transparent\"%s is needed%s", wanted(i), portless(listeners))
	}
	for _, in := range all {
		if in.by == byNobody {
			p.note("%q: there is no transparent listener for %s, so such traffic is stopped; daddr 0.0.0.0/0 or daddr ::/0 leaves one family alone", i.text, in.family)
		}
	}
	return all, nil
}

func wanted(i Intercept) string {
	text := ""
	if i.proto == "udp" {
		text = " and the flag \"udp\" or \"http3\""
	}
	switch {
	case i.target.Addr().IsValid():
		text += fmt.Sprintf(" bound to %s", i.target)
	case i.target.Port() != 0:
		text += fmt.Sprintf(" on port %d", i.target.Port())
	}
	return text
}

// portless tells why the transparent listeners whose port is not known are none.
func portless(listeners []Listener) string {
	for _, l := range listeners {
		if l.Bind.Transparent != "" && l.Bind.Port == 0 {
			return fmt.Sprintf("; the port of %s is not known here", l)
		}
	}
	return ""
}

// fitting lists the listeners that could take the traffic.
func fitting(i Intercept, listeners []Listener, f family) (list []Listener) {
	for _, l := range listeners {
		b := l.Bind
		if b.Transparent == "" || b.Port == 0 || !slices.Contains(transports(b), i.proto) {
			continue
		}
		if i.by != "" && b.Transparent != "on" && b.Transparent != i.by {
			continue
		}
		if i.proto == "udp" && b.Transparent == "redirect" {
			continue
		}
		if port := i.target.Port(); port != 0 && (port < b.Port || port > max(b.Port, b.PortEnd)) {
			continue
		}
		if _, ok := at(b, i.target.Addr(), f); ok {
			list = append(list, l)
		}
	}
	return list
}

// at finds where a bind is reached in the family; of which address, if that
// matters.
func at(b listen.Bind, addr netip.Addr, f family) (place, bool) {
	for _, where := range bound(b) {
		if where.family == f && (!addr.IsValid() || where.addr == addr.Unmap() || !where.addr.IsValid() && addr.IsUnspecified()) {
			return where, true
		}
	}
	return place{}, false
}

// choose decides between listeners that could take the traffic.
func choose(i Intercept, candidates []Listener, p ports) (Listener, error) {
	if len(candidates) == 1 {
		return candidates[0], nil
	}
	if p.first == p.last && (p.first == 80 || p.first == 443) {
		var usual []Listener
		for _, l := range candidates {
			if l.Option == "proxy_listen" && l.Bind.SSL == (p.first == 443) {
				usual = append(usual, l)
			}
		}
		if len(usual) == 1 {
			return usual[0], nil
		}
	}
	var names []string
	for _, l := range candidates {
		names = append(names, l.Option+" "+l.Bind.HostPort())
	}
	return Listener{}, fmt.Errorf("several listeners could take port %d: %s; `to :<port>` says which one", p.first, strings.Join(names, ", "))
}

// aim directs the intake to a listener.
func (in *intake) aim(i Intercept, l Listener, local bool) error {
	where, _ := at(l.Bind, i.target.Addr(), in.family)
	in.listener, in.at, in.port = &l, where.addr, l.Bind.Port
	if port := i.target.Port(); port != 0 {
		in.port = port
	}
	in.by = byTproxy
	if i.by == "redirect" || l.Bind.Transparent == "redirect" {
		in.by = byRedirect
	}
	if in.by == byRedirect && !local && in.at.IsValid() && in.at.IsLoopback() {
		return fmt.Errorf("%s: a redirection does not get from other hosts to a loopback address; bind it elsewhere, or use tproxy", l)
	}
	return nil
}
