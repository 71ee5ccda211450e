package command

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/portcullis-gateway/portcullis/modules/declarative"
)

// printOutcome says what an import changed, table by table.
func printOutcome(w io.Writer, label string, outcome *declarative.ImportEvent) {
	switch {
	case outcome.DryRun && outcome.Replaced:
		fmt.Fprintf(w, "Nothing was written. %s would take the place of the whole configuration:\n\n", label)
	case outcome.DryRun:
		fmt.Fprintf(w, "Nothing was written. %s would bring these changes:\n\n", label)
	case outcome.Replaced:
		fmt.Fprintf(w, "%s has taken the place of the whole configuration, since the gateway has no database:\n\n", label)
	default:
		fmt.Fprintf(w, "%s is imported:\n\n", label)
	}
	sum := outcome.Summary
	columns := []map[string]int{sum.Created, sum.Updated, sum.Removed, sum.Unchanged}
	tables := map[string]bool{}
	for _, column := range columns {
		for table := range column {
			tables[table] = true
		}
	}
	if len(tables) == 0 {
		fmt.Fprintln(w, "no entities")
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "\tcreated\tchanged\tremoved\tunchanged\t")
	for _, table := range slices.Sorted(maps.Keys(tables)) {
		fmt.Fprintf(tw, "%s\t", table)
		for _, column := range columns {
			fmt.Fprintf(tw, "%d\t", column[table])
		}
		fmt.Fprintln(tw)
	}
	tw.Flush()
}

// printRefusal says why the gateway did not take a configuration.
func printRefusal(cmd *cobra.Command, label string, refused *declarative.ImportError) {
	if len(refused.Problems) > 0 {
		printProblems(cmd, label, refused.Problems)
	} else {
		cmd.PrintErrf("Error: %s: %s\n", label, refused.Message)
	}
	cmd.PrintErrln("Nothing was changed.")
}
