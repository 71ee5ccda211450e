package firewall

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/portcullis-gateway/portcullis/transparent"
)

// kernelRoutes is what the kernel has in the gateway's table and at its
// priority.
type kernelRoutes struct {
	own    []route  // of the gateway's making, the tables' routes first
	others []string // of somebody else's
}

func presentRoutes(ctx context.Context) (k kernelRoutes, err error) {
	for _, f := range families {
		if err := k.readTable(ctx, f); err != nil {
			return k, err
		}
		if err := k.readRules(ctx, f); err != nil {
			return k, err
		}
	}
	return k, nil
}

// show asks ip. A kernel without the family, or without the table, shows
// nothing.
func show(ctx context.Context, f family, into any, args ...string) error {
	out, err := run(ctx, command{name: "ip", args: append([]string{fmt.Sprintf("-%d", f), "-j"}, args...)})
	if refused, is := errors.AsType[*commandError](err); is && (strings.Contains(refused.complaint, "does not exist") ||
		strings.Contains(refused.complaint, "not supported")) {
		return nil
	}
	if err != nil {
		return err
	}
	if out = strings.TrimSpace(out); out == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("ip %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

func (k *kernelRoutes) readTable(ctx context.Context, f family) error {
	var list []struct {
		Type, Dst, Dev string
	}
	if err := show(ctx, f, &list, "route", "show", "table", strconv.Itoa(routeTable)); err != nil {
		return err
	}
	for _, r := range list {
		if r.Type == "local" && r.Dst == "default" && r.Dev == "lo" {
			k.own = append(k.own, route{family: f})
		} else {
			k.others = append(k.others, describe(f, fmt.Sprintf("route %s %s dev %s table %d", r.Type, r.Dst, r.Dev, routeTable)))
		}
	}
	return nil
}

func (k *kernelRoutes) readRules(ctx context.Context, f family) error {
	var list []struct {
		Priority             int
		Fwmark, Fwmask, Iif  string
		Table, Src, Dst, Oif string
	}
	if err := show(ctx, f, &list, "rule", "show"); err != nil {
		return err
	}
	mark := fmt.Sprintf("%#x", transparent.IntakeMark)
	for _, r := range list {
		ours := r.Priority == routePriority && r.Table == strconv.Itoa(routeTable)
		switch {
		case ours && r.Fwmark == mark && r.Fwmask == mark && r.Src == "all" && r.Dst == "" && r.Oif == "":
			k.own = append(k.own, route{family: f, rule: true, iif: r.Iif})
		case ours, r.Table == strconv.Itoa(routeTable):
			k.others = append(k.others, describe(f, fmt.Sprintf("rule %d from %s fwmark %s/%s iif %s lookup %s", r.Priority, r.Src, r.Fwmark, r.Fwmask, r.Iif, r.Table)))
		}
	}
	return nil
}

// compare answers which of the routes are missing, and which of the gateway's
// are not wanted.
func (k kernelRoutes) compare(want []route) (missing, stale []route) {
	for _, r := range want {
		if !slices.Contains(k.own, r) {
			missing = append(missing, r)
		}
	}
	for _, r := range k.own {
		if !slices.Contains(want, r) {
			stale = append(stale, r)
		}
	}
	return missing, stale
}
