package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/portcullis-gateway/portcullis/transparent"
)

// chainPrefix begins the names of all chains of the gateway.
const chainPrefix = "PORTCULLIS-"

// The tables of iptables, in the order in which they are loaded, and the
// gateway's chains in them with the built-in ones that lead there.
var xtChains = []struct{ table, chain, from string }{
	{"mangle", chainPrefix + "PRE", "PREROUTING"},
	{"mangle", chainPrefix + "OUT", "OUTPUT"},
	{"nat", chainPrefix + "NAT-PRE", "PREROUTING"},
	{"nat", chainPrefix + "NAT-OUT", "OUTPUT"},
	{"filter", chainPrefix + "IN", "INPUT"},
	{"filter", chainPrefix + "FWD", "FORWARD"},
	{"filter", chainPrefix + "CLOSED", "OUTPUT"},
}

// IPTables is the plan for `iptables-restore --noflush`.
func (p *Plan) IPTables() string { return p.xtText(ip4, "iptables-restore --noflush") }

// IP6Tables is the plan for `ip6tables-restore --noflush`.
func (p *Plan) IP6Tables() string { return p.xtText(ip6, "ip6tables-restore --noflush") }

func (p *Plan) xtText(f family, load string) string {
	var b strings.Builder
	p.head(&b, load)
	b.WriteString(transition(nil, p.xtState(f)))
	return b.String()
}

var (
	xtNew  = "--tcp-flags FIN,SYN,RST,ACK SYN"
	xtTake = fmt.Sprintf("-j MARK --set-xmark %#x/%#x", transparent.IntakeMark, transparent.IntakeMark)
	xtMine = fmt.Sprintf("-m mark --mark %#x/%#x", transparent.IntakeMark, transparent.IntakeMark)
	xtOurs = fmt.Sprintf("-m mark --mark %#x/%#x", transparent.Mark, transparent.Mark)
)

// xtNotOthers ends a chain for what is addressed to this host itself. There is
// no broadcast in IPv6.
func xtNotOthers(f family) string {
	if f == ip4 {
		return "-m addrtype --dst-type LOCAL,BROADCAST,MULTICAST -j RETURN"
	}
	return "-m addrtype --dst-type LOCAL,MULTICAST -j RETURN"
}

// xtRules are the rules of chains, by their names.
type xtRules map[string][]string

func (r xtRules) add(chain, why string, words ...string) {
	target := ""
	if last := len(words) - 1; strings.HasPrefix(words[last], "-j ") {
		words, target = words[:last], words[last]
	}
	words = append(slices.Clone(words), "-m comment --comment "+strconv.Quote(comment(why)), target)
	r.plain(chain, words...)
}

func (r xtRules) plain(chain string, words ...string) {
	r[chain] = append(r[chain], "-A "+chainPrefix+chain+" "+join(words...))
}

// xtState is the plan for one family.
func (p *Plan) xtState(f family) (state []xtLine) {
	r := xtRules{}
	for _, name := range p.returnFrom {
		const what = "-m socket --transparent" // which leaves wildcard sockets out
		const why = "answers to connections with the addresses of clients"
		r.add("PRE", why, "-i "+name, what, xtTake)
		r.add("PRE", why, "-i "+name, what, "-j ACCEPT")
	}
	intakes, locals := of(p.intakes, f), of(p.locals, f)
	if some(intakes, byTproxy, byNobody) {
		r.plain("PRE", xtNotOthers(f))
	}
	if some(intakes, byRedirect) {
		r.plain("NAT-PRE", xtNotOthers(f))
	}
	for _, in := range intakes {
		for _, what := range in.xtMatches() {
			switch why := in.why(); in.by {
			case byNobody:
				r.add("PRE", why, what, "-j DROP")
			case byRedirect:
				r.add("NAT-PRE", why, what, in.xtRedirect())
				r.add("FWD", "past "+why, what, "-j DROP")
			default:
				if p.rate.set() {
					r.add("PRE", why, what, p.xtRate(f, in.proto), "-j DROP")
				}
				r.add("PRE", why, what, in.xtTproxy()) // which drops if nobody listens
			}
		}
	}
	for _, c := range []struct {
		chain string
		rules bool
	}{
		{"OUT", some(locals, byTproxy)},
		{"NAT-OUT", some(locals, byRedirect)},
		{"CLOSED", some(locals, byRedirect, byNobody)},
	} {
		if c.rules {
			r.add(c.chain, "what the gateway sends itself", xtOurs, "-j RETURN")
			r.plain(c.chain, xtNotOthers(f))
		}
	}
	for _, in := range locals {
		for _, what := range in.xtMatches() {
			switch why := in.why(); in.by {
			case byNobody:
				r.add("CLOSED", why, what, "-j DROP")
			case byRedirect:
				r.add("NAT-OUT", why, what, in.xtRedirect())
				r.add("CLOSED", "past "+why, what, "-j DROP")
			default:
				r.add("OUT", why, what, xtTake)
				r.add("PRE", why, "-i lo", what, xtMine, in.xtTproxy())
			}
		}
	}
	p.xtGuards(r, f)
	for _, c := range xtChains {
		rules := r[strings.TrimPrefix(c.chain, chainPrefix)]
		if len(rules) == 0 {
			continue
		}
		state = append(state, xtLine{c.table, ":" + c.chain})
		for _, rule := range append(rules, "-A "+c.from+" -j "+c.chain) {
			state = append(state, xtLine{c.table, rule})
		}
	}
	return state
}

func (p *Plan) xtGuards(r xtRules, f family) {
	for _, g := range p.guards {
		if g.family != f {
			continue
		}
		if len(r["IN"]) == 0 {
			r.add("IN", "diverted", "-m addrtype ! --dst-type LOCAL", "-j RETURN")
			r.plain("IN", "-i lo -j RETURN")
		}
		what, name := g.xtMatch(), g.listener.String()
		if g.rated {
			r.add("IN", name, what, p.xtRate(f, g.proto), "-j DROP")
		}
		if g.anyone || len(g.from) > 0 {
			for _, iif := range orAny(g.interfaces) {
				for _, from := range orAny(prefixTexts(g.from)) {
					r.add("IN", name, option("-i", iif), option("-s", from), what, "-j ACCEPT")
				}
			}
		}
		if g.limited && g.redirected {
			r.add("IN", name, what, "-m conntrack --ctstate DNAT", "-j ACCEPT")
		}
		if g.limited {
			r.add("IN", name, what, "-j DROP")
		}
	}
}

func of(intakes []intake, f family) (own []intake) {
	for _, in := range intakes {
		if in.family == f {
			own = append(own, in)
		}
	}
	return own
}

// xtMatches is what the intake is about: one rule for each interface, pair of
// networks and fifteen ports, as one rule cannot say more.
func (in intake) xtMatches() (all []string) {
	for _, iif := range orAny(in.interfaces) {
		for _, from := range orAny(prefixTexts(in.from)) {
			for _, to := range orAny(prefixTexts(in.to)) {
				for _, ports := range xtPorts(in.ports) {
					all = append(all, join(option("-i", iif), option("-s", from), option("-d", to), "-p", in.proto, ports))
				}
			}
		}
	}
	return all
}

// option answers a flag with its value, nothing without one.
func option(flag, value string) string {
	if value == "" {
		return ""
	}
	return flag + " " + value
}

// orAny answers the list, or one that has nothing in it but a place for
// anything.
func orAny(list []string) []string {
	if len(list) == 0 {
		return []string{""}
	}
	return list
}

func prefixTexts(prefixes []netip.Prefix) (texts []string) {
	for _, prefix := range prefixes {
		if prefix.Bits() == 0 {
			return nil
		}
		texts = append(texts, prefix.String())
	}
	return texts
}

// xtPorts matches ports in as many rules as are needed: multiport takes fifteen,
// of which a range is two.
func xtPorts(list []ports) (all []string) {
	if len(list) == 1 {
		return []string{"--dport " + list[0].text(":")}
	}
	var texts []string
	room := 15
	flush := func() {
		if len(texts) > 0 {
			all = append(all, "-m multiport --dports "+strings.Join(texts, ","))
		}
		texts, room = nil, 15
	}
	for _, p := range list {
		size := 1
		if p.first != p.last {
			size = 2
		}
		if room < size {
			flush()
		}
		texts, room = append(texts, p.text(":")), room-size
	}
	flush()
	return all
}

func (in intake) xtTproxy() string {
	text := "-j TPROXY --on-port " + strconv.Itoa(int(in.port))
	if in.at.IsValid() {
		text += " --on-ip " + in.at.String()
	}
	return text + fmt.Sprintf(" --tproxy-mark %#x/%#x", transparent.IntakeMark, transparent.IntakeMark)
}

func (in intake) xtRedirect() string {
	if !in.at.IsValid() {
		return "-j REDIRECT --to-ports " + strconv.Itoa(int(in.port))
	}
	return "-j DNAT --to-destination " + netip.AddrPortFrom(in.at, in.port).String()
}

func (g guard) xtMatch() string {
	where := ""
	if g.addr.IsValid() {
		where = "-d " + g.addr.String()
	}
	return join(where, "-p", g.proto, "-m", g.proto, "--dport", g.ports.text(":"))
}

// xtRate matches new connections over the rate.
func (p *Plan) xtRate(f family, proto string) string {
	fresh, bits := "-m tcp "+xtNew, 32
	if proto == "udp" {
		fresh = "-m conntrack --ctstate NEW"
	}
	if f == ip6 {
		bits = 64
	}
	return fmt.Sprintf("%s -m hashlimit --hashlimit-above %d/%s --hashlimit-burst %d --hashlimit-mode srcip --hashlimit-srcmask %d --hashlimit-name portcullis%d",
		fresh, p.rate.number, p.rate.per, p.rate.burst, bits, f)
}
