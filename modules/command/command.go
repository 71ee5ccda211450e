// Package command gives `caddy gateway` its sub-commands, for people and
// scripts that look after a running gateway.
package command

import (
	"fmt"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "gateway",
		Usage: "<command>",
		Short: "Explains routing, moves configurations and makes firewall rules of the API gateway",
		Long: `
Looks after the API gateway of this build.

The commands 'explain', 'config import', 'config export' and 'firewall' speak to the Admin
API of a running gateway. Its address is http://127.0.0.1:8001 unless --address
says otherwise. If the Admin API asks for a token, it is best put into the
environment variable GATEWAY_ADMIN_TOKEN, where other users of the machine
cannot see it; --token works too.

The command 'config check' needs no running gateway, nor does 'firewall --config'.
`,
		CobraFunc: setup,
	})
}

// setup turns the command that Caddy made into the root of ours.
func setup(cmd *cobra.Command) {
	cmd.Example = `  $ caddy gateway explain --method POST https://api.example.com/orders
  $ caddy gateway config check kong.yml
  $ caddy gateway config import kong.yml
  $ caddy gateway config export > kong.yml
  $ caddy gateway firewall --trusted 10.9.0.0/16`
	config := &cobra.Command{
		Use:   "config <command>",
		Short: "Imports, exports and checks declarative configurations",
		Long: `
Moves the gateway's entities as a whole: services, routes, consumers, plugins
and all others, in Kong's declarative format (YAML or JSON).
`,
		Example: `  $ caddy gateway config check kong.yml
  $ caddy gateway config import --dry-run kong.yml
  $ caddy gateway config export kong.yml`,
	}
	config.AddCommand(importCommand(), exportCommand(), checkCommand())
	cmd.AddCommand(explainCommand(), config, firewallCommand())
	for _, group := range []*cobra.Command{cmd, config} {
		group.SetFlagErrorFunc(trouble)
		group.RunE = func(group *cobra.Command, args []string) error {
			if len(args) > 0 {
				return trouble(group, fmt.Errorf("unknown command %q; '%s --help' lists them", args[0], group.CommandPath()))
			}
			return group.Help()
		}
	}
}

// Exit statuses, in the manner of grep and diff.
const (
	statusNo      = 1 // the answer is no: no route, or an invalid configuration
	statusTrouble = 2 // there is no answer
)

// trouble ends a command that could not do its work.
func trouble(cmd *cobra.Command, err error) error {
	cmd.PrintErrln("Error: " + err.Error())
	return exit(cmd, statusTrouble)
}

// exit ends a command that has said all it has to say.
func exit(cmd *cobra.Command, status int) error {
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	if status == statusNo {
		return errNo
	}
	return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return status, nil })(cmd, nil)
}

// exactly wants n arguments.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := cobra.ExactArgs(n)(cmd, args); err != nil {
			return trouble(cmd, fmt.Errorf("%w; usage: %s", err, cmd.UseLine()))
		}
		return nil
	}
}
