package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/portcullis-gateway/portcullis/modules/firewall"
	"github.com/portcullis-gateway/portcullis/modules/listen"
)

// firewallTimeout bounds the command as a whole.
const firewallTimeout = 2 * time.Minute

func firewallCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "firewall",
		Short: "Prints, applies, checks and removes firewall rules for the listeners",
		Long: `
Makes the rules of this host's firewall that go with the gateway's listeners.
Nothing is changed unless --apply or --remove asks for it.

The listeners are those of the running gateway, which its Admin API tells, or
those of a configuration that --config names. If the configuration has the
option 'firewall', its settings hold where no flag says otherwise.

--config, --adapter
    A Caddyfile or another configuration to read, and what reads it. Default:
    ask the running gateway.

--format
    What is printed: nft for 'nft -f', iptables and ip6tables for
    'iptables-restore --noflush' and 'ip6tables-restore --noflush', routes for
    the commands of the policy routes, pf for FreeBSD and macOS, pf-openbsd.
    Default: nft

--backend
    What --apply and --check work with: nftables, iptables, iptables-nft or
    iptables-legacy. Default: nftables

--interface, --clients
    The interfaces on which, and the networks for which, the ports of the proxy
    and of streams are open. Default: all of them.

--trusted
    The networks that may use the Admin and the Status API. Default: none but
    this host.

--rate
    New connections that each client may open, such as '100/second burst 200'.
    A client is an IPv4 address or an IPv6 network of 64 bits. Default: no limit.

--intercept, --intercept-local
    Traffic through this host, and traffic from this host itself, that
    transparent listeners receive:
    tcp|udp dport PORTS [iifname INTERFACES] [saddr NETWORKS] [daddr NETWORKS]
    [by tproxy|redirect] [to :PORT]. May be given more than once.

--return-from
    Interfaces towards upstreams that see the addresses of clients: what comes
    back there belongs to the gateway.

--apply
    Bring the rules into the kernel, all of them or none. What is there already
    stays as it is, and rules of others are left alone.

--check
    Compare the kernel with what it should have.

--remove
    Take all of the gateway's rules out of the kernel.

--selftest
    Open connections that have to come to the gateway, with the rules applied,
    and tell how they arrive.
` + clientHelp + `
The exit status is 0, or 1 if --check finds a difference or --selftest fails,
and 2 if the work could not be done.
`,
		Example: `  $ caddy gateway firewall --trusted 10.9.0.0/16 --intercept 'tcp dport { 80, 443 } iifname eth1'
  $ caddy gateway firewall --config Caddyfile --format iptables | iptables-restore --noflush
  $ caddy gateway firewall --apply --intercept 'tcp dport 5432 to :9000'
  $ caddy gateway firewall --check && caddy gateway firewall --selftest
  $ caddy gateway firewall --remove`,
		Args: exactly(0),
		RunE: runFirewall,
	}
	clientFlags(cmd)
	flags := cmd.Flags()
	flags.StringP("config", "c", "", "Configuration file to read the listeners from")
	flags.String("adapter", "", "What reads the configuration file, if it is not JSON")
	flags.String("format", "nft", "nft, iptables, ip6tables, routes, pf or pf-openbsd")
	for name, what := range map[string]string{
		"interface":   "Interfaces on which the ports of the proxy and of streams are open",
		"clients":     "Networks for which the ports of the proxy and of streams are open",
		"trusted":     "Networks that may use the Admin and the Status API",
		"return-from": "Interfaces towards upstreams that see the addresses of clients",
	} {
		flags.StringSlice(name, nil, what)
	}
	flags.StringArray("intercept", nil, "Traffic through this host that transparent listeners receive")
	flags.StringArray("intercept-local", nil, "Traffic from this host that transparent listeners receive")
	flags.String("rate", "", "New connections that each client may open")
	flags.String("backend", "", "nftables, iptables, iptables-nft or iptables-legacy")
	for name, what := range firewallActs {
		flags.Bool(name, false, what)
	}
	return cmd
}

var firewallActs = map[string]string{
	"apply":    "Bring the rules into the kernel",
	"check":    "Compare the kernel with what it should have",
	"remove":   "Take the rules out of the kernel",
	"selftest": "Try whether connections arrive",
}

func runFirewall(cmd *cobra.Command, _ []string) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, firewallTimeout)
	defer cancel()
	act := ""
	for name := range firewallActs {
		if on, _ := cmd.Flags().GetBool(name); on && act != "" {
			return trouble(cmd, errors.New("--apply, --check, --remove and --selftest exclude each other"))
		} else if on {
			act = name
		}
	}
	if act == "remove" {
		removed, err := firewall.Remove(ctx)
		switch {
		case err != nil:
			return trouble(cmd, err)
		case removed:
			fmt.Fprintln(cmd.OutOrStdout(), "The rules are removed.")
		default:
			fmt.Fprintln(cmd.OutOrStdout(), "There are no rules of the gateway.")
		}
		return nil
	}
	settings, listeners, err := firewallInput(ctx, cmd)
	if err != nil {
		return trouble(cmd, err)
	}
	plan, err := firewall.New(settings, listeners)
	if err != nil {
		return trouble(cmd, err)
	}
	switch act {
	case "apply":
		return applyFirewall(ctx, cmd, plan)
	case "check":
		return checkFirewall(ctx, cmd, plan)
	case "selftest":
		return tryFirewall(ctx, cmd, plan)
	}
	return printFirewall(cmd, plan)
}

func printFirewall(cmd *cobra.Command, plan *firewall.Plan) error {
	format, _ := cmd.Flags().GetString("format")
	var text string
	var err error
	switch format {
	case "nft":
		text = plan.NFT()
	case "iptables":
		text = plan.IPTables()
	case "ip6tables":
		text = plan.IP6Tables()
	case "routes":
		text = plan.Routes()
	case "pf", "pf-openbsd":
		text, err = plan.PF(format == "pf-openbsd")
	default:
		err = fmt.Errorf("--format: %q: expected nft, iptables, ip6tables, routes, pf or pf-openbsd", format)
	}
	if err != nil {
		return trouble(cmd, err)
	}
	_, err = io.WriteString(cmd.OutOrStdout(), text)
	return err
}

func applyFirewall(ctx context.Context, cmd *cobra.Command, plan *firewall.Plan) error {
	changed, err := plan.Apply(ctx)
	if err != nil {
		return trouble(cmd, err)
	}
	warn(cmd, plan.Notes)
	if changed {
		fmt.Fprintln(cmd.OutOrStdout(), "The rules are applied.")
	} else {
		fmt.Fprintln(cmd.OutOrStdout(), "The rules were there already; nothing has changed.")
	}
	return nil
}

func checkFirewall(ctx context.Context, cmd *cobra.Command, plan *firewall.Plan) error {
	drift, err := plan.Check(ctx)
	if err != nil {
		return trouble(cmd, err)
	}
	warn(cmd, drift.Warnings)
	for _, line := range drift.Missing {
		fmt.Fprintln(cmd.OutOrStdout(), "missing: "+line)
	}
	for _, line := range drift.Foreign {
		fmt.Fprintln(cmd.OutOrStdout(), "foreign: "+line)
	}
	if !drift.Agrees() {
		return exit(cmd, statusNo)
	}
	fmt.Fprintln(cmd.OutOrStdout(), "The kernel has the rules of the listeners.")
	return nil
}

func tryFirewall(ctx context.Context, cmd *cobra.Command, plan *firewall.Plan) error {
	trials, err := plan.SelfTest(ctx)
	failed := false
	for _, trial := range trials {
		if trial.Err != nil {
			failed = true
			fmt.Fprintf(cmd.OutOrStdout(), "FAILED  %s: %v\n", trial.What, trial.Err)
		} else {
			fmt.Fprintf(cmd.OutOrStdout(), "ok      %s: %s\n", trial.What, trial.Arrived)
		}
	}
	switch {
	case err != nil:
		return trouble(cmd, err)
	case failed:
		return exit(cmd, statusNo)
	}
	return nil
}

func warn(cmd *cobra.Command, warnings []string) {
	for _, warning := range warnings {
		cmd.PrintErrln("Warning: " + warning)
	}
}

// firewallInput answers the settings of the configuration with those of the
// flags on top, and the listeners.
func firewallInput(ctx context.Context, cmd *cobra.Command) (s firewall.Settings, all []firewall.Listener, err error) {
	if file, _ := cmd.Flags().GetString("config"); file != "" {
		s, all, err = configuredListeners(cmd, file)
	} else {
		s, all, err = runningListeners(ctx, cmd)
	}
	if err != nil {
		return s, nil, err
	}
	for _, f := range []struct {
		flag string
		into *[]string
	}{
		{"interface", &s.Interfaces}, {"clients", &s.Clients}, {"trusted", &s.Trusted}, {"return-from", &s.ReturnFrom},
	} {
		if cmd.Flags().Changed(f.flag) {
			*f.into, _ = cmd.Flags().GetStringSlice(f.flag)
		}
	}
	for _, f := range []struct {
		flag string
		into *[]string
	}{{"intercept", &s.Intercept}, {"intercept-local", &s.InterceptLocal}} {
		if cmd.Flags().Changed(f.flag) {
			*f.into, _ = cmd.Flags().GetStringArray(f.flag)
		}
	}
	for _, f := range []struct {
		flag string
		into *string
	}{{"rate", &s.Rate}, {"backend", &s.Backend}} {
		if cmd.Flags().Changed(f.flag) {
			*f.into, _ = cmd.Flags().GetString(f.flag)
		}
	}
	return s, all, nil
}

// configuredListeners reads a configuration as `caddy validate` would. Nothing
// is opened.
func configuredListeners(cmd *cobra.Command, file string) (s firewall.Settings, all []firewall.Listener, err error) {
	adapter, _ := cmd.Flags().GetString("adapter")
	text, _, _, err := caddycmd.LoadConfig(file, adapter)
	if err != nil {
		return s, nil, fmt.Errorf("--config: %w", err)
	}
	var config caddy.Config
	if err := json.Unmarshal(text, &config); err != nil {
		return s, nil, fmt.Errorf("--config: %s: %w", file, err)
	}
	// What the firewall's own app says is judged with the flags.
	if raw := config.AppsRaw["gateway_firewall"]; raw != nil {
		if err := json.Unmarshal(raw, &s); err != nil {
			return s, nil, fmt.Errorf("--config: %s: gateway_firewall: %w", file, err)
		}
		delete(config.AppsRaw, "gateway_firewall")
	}
	provisioned, err := caddy.ProvisionContext(&config)
	if err != nil {
		return s, nil, fmt.Errorf("--config: %s: %w", file, err)
	}
	return s, firewall.ListenersOf(provisioned), nil
}

// runningListeners asks the Admin API.
func runningListeners(ctx context.Context, cmd *cobra.Command) (s firewall.Settings, all []firewall.Listener, err error) {
	c, err := newClient(cmd)
	if err != nil {
		return s, nil, err
	}
	resp, err := c.do(ctx, "GET", "", nil, "", nil)
	if err != nil {
		return s, nil, fmt.Errorf("%w; --config reads a configuration instead", err)
	}
	defer resp.Body.Close()
	var answer struct {
		Configuration map[string]json.RawMessage
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return s, nil, fmt.Errorf("reading the answer of the Admin API: %w", err)
	}
	for _, option := range firewall.Options {
		var lines []string
		if err := json.Unmarshal(answer.Configuration[option.Name], &lines); err != nil {
			return s, nil, fmt.Errorf("the Admin API at %s does not tell %s: is it that of a gateway of this kind?", c.base, option.Name)
		}
		binds, err := listen.Parse(option.Name, strings.Join(lines, ", "), option.Flags)
		if err != nil {
			return s, nil, err
		}
		for _, b := range binds {
			all = append(all, firewall.Listener{Option: option.Name, Bind: b})
		}
	}
	if raw := answer.Configuration["firewall"]; raw != nil {
		if err := json.Unmarshal(raw, &s); err != nil {
			return s, nil, fmt.Errorf("reading the settings of the running gateway: %w", err)
		}
	}
	return s, all, nil
}
