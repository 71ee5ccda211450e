package firewall

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/portcullis-gateway/portcullis/transparent"
)

// table is the name of the table in nftables, and of the anchor in pf.
const table = "portcullis"

const (
	// nftNotOthers ends a chain for what is addressed to this host itself.
	nftNotOthers = "fib daddr type { local, broadcast, multicast } return"
	nftNew       = "tcp flags & (fin | syn | rst | ack) == syn"
)

var (
	nftTake = fmt.Sprintf("meta mark set meta mark | 0x%08x", transparent.IntakeMark)
	nftOurs = fmt.Sprintf("meta mark & 0x%08x == 0x%08x", transparent.Mark, transparent.Mark)
	nftMine = fmt.Sprintf("meta mark & 0x%08x == 0x%08x", transparent.IntakeMark, transparent.IntakeMark)
)

// NFT is the plan for `nft -f`: it takes the place of the table as a whole.
// Nothing changes if it cannot be loaded.
func (p *Plan) NFT() string {
	var b strings.Builder
	p.head(&b, "nft -f")
	fmt.Fprintf(&b, "table inet %s\ndelete table inet %s\n", table, table)
	b.WriteString(p.nftTable())
	return b.String()
}

// head is the beginning of all texts.
func (p *Plan) head(b *strings.Builder, load string) {
	fmt.Fprintf(b, "# The API gateway's rules for its listeners, for %s.\n", load)
	for _, note := range p.Notes {
		fmt.Fprintf(b, "# Note: %s.\n", note)
	}
	if routes := p.routes(); len(routes) > 0 {
		b.WriteString("# They need these routes, which are not part of them:\n")
		for _, r := range routes {
			fmt.Fprintf(b, "#   %s\n", r)
		}
	}
}

// A chain is one of the table's, with its rules.
type nftChain struct {
	name, hook string
	rules      []string
}

func (c *nftChain) add(why string, words ...string) {
	words = append(words, "comment "+strconv.Quote(comment(why)))
	c.rules = append(c.rules, join(words...))
}

// join puts the words that are not empty together.
func join(words ...string) string {
	var full []string
	for _, word := range words {
		if word != "" {
			full = append(full, word)
		}
	}
	return strings.Join(full, " ")
}

// comment makes a text one that every format takes as a comment: within the 128
// bytes of nft, and without what ends a string or a line.
func comment(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '"' || r == '\\':
			return -1
		case r < ' ' || r > '~':
			return ' '
		}
		return r
	}, text)
	return text[:min(len(text), 120)]
}

func (p *Plan) nftTable() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", table)
	if p.rate.set() {
		for _, f := range families {
			fmt.Fprintf(&b, "\tset rate%d {\n\t\ttype ipv%d_addr\n\t\tsize 65535\n\t\tflags dynamic,timeout\n\t\ttimeout 1h\n\t}\n", f, f)
		}
	}
	for _, c := range p.nftChains() {
		if len(c.rules) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype %s; policy accept;\n", c.name, c.hook)
		for _, rule := range c.rules {
			fmt.Fprintf(&b, "\t\t%s\n", rule)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// nftChains are the chains; those without rules are left out of the table.
func (p *Plan) nftChains() []nftChain {
	prerouting := nftChain{name: "prerouting", hook: "filter hook prerouting priority mangle"}
	natPrerouting := nftChain{name: "nat_prerouting", hook: "nat hook prerouting priority dstnat"}
	forward := nftChain{name: "forward", hook: "filter hook forward priority filter"}
	output := nftChain{name: "output", hook: "route hook output priority mangle"}
	natOutput := nftChain{name: "nat_output", hook: "nat hook output priority -100"}
	closed := nftChain{name: "closed", hook: "filter hook output priority filter"}
	input := nftChain{name: "input", hook: "filter hook input priority filter"}

	if len(p.returnFrom) > 0 {
		prerouting.add("answers to connections with the addresses of clients",
			"iifname", nftNames(p.returnFrom), "meta l4proto { tcp, udp } socket transparent 1 socket wildcard 0", nftTake, "accept")
	}
	for _, c := range []struct {
		chain *nftChain
		rules bool
		sends bool // what this host sends passes here
	}{
		{&prerouting, some(p.intakes, byTproxy, byNobody), false},
		{&natPrerouting, some(p.intakes, byRedirect), false},
		{&output, some(p.locals, byTproxy), true},
		{&natOutput, some(p.locals, byRedirect), true},
		{&closed, some(p.locals, byRedirect, byNobody), true},
	} {
		if c.rules && c.sends {
			c.chain.add("what the gateway sends itself", nftOurs, "return")
		}
		if c.rules {
			c.chain.rules = append(c.chain.rules, nftNotOthers)
		}
	}
	for _, in := range p.intakes {
		what, why := in.nftMatch(), in.why()
		switch in.by {
		case byNobody:
			prerouting.add(why, what, "drop")
		case byRedirect:
			natPrerouting.add(why, what, in.nftRedirect())
			forward.add("past "+why, what, "drop")
		default:
			if p.rate.set() {
				prerouting.add(why, what, p.nftRate(in.family, in.proto))
			}
			prerouting.add(why, what, in.nftTproxy(), nftTake, "accept")
			prerouting.add("nobody listens: "+why, what, "drop")
		}
	}
	for _, in := range p.locals {
		what, why := in.nftMatch(), in.why()
		switch in.by {
		case byNobody:
			closed.add(why, what, "drop")
		case byRedirect:
			natOutput.add(why, what, in.nftRedirect())
			closed.add("past "+why, what, "drop")
		default:
			output.add(why, what, nftTake)
			prerouting.add(why, `iifname "lo"`, nftMine, what, in.nftTproxy(), "accept")
			prerouting.add("nobody listens: "+why, `iifname "lo"`, nftMine, what, "drop")
		}
	}
	if len(p.guards) > 0 {
		input.add("diverted", "fib daddr type != local", "accept")
		input.rules = append(input.rules, `iifname "lo" accept`)
	}
	for _, g := range p.guards {
		what, name := g.nftMatch(), g.listener.String()
		if g.rated {
			input.add(name, what, p.nftRate(g.family, g.proto))
		}
		if g.anyone || len(g.from) > 0 {
			var names string
			if len(g.interfaces) > 0 {
				names = "iifname " + nftNames(g.interfaces)
			}
			input.add(name, names, what, nftAddrs(g.family, "saddr", g.from), "accept")
		}
		if g.limited && g.redirected {
			input.add(name, what, "ct status dnat accept")
		}
		if g.limited {
			input.add(name, what, "drop")
		}
	}
	return []nftChain{prerouting, natPrerouting, forward, output, natOutput, closed, input}
}

// why is the comment of the intake's rules: which listener they serve.
func (in intake) why() string {
	if in.by == byNobody {
		return fmt.Sprintf("no %s listener for %s", in.family, in.text)
	}
	return in.listener.String()
}

// nftMatch is what the intake is about.
func (in intake) nftMatch() string {
	var names string
	if len(in.interfaces) > 0 {
		names = "iifname " + nftNames(in.interfaces)
	}
	words := join(names, nftAddrs(in.family, "saddr", in.from), nftAddrs(in.family, "daddr", in.to))
	if len(in.from)+len(in.to) == 0 {
		words = join(names, fmt.Sprintf("meta nfproto ipv%d", in.family))
	}
	return join(words, in.proto, "dport", nftPorts(in.ports))
}

func (in intake) nftTproxy() string {
	if !in.at.IsValid() {
		return fmt.Sprintf("tproxy %s to :%d", in.family.nft(), in.port)
	}
	return fmt.Sprintf("tproxy %s to %s", in.family.nft(), netip.AddrPortFrom(in.at, in.port))
}

func (in intake) nftRedirect() string {
	if !in.at.IsValid() {
		return fmt.Sprintf("redirect to :%d", in.port)
	}
	return fmt.Sprintf("dnat %s to %s", in.family.nft(), netip.AddrPortFrom(in.at, in.port))
}

func (g guard) nftMatch() string {
	where := fmt.Sprintf("meta nfproto ipv%d", g.family)
	if g.addr.IsValid() {
		where = fmt.Sprintf("%s daddr %s", g.family.nft(), g.addr)
	}
	return join(where, g.proto, "dport", nftPorts([]ports{g.ports}))
}

// nftRate drops new connections over the rate.
func (p *Plan) nftRate(f family, proto string) string {
	fresh, client := nftNew, "ip saddr"
	if proto == "udp" {
		fresh = "ct state new"
	}
	if f == ip6 {
		client = "ip6 saddr & ffff:ffff:ffff:ffff::"
	}
	return fmt.Sprintf("%s update @rate%d { %s limit rate over %d/%s burst %d packets } drop", fresh, f, client, p.rate.number, p.rate.per, p.rate.burst)
}

func (f family) nft() string {
	if f == ip4 {
		return "ip"
	}
	return "ip6"
}

func nftNames(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = strconv.Quote(name)
	}
	return nftSet(quoted)
}

func nftAddrs(f family, field string, prefixes []netip.Prefix) string {
	if len(prefixes) == 0 {
		return ""
	}
	var texts []string
	for _, prefix := range prefixes {
		if prefix.Bits() == 0 {
			return fmt.Sprintf("meta nfproto ipv%d", f) // a set cannot hold everything
		}
		texts = append(texts, prefixText(prefix))
	}
	return fmt.Sprintf("%s %s %s", f.nft(), field, nftSet(texts))
}

// prefixText leaves the length of a whole address out.
func prefixText(prefix netip.Prefix) string {
	if prefix.IsSingleIP() {
		return prefix.Addr().String()
	}
	return prefix.String()
}

func nftPorts(list []ports) string {
	texts := make([]string, len(list))
	for i, p := range list {
		texts[i] = p.text("-")
	}
	return nftSet(texts)
}

func (p ports) text(dash string) string {
	if p.first == p.last {
		return strconv.Itoa(int(p.first))
	}
	return fmt.Sprintf("%d%s%d", p.first, dash, p.last)
}

func nftSet(items []string) string {
	if len(items) == 1 {
		return items[0]
	}
	return "{ " + strings.Join(items, ", ") + " }"
}
