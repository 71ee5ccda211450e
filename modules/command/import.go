package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"

	"github.com/spf13/cobra"

	"github.com/portcullis-gateway/portcullis/modules/declarative"
)

func importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Brings a running gateway in line with a file",
		Long: `
Sends a declarative configuration to the Admin API, which creates what the
gateway does not have and updates what is different, in one transaction: either
all of it takes effect at once, or nothing does.

An entity of the file stands for the one that the gateway has under the same id
or name; that one keeps its id. What the file does not name is left alone, as
with Kong's db_import, unless --sync is given.

A gateway without a database has no entities but those of its configuration, so
there the file takes the place of everything.

FILE is YAML or JSON; "-" reads the standard input.

--dry-run
    Do all but keep it: tells what would be changed, or what is wrong.

--sync
    Also remove what the file does not name.
` + clientHelp + `
The exit status is 0 if it worked, 1 if the gateway refused the configuration,
and 2 if the file could not be read or the gateway not be reached.
`,
		Example: `  $ caddy gateway config import --dry-run kong.yml
  $ caddy gateway config import --sync kong.yml
  $ GATEWAY_ADMIN_TOKEN=$(cat token) caddy gateway config import \
      --address https://gateway.example.com:8444 kong.yml`,
		Args: exactly(1),
		RunE: importConfig,
	}
	clientFlags(cmd)
	cmd.Flags().Bool("dry-run", false, "Only tell what would be changed")
	cmd.Flags().Bool("sync", false, "Remove what the file does not name")
	return cmd
}

func importConfig(cmd *cobra.Command, args []string) error {
	c, err := newClient(cmd)
	if err != nil {
		return trouble(cmd, err)
	}
	text, label, err := input(cmd, args[0])
	if err != nil {
		return trouble(cmd, err)
	}
	query := url.Values{}
	if dry, _ := cmd.Flags().GetBool("dry-run"); dry {
		query.Set("dry_run", "1")
	}
	if sync, _ := cmd.Flags().GetBool("sync"); sync {
		query.Set("prune", "1")
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
	defer stop()
	bar := newProgress(cmd.ErrOrStderr())
	outcome, err := c.importConfig(ctx, text, query, bar)
	bar.end()
	switch {
	case err != nil:
		return trouble(cmd, err)
	case outcome.Error != nil:
		printRefusal(cmd, label, outcome.Error)
		return exit(cmd, statusNo)
	}
	printOutcome(cmd.OutOrStdout(), label, outcome)
	return nil
}

// importConfig sends a configuration and reads the events that follow. It
// answers the last one.
func (c *client) importConfig(ctx context.Context, text []byte, query url.Values, bar *progress) (*declarative.ImportEvent, error) {
	body := &counter{bytes.NewReader(text), len(text), bar}
	resp, err := c.do(ctx, http.MethodPost, "config/import", query, contentType(text), body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	for events := json.NewDecoder(resp.Body); ; {
		var event declarative.ImportEvent
		err := events.Decode(&event)
		switch {
		case ctx.Err() != nil:
			return nil, errors.New("interrupted; the gateway may go on with what it has received")
		case errors.Is(err, io.EOF):
			return nil, errors.New("the Admin API broke off without telling the outcome; its log may tell more")
		case err != nil:
			return nil, fmt.Errorf("reading the answer of the Admin API: %w; it may have done its work all the same", err)
		case event.Error != nil || event.Summary != nil:
			return &event, nil
		}
		bar.show(event.Stage, event.Done, event.Total)
	}
}

// counter shows how much of a text was sent.
type counter struct {
	text  *bytes.Reader
	total int
	bar   *progress
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.text.Read(p)
	c.bar.show(stageSent, c.total-c.text.Len(), c.total)
	return n, err
}

// Len answers how much is left.
func (c *counter) Len() int { return c.text.Len() }
