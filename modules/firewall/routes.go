package firewall

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portcullis-gateway/portcullis/transparent"
)

// The policy routes that TPROXY and the return path need: packets with the mark
// are this host's, whatever their destination. The table and the priority of its
// rules are the gateway's own.
const (
	routeTable    = 1610
	routePriority = 1610
)

// A route is an `ip rule`, or the one route of the table.
type route struct {
	family family
	rule   bool
	iif    string // of a rule; empty: any
}

// args are those of `ip`, with the verb given.
func (r route) args(verb string) []string {
	args := []string{fmt.Sprintf("-%d", r.family)}
	if !r.rule {
		return append(args, "route", verb, "local", "default", "dev", "lo", "table", fmt.Sprint(routeTable))
	}
	args = append(args, "rule", verb, "priority", fmt.Sprint(routePriority),
		"fwmark", fmt.Sprintf("%#x/%#x", transparent.IntakeMark, transparent.IntakeMark))
	if r.iif != "" {
		args = append(args, "iif", r.iif)
	}
	return append(args, "lookup", fmt.Sprint(routeTable))
}

// String is the command that adds the route.
func (r route) String() string { return "ip " + join(r.args("add")...) }

// routes lists what the plan needs. The rules name the interfaces if they are
// known: a rule without one breaks the check of source addresses where
// net.ipv4.conf.*.src_valid_mark is set.
func (p *Plan) routes() (list []route) {
	for _, f := range families {
		names := []string{}
		needed, all := false, false
		for _, in := range p.intakes {
			if in.family != f || in.by != byTproxy {
				continue
			}
			needed = true
			all = all || len(in.interfaces) == 0
			names = append(names, in.interfaces...)
		}
		for _, in := range p.locals {
			if in.family == f && in.by == byTproxy {
				needed, names = true, append(names, "lo")
			}
		}
		if len(p.returnFrom) > 0 {
			needed, names = true, append(names, p.returnFrom...)
		}
		if !needed {
			continue
		}
		if all {
			names = []string{""}
		}
		list = append(list, route{family: f})
		for _, name := range sorted(names) {
			list = append(list, route{family: f, rule: true, iif: name})
		}
	}
	return list
}

// broad reports whether a rule of the family has no interface.
func broad(routes []route) bool {
	return slices.ContainsFunc(routes, func(r route) bool { return r.rule && r.iif == "" })
}

// Routes are the commands that add the routes of the plan.
func (p *Plan) Routes() string {
	var b strings.Builder
	for _, r := range p.routes() {
		fmt.Fprintln(&b, r)
	}
	return b.String()
}
