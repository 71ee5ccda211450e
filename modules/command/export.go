package command

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/spf13/cobra"
)

func exportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export [FILE]",
		Short: "Writes the configuration of a running gateway to a file",
		Long: `
Asks the Admin API for everything that the gateway holds, and writes it as a
declarative configuration: a file that 'config import' and Kong can read. It
contains secrets, such as the keys of certificates; a new file is made for its
owner's eyes only.

FILE, or --output, takes the place of the standard output. It is replaced when
all of the configuration has arrived, and not touched if that fails.

--format
    yaml or json. Default: yaml, or json if the name of the file ends in .json
` + clientHelp,
		Example: `  $ caddy gateway config export kong.yml
  $ caddy gateway config export --format json | jq .services
  $ caddy gateway config export --address http://a:8001 | \
      caddy gateway config import --address http://b:8001 -`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.MaximumNArgs(1)(cmd, args); err != nil {
				return trouble(cmd, err)
			}
			return nil
		},
		RunE: export,
	}
	clientFlags(cmd)
	cmd.Flags().StringP("output", "o", "", "File to write")
	cmd.Flags().String("format", "", "Format: yaml or json")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"yaml", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func export(cmd *cobra.Command, args []string) error {
	file, _ := cmd.Flags().GetString("output")
	if len(args) > 0 {
		if file != "" {
			return trouble(cmd, errors.New("both FILE and --output are given"))
		}
		file = args[0]
	}
	format, _ := cmd.Flags().GetString("format")
	switch {
	case format == "" && filepath.Ext(file) == ".json":
		format = "json"
	case format == "":
		format = "yaml"
	case format != "yaml" && format != "json":
		return trouble(cmd, fmt.Errorf("--format: %q is neither yaml nor json", format))
	}
	c, err := newClient(cmd)
	if err != nil {
		return trouble(cmd, err)
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
	defer stop()
	resp, err := c.do(ctx, "GET", "config/export", url.Values{"format": {format}}, "", nil)
	if err != nil {
		return trouble(cmd, err)
	}
	defer resp.Body.Close()
	if file == "" || file == "-" {
		_, err = io.Copy(cmd.OutOrStdout(), resp.Body)
	} else {
		err = replaceFile(file, resp.Body)
	}
	if err != nil {
		return trouble(cmd, fmt.Errorf("writing the configuration: %w", err))
	}
	return nil
}

// replaceFile puts all that r has in the place of a file, or leaves the file as
// it is.
func replaceFile(name string, r io.Reader) error {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() { // such as /dev/stdout
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if info, err := os.Stat(name); err == nil {
		if err := f.Chmod(info.Mode()); err != nil {
			f.Close()
			return err
		}
	}
	_, err = io.Copy(f, r)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
