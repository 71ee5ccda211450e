package firewall

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// traps tells what else in this host keeps the plan from working.
func (p *Plan) traps(ctx context.Context) (warnings []string) {
	warn := func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) }
	routes := p.routes()
	if len(routes) > 0 && sysctl("net/ipv4/tcp_fwmark_accept") {
		warn("net.ipv4.tcp_fwmark_accept is 1: accepted connections keep the mark, so that their answers never leave; TPROXY needs 0")
	}
	if local := slices.ContainsFunc(routes, func(r route) bool { return r.iif == "lo" }); broad(routes) || local {
		for _, name := range sysctls("net/ipv4/conf/*/src_valid_mark") {
			if broad(routes) {
				warn("%s is 1: the kernel drops IPv4 packets that are diverted by TPROXY; name the interfaces (iifname) in what is intercepted, or set it to 0", name)
			} else {
				warn("%s is 1: the kernel drops IPv4 packets of this host that are diverted by TPROXY; set it to 0, or divert them by redirect", name)
			}
		}
	}
	for _, name := range sysctls("net/ipv4/conf/*/route_localnet") {
		warn("%s is 1: listeners on 127.0.0.1 can be reached from the outside", name)
	}
	if len(p.guards) > 0 && p.Backend == NFTables {
		for _, chain := range closedChains(ctx) {
			warn("%s drops what it does not know, and a rule of another table cannot open what it closes: the ports of the listeners have to be accepted there", chain)
		}
	}
	return warnings
}

// idle tells which listeners are not there although traffic is diverted to them.
func (p *Plan) idle() (warnings []string) {
	for _, in := range slices.Concat(p.intakes, p.locals) {
		if in.by != byNobody && !listening(in.proto, in.family, in.port) {
			warnings = append(warnings, fmt.Sprintf("%s: nothing listens on port %d for %s, so what is diverted there is stopped", in.listener, in.port, in.family))
		}
	}
	slices.Sort(warnings)
	return slices.Compact(warnings)
}

// sysctl reports whether a setting is 1.
func sysctl(path string) bool {
	value, _ := os.ReadFile("/proc/sys/" + path)
	return strings.TrimSpace(string(value)) == "1"
}

// sysctls lists the settings of a pattern that are 1, by name.
func sysctls(pattern string) (names []string) {
	paths, _ := filepath.Glob("/proc/sys/" + pattern)
	for _, path := range paths {
		path = strings.TrimPrefix(path, "/proc/sys/")
		if sysctl(path) {
			names = append(names, strings.ReplaceAll(path, "/", "."))
		}
	}
	return names
}

// closedChains lists the chains of others that drop what comes in unless a rule
// of theirs accepts it.
func closedChains(ctx context.Context) (list []string) {
	out, err := run(ctx, command{name: "nft", args: []string{"-j", "list", "chains"}})
	if err != nil {
		return nil
	}
	var answer struct {
		NFTables []struct {
			Chain struct{ Family, Table, Name, Hook, Policy string }
		}
	}
	if json.Unmarshal([]byte(out), &answer) != nil {
		return nil
	}
	for _, item := range answer.NFTables {
		if c := item.Chain; c.Hook == "input" && c.Policy == "drop" && c.Table != table {
			list = append(list, fmt.Sprintf("chain %s of table %s %s", c.Name, c.Family, c.Table))
		}
	}
	return list
}
