package firewall

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// xtables holds the rules in chains of iptables and ip6tables, in the variant of
// its name.
type xtables struct{ name string }

func (x xtables) String() string { return x.name }

// preferred is the variant that the command iptables stands for on this host.
// Where it has no other name, it is called iptables.
func preferred(ctx context.Context) string {
	name := IPTablesLegacy
	out, _ := run(ctx, command{name: "iptables-restore", args: []string{"-V"}})
	if strings.Contains(out, "nf_tables") {
		name = IPTablesNFT
	}
	if _, err := find(name + "-restore"); err != nil {
		return IPTables
	}
	return name
}

// An xtLine is a line of iptables-save that belongs to the gateway: a chain
// (`:NAME`), a rule in it, or the jump to it.
type xtLine struct{ table, text string }

func (l xtLine) String() string { return l.table + ": " + l.text }

// chain is what the line declares, if it is a chain.
func (l xtLine) chain() (name string, is bool) { return strings.CutPrefix(l.text, ":") }

// jump is the rule without its verb, if it stands in a built-in chain.
func (l xtLine) jump() (rule string, is bool) {
	rule, is = strings.CutPrefix(l.text, "-A ")
	return rule, is && !strings.HasPrefix(rule, chainPrefix)
}

// xtParse reads what iptables-save writes.
func xtParse(out string) (lines []xtLine) {
	table := ""
	for line := range strings.SplitSeq(out, "\n") {
		switch {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
		case strings.HasPrefix(line, ":"+chainPrefix):
			name, _, _ := strings.Cut(line, " ")
			lines = append(lines, xtLine{table, name})
		case strings.HasPrefix(line, "-A "+chainPrefix), strings.HasPrefix(line, "-A ") && strings.Contains(line, " -j "+chainPrefix):
			lines = append(lines, xtLine{table, line})
		}
	}
	slices.SortStableFunc(lines, func(a, b xtLine) int { return strings.Compare(a.table, b.table) })
	return lines
}

// transition is what iptables-restore --noflush makes of one state to get to the
// other. Each table changes at once.
func transition(from, to []xtLine) string {
	var b strings.Builder
	for _, table := range []string{"mangle", "nat", "filter"} {
		in := func(l xtLine) bool { return l.table == table }
		if !slices.ContainsFunc(from, in) && !slices.ContainsFunc(to, in) {
			continue
		}
		fmt.Fprintf(&b, "*%s\n", table)
		each := func(state []xtLine, do func(l xtLine)) {
			for _, l := range state {
				if in(l) {
					do(l)
				}
			}
		}
		each(to, func(l xtLine) {
			if name, is := l.chain(); is {
				fmt.Fprintf(&b, ":%s - [0:0]\n", name) // empties one that is there
			}
		})
		each(from, func(l xtLine) {
			if jump, is := l.jump(); is {
				fmt.Fprintf(&b, "-D %s\n", jump)
			}
		})
		each(from, func(l xtLine) {
			if name, is := l.chain(); is && !slices.Contains(to, l) {
				fmt.Fprintf(&b, "-F %s\n-X %s\n", name, name)
			}
		})
		each(to, func(l xtLine) {
			if _, is := l.chain(); is {
				return
			}
			if jump, is := l.jump(); is {
				fmt.Fprintf(&b, "-I %s\n", jump) // before the rules of others
				return
			}
			fmt.Fprintln(&b, l.text)
		})
		b.WriteString("COMMIT\n")
	}
	return b.String()
}

// tool names the command of a family.
func (x xtables) tool(f family, verb string) string {
	name := x.name + "-" + verb
	if f == ip6 {
		name = "ip6" + strings.TrimPrefix(name, "ip")
	}
	return name
}

// state asks the kernel.
func (x xtables) state(ctx context.Context, f family) ([]xtLine, error) {
	out, err := run(ctx, command{name: x.tool(f, "save")})
	return xtParse(out), err
}

func (x xtables) present(ctx context.Context) (lines []string, err error) {
	for _, f := range families {
		state, err := x.state(ctx, f)
		if err != nil {
			return nil, err
		}
		lines = append(lines, xtTexts(x, f, state)...)
	}
	return lines, nil
}

func (x xtables) wanted(ctx context.Context, p *Plan) (lines []string, err error) {
	for _, f := range families {
		restore, err := find(x.tool(f, "restore"))
		if err != nil {
			return nil, err
		}
		save, err := find(x.tool(f, "save"))
		if err != nil {
			return nil, err
		}
		out, err := run(ctx, command{name: "sh", args: []string{"-c", `"$0" --noflush && exec "$1"`, restore, save}, scratch: true,
			input: transition(nil, p.xtState(f))})
		if err != nil {
			return nil, err
		}
		lines = append(lines, xtTexts(x, f, xtParse(out))...)
	}
	return lines, nil
}

func xtTexts(x xtables, f family, state []xtLine) (lines []string) {
	name := strings.TrimSuffix(x.tool(f, ""), "-")
	for _, l := range state {
		lines = append(lines, name+" "+l.String())
	}
	return lines
}

func (x xtables) load(ctx context.Context, p *Plan) error {
	return x.change(ctx, p.xtState(ip4), p.xtState(ip6))
}

func (x xtables) remove(ctx context.Context) error { return x.change(ctx, nil, nil) }

// change brings both families into a state, or leaves both as they are. It
// tries all of it before it does any.
func (x xtables) change(ctx context.Context, to4, to6 []xtLine) error {
	to := map[family][]xtLine{ip4: to4, ip6: to6}
	from := map[family][]xtLine{}
	for _, f := range families {
		var err error
		if from[f], err = x.state(ctx, f); err != nil {
			return err
		}
		if err := x.restore(ctx, f, transition(from[f], to[f]), "--test"); err != nil {
			return err
		}
	}
	for i, f := range families {
		err := x.restore(ctx, f, transition(from[f], to[f]))
		if err == nil {
			continue
		}
		problems := []error{err}
		ctx := context.WithoutCancel(ctx)
		for _, f := range families[:i+1] { // each table may or may not have changed
			now, err := x.state(ctx, f)
			if err == nil {
				err = x.restore(ctx, f, transition(now, from[f]))
			}
			problems = append(problems, err)
		}
		return errors.Join(problems...)
	}
	return nil
}

func (x xtables) restore(ctx context.Context, f family, text string, flags ...string) error {
	if text == "" {
		return nil
	}
	_, err := run(ctx, command{name: x.tool(f, "restore"), args: append([]string{"--noflush"}, flags...), input: text})
	return err
}
