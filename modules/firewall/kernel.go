package firewall

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// Drift is how the kernel differs from a plan.
type Drift struct {
	// Missing are rules and routes of the plan that the kernel has not got, and
	// Foreign those that stand where the gateway's are and are not in the plan.
	Missing, Foreign []string
	// Warnings are settings and rules of others that keep the plan from working,
	// in sentences.
	Warnings []string
}

// Agrees reports whether the kernel has the plan, and nothing else where it
// stands.
func (d Drift) Agrees() bool { return len(d.Missing)+len(d.Foreign) == 0 }

// A backend is what holds rules.
type backend interface {
	// String is its name in the settings.
	String() string
	// wanted and present list rules in the form in which the kernel shows
	// them. Both are empty if there are none.
	wanted(ctx context.Context, p *Plan) ([]string, error)
	present(ctx context.Context) ([]string, error)
	// load puts the rules of the plan in the place of those that are there:
	// all of them or none.
	load(ctx context.Context, p *Plan) error
	// remove takes all of them out.
	remove(ctx context.Context) error
}

// backends answers the one of the plan, and all others that the host has.
func (p *Plan) backends(ctx context.Context) (own backend, others []backend) {
	name := p.Backend
	if name == IPTables {
		name = preferred(ctx)
	}
	for _, b := range installed(ctx) {
		if b.String() == name {
			own = b
		} else {
			others = append(others, b)
		}
	}
	if own == nil { // it will say what is missing
		own = nftables{}
		if name != NFTables {
			own = xtables{name}
		}
	}
	return own, others
}

// installed lists the backends whose commands are there.
func installed(ctx context.Context) (all []backend) {
	if _, err := find("nft"); err == nil {
		all = append(all, nftables{})
	}
	for _, name := range slices.Compact([]string{IPTablesLegacy, IPTablesNFT, preferred(ctx)}) {
		if _, err := find(name + "-save"); err == nil {
			all = append(all, xtables{name})
		}
	}
	return all
}

// Check compares the kernel with the plan. It changes nothing.
func (p *Plan) Check(ctx context.Context) (d Drift, err error) {
	if runtime.GOOS != "linux" {
		return d, errSystem
	}
	own, others := p.backends(ctx)
	want, err := own.wanted(ctx, p)
	if err != nil {
		return d, err
	}
	have, err := own.present(ctx)
	if err != nil {
		return d, err
	}
	d.Missing, d.Foreign = compare(want, have)
	for _, other := range others {
		if left, err := other.present(ctx); err == nil {
			d.Foreign = append(d.Foreign, left...)
		}
	}
	routes, err := presentRoutes(ctx)
	if err != nil {
		return d, err
	}
	missing, foreign := routes.compare(p.routes())
	for _, r := range missing {
		d.Missing = append(d.Missing, r.String())
	}
	for _, r := range foreign {
		d.Foreign = append(d.Foreign, r.String())
	}
	d.Foreign = append(d.Foreign, routes.others...)
	d.Warnings = slices.Concat(p.Notes, p.traps(ctx), p.idle())
	return d, nil
}

// compare answers what want has and have has not, and the other way round. If
// only the order differs, all of it does.
func compare(want, have []string) (missing, foreign []string) {
	if slices.Equal(want, have) {
		return nil, nil
	}
	missing, foreign = without(want, have), without(have, want)
	if len(missing)+len(foreign) == 0 {
		return want, have
	}
	return missing, foreign
}

// without answers the lines of list that other has not, counting repetitions.
func without(list, other []string) (rest []string) {
	count := map[string]int{}
	for _, line := range other {
		count[line]++
	}
	for _, line := range list {
		if count[line]--; count[line] < 0 {
			rest = append(rest, line)
		}
	}
	return rest
}

// Apply brings the plan into the kernel and reports whether that changed
// anything. If something cannot be added, all is as before; it is an error, too, if
// what is not wanted any more cannot be taken out.
func (p *Plan) Apply(ctx context.Context) (changed bool, err error) {
	if runtime.GOOS != "linux" {
		return false, errSystem
	}
	own, others := p.backends(ctx)
	routes, err := presentRoutes(ctx)
	if err != nil {
		return false, err
	}
	missing, stale := routes.compare(p.routes())
	done, err := addRoutes(ctx, missing)
	if err != nil {
		return false, err
	}
	fresh, err := replace(ctx, own, p)
	if err != nil {
		return false, errors.Join(err, deleteRoutes(context.WithoutCancel(ctx), done))
	}
	changed = fresh || len(missing)+len(stale) > 0
	if err := deleteRoutes(ctx, stale); err != nil {
		return changed, err
	}
	for _, other := range others {
		if left, err := other.present(ctx); err == nil && len(left) > 0 {
			changed = true
			if err := other.remove(ctx); err != nil {
				return changed, err
			}
		}
	}
	return changed, nil
}

// replace loads the rules unless they are there.
func replace(ctx context.Context, b backend, p *Plan) (changed bool, err error) {
	have, err := b.present(ctx)
	if err != nil {
		return false, err
	}
	want, err := b.wanted(ctx, p)
	switch {
	case errors.Is(err, errNoScratch): // it cannot be told
	case err != nil:
		return false, err
	case slices.Equal(want, have):
		return false, nil
	}
	return true, b.load(ctx, p)
}

// Remove takes the gateway's rules and routes out of the kernel, of whichever
// backend, and reports whether there were any.
func Remove(ctx context.Context) (removed bool, err error) {
	if runtime.GOOS != "linux" {
		return false, errSystem
	}
	var problems []error
	for _, b := range installed(ctx) {
		have, err := b.present(ctx)
		if err == nil && len(have) > 0 {
			removed, err = true, b.remove(ctx)
		}
		problems = append(problems, err)
	}
	routes, err := presentRoutes(ctx)
	if err == nil && len(routes.own) > 0 {
		removed, err = true, deleteRoutes(ctx, routes.own)
	}
	return removed, errors.Join(append(problems, err)...)
}

// nftables holds the rules in one table, which nft replaces atomically.
type nftables struct{}

func (nftables) String() string { return NFTables }

func (nftables) wanted(ctx context.Context, p *Plan) ([]string, error) {
	nft, err := find("nft")
	if err != nil {
		return nil, err
	}
	out, err := run(ctx, command{name: "sh", args: []string{"-c", `"$0" -f - && exec "$0" -s list table inet ` + table, nft}, scratch: true,
		input: p.nftTable()})
	return nftLines(out), err
}

func (nftables) present(ctx context.Context) ([]string, error) {
	out, err := run(ctx, command{name: "nft", args: []string{"-s", "list", "table", "inet", table}})
	if refused, is := errors.AsType[*commandError](err); is && strings.Contains(refused.complaint, "No such file or directory") {
		return nil, nil
	}
	return nftLines(out), err
}

func (nftables) load(ctx context.Context, p *Plan) error {
	_, err := run(ctx, command{name: "nft", args: []string{"-f", "-"}, input: p.NFT()})
	return err
}

func (nftables) remove(ctx context.Context) error {
	_, err := run(ctx, command{name: "nft", args: []string{"delete", "table", "inet", table}})
	return err
}

// nftLines makes one line of each thing that is listed, with where it stands in
// front. The elements that the kernel itself adds to sets are left out.
func nftLines(out string) (lines []string) {
	var block string
	elements := false
	for line := range strings.SplitSeq(out, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case elements:
			elements = !strings.HasSuffix(line, "}")
		case strings.HasPrefix(line, "elements = {"):
			elements = !strings.HasSuffix(line, "}")
		case strings.HasPrefix(line, "table "):
			lines = append(lines, strings.TrimSuffix(line, " {"))
		case strings.HasPrefix(line, "chain "), strings.HasPrefix(line, "set "):
			block = strings.TrimSuffix(line, " {")
			lines = append(lines, block)
		case line != "" && line != "}":
			lines = append(lines, block+": "+line)
		}
	}
	return lines
}

// addRoutes adds routes, and answers those that it added. If one cannot be
// added, none is.
func addRoutes(ctx context.Context, routes []route) (done []route, err error) {
	for _, r := range routes {
		if _, err := run(ctx, command{name: "ip", args: r.args("add")}); err != nil {
			return nil, errors.Join(err, deleteRoutes(context.WithoutCancel(ctx), done))
		}
		done = append(done, r)
	}
	return done, nil
}

// deleteRoutes deletes routes, the rules before what they lead to.
func deleteRoutes(ctx context.Context, routes []route) error {
	var problems []error
	for _, r := range slices.Backward(routes) {
		if _, err := run(ctx, command{name: "ip", args: r.args("del")}); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// describe is how an error names a line of routes that is not ours.
func describe(f family, what string) string {
	return fmt.Sprintf("ip -%d: %s", f, strings.TrimSpace(what))
}
