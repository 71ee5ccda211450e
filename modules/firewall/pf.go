package firewall

import (
	"fmt"
	"net/netip"
	"strings"
)

// PF is the plan for the anchor portcullis of FreeBSD's and macOS's pf, or in
// OpenBSD's dialect. What pf cannot do is an error.
func (p *Plan) PF(openBSD bool) (string, error) {
	switch {
	case len(p.locals) > 0:
		return "", fmt.Errorf("intercept_local: pf does not divert what a host sends itself")
	case len(p.returnFrom) > 0:
		return "", fmt.Errorf("return_from: pf has no rules for it; answers to addresses of clients have to be routed to this host")
	}
	for _, in := range p.intakes {
		if in.proto == "udp" {
			return "", fmt.Errorf("intercept: %q: UDP can be intercepted on Linux only", in.text)
		}
	}
	var b strings.Builder
	b.WriteString("# The API gateway's rules for its listeners, for pfctl -a portcullis -f.\n")
	if openBSD {
		b.WriteString("# /etc/pf.conf has to name them: anchor \"portcullis\"\n")
	} else {
		b.WriteString("# /etc/pf.conf has to name them: rdr-anchor \"portcullis\", and further down anchor \"portcullis\"\n")
	}
	for _, note := range p.Notes {
		fmt.Fprintf(&b, "# Note: %s.\n", note)
	}
	// Translations stand before filter rules in the dialect that has both.
	for _, in := range p.intakes {
		if in.by == byNobody || openBSD {
			continue
		}
		fmt.Fprintf(&b, "# %s\n", comment(in.why()))
		for _, iif := range orAny(in.interfaces) {
			fmt.Fprintln(&b, join("rdr pass", option("on", iif), in.pfMatch("! (self)"), "->", in.pfAt().String(), "port", fmt.Sprint(in.port)))
		}
	}
	for _, in := range p.intakes {
		for _, iif := range orAny(in.interfaces) {
			verb, target := "block in quick", ""
			if in.by != byNobody && openBSD {
				verb, target = "pass in quick", fmt.Sprintf("divert-to %s port %d", in.pfAt(), in.port)
			} else if in.by != byNobody {
				continue
			}
			fmt.Fprintf(&b, "# %s\n", comment(in.why()))
			fmt.Fprintln(&b, join(verb, option("on", iif), in.pfMatch("! (self)"), target))
		}
	}
	for _, g := range p.guards {
		fmt.Fprintf(&b, "# %s\n", g.listener)
		to := "(self)"
		if g.addr.IsValid() {
			to = g.addr.String()
		}
		what := func(from string) string {
			return join(g.family.pf(), "proto", g.proto, "from", from, "to", to, "port", g.ports.text(":"))
		}
		if g.anyone || len(g.from) > 0 {
			for _, iif := range orAny(g.interfaces) {
				fmt.Fprintln(&b, join("pass in quick", option("on", iif), what(pfList(prefixTexts(g.from))), p.pfRate(g)))
			}
		}
		if g.limited {
			fmt.Fprintln(&b, join("block in quick on ! lo0", what("any")))
		}
	}
	return b.String(), nil
}

func (f family) pf() string {
	if f == ip4 {
		return "inet"
	}
	return "inet6"
}

// pfMatch is what the intake is about.
func (in intake) pfMatch(anywhere string) string {
	to := anywhere
	if list := prefixTexts(in.to); len(list) > 0 {
		to = pfList(list)
	}
	ports := make([]string, len(in.ports))
	for i, p := range in.ports {
		ports[i] = p.text(":")
	}
	return join(in.family.pf(), "proto", in.proto, "from", pfList(prefixTexts(in.from)), "to", to, "port", pfSet(ports))
}

// pfAt is where the listener takes what is diverted. One that is bound
// everywhere takes it on the loopback interface.
func (in intake) pfAt() netip.Addr {
	switch {
	case in.at.IsValid():
		return in.at
	case in.family == ip4:
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.IPv6Loopback()
}

// pfRate bounds new connections; pf counts those whose handshake is over, in a
// number of seconds.
func (p *Plan) pfRate(g guard) string {
	if !g.rated || g.proto != "tcp" {
		return "keep state"
	}
	seconds := map[string]int{"second": 1, "minute": 60, "hour": 3600}[p.rate.per]
	return fmt.Sprintf("keep state (source-track rule, max-src-conn-rate %d/%d)", p.rate.number, seconds)
}

func pfList(list []string) string {
	if len(list) == 0 {
		return "any"
	}
	return pfSet(list)
}

func pfSet(list []string) string {
	if len(list) == 1 {
		return list[0]
	}
	return "{ " + strings.Join(list, ", ") + " }"
}
