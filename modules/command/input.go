package command

import (
	"bytes"
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// errNo is the error behind statusNo. Nobody reads it.
var errNo = errors.New("no")

// input reads the file of that name, or the standard input for "-", and
// answers what messages should call it.
func input(cmd *cobra.Command, name string) (text []byte, label string, err error) {
	if name == "-" {
		text, err = io.ReadAll(cmd.InOrStdin())
		return text, "stdin", err
	}
	text, err = os.ReadFile(name)
	return text, name, err
}

// contentType is the media type of a declarative configuration.
func contentType(text []byte) string {
	if start := bytes.TrimLeft(text, " \t\r\n\ufeff"); len(start) > 0 && start[0] == '{' {
		return "application/json"
	}
	return "application/yaml"
}
