package command

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/portcullis-gateway/portcullis/modules/declarative"
	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Checks a declarative configuration without a gateway",
		Long: `
Reads a configuration as an import would, and reports everything that is wrong
with it, each problem with its line. No gateway needs to run, and nothing is
changed. Plugins are known if this build has them.

FILE is YAML or JSON; "-" reads the standard input.

The exit status is 0 if the configuration is valid, 1 if it is not, and 2 if it
could not be read.
`,
		Example: `  $ caddy gateway config check kong.yml
  $ deck file render base.yml | caddy gateway config check -`,
		Args: exactly(1),
		RunE: check,
	}
}

func check(cmd *cobra.Command, args []string) error {
	text, label, err := input(cmd, args[0])
	if err != nil {
		return trouble(cmd, err)
	}
	rows, err := dryRun(text)
	var errs *declarative.Errors
	switch {
	case errors.As(err, &errs):
		printProblems(cmd, label, errs.Problems)
		return exit(cmd, statusNo)
	case err != nil:
		return trouble(cmd, err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s is valid: %s\n", label, count(rows))
	return nil
}

// dryRun does with a text what an import into an empty store does.
func dryRun(text []byte) ([]declarative.Row, error) {
	doc, err := declarative.Parse(text)
	if err != nil {
		return nil, err
	}
	catalog := gateway.Catalog()
	rows, errs := doc.Resolve(catalog, declarative.Options{})
	if errs != nil {
		return nil, errs
	}
	_, err = declarative.Sync(store.Begin(store.NewImage(catalog), store.Options{}), rows, declarative.SyncOptions{})
	return rows, err
}

// printProblems lists problems in the form that editors understand:
// file:line: message.
func printProblems(cmd *cobra.Command, label string, problems []declarative.Problem) {
	for _, p := range problems {
		if p.Line > 0 {
			cmd.PrintErrf("%s:%d: %s\n", label, p.Line, p.Text())
		} else {
			cmd.PrintErrf("%s: %s\n", label, p.Text())
		}
	}
	cmd.PrintErrf("Error: %s in %s\n", plural(len(problems), "problem"), label)
}

// count says how many entities of which tables there are.
func count(rows []declarative.Row) string {
	var tables []string
	numbers := map[string]int{}
	for _, row := range rows {
		if numbers[row.Table] == 0 {
			tables = append(tables, row.Table)
		}
		numbers[row.Table]++
	}
	if len(tables) == 0 {
		return "no entities"
	}
	for i, table := range tables {
		tables[i] = plural(numbers[table], strings.TrimSuffix(strings.ReplaceAll(table, "_", " "), "s"))
	}
	return strings.Join(tables, ", ")
}

// plural writes a number and what there is of it.
func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
