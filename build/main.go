// Command build makes a Caddy binary from a description in JSON.
//
// The description is xcaddy's own Builder struct: the version of Caddy, the
// plugins, the replacements, and whatever else xcaddy can do. Paths of
// replacements are taken from the folder of the description, so that a
// checkout can name itself as ".".
//
// It is a module of its own: xcaddy is needed to build the gateway, never to
// be the gateway.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/xcaddy"
)

func main() {
	description := flag.String("f", "xcaddy.json", "the `file` that describes the build: xcaddy's Builder in JSON")
	output := flag.String("o", filepath.Join("bin", "caddy"), "the `file` to write")
	verbose := flag.Bool("v", false, "show what xcaddy and go say, not only when they fail")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := build(ctx, *description, *output, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

// build makes output as the file description says.
func build(ctx context.Context, description, output string, verbose bool) error {
	builder, err := read(description)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(output), 0o755); err != nil {
		return err
	}

	// xcaddy talks a lot: keep it until something goes wrong
	var transcript bytes.Buffer
	said := io.Writer(&transcript)
	if verbose {
		said = os.Stderr
	}
	builder.OnStep = func(step *xcaddy.StepEvent) error {
		_, err := io.Copy(said, step.Output)
		return err
	}

	began := time.Now()
	if err := builder.Build(ctx, output); err != nil {
		os.Stderr.Write(transcript.Bytes())
		return err
	}
	fmt.Printf("built %s with Caddy %s in %s\n", output, builder.CaddyVersion, time.Since(began).Round(100*time.Millisecond))
	return nil
}

// read decodes the description strictly, since a misspelt name would
// otherwise build something else without a word.
func read(description string) (*xcaddy.Builder, error) {
	file, err := os.Open(description)
	if err != nil {
		return nil, err
	}
	defer file.Close()

	builder := new(xcaddy.Builder)
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(builder); err != nil {
		return nil, fmt.Errorf("%s: %w", description, err)
	}

	home, err := filepath.Abs(filepath.Dir(description))
	if err != nil {
		return nil, err
	}
	for i, r := range builder.Replacements {
		if path := string(r.New); path == "." || strings.HasPrefix(path, "./") || strings.HasPrefix(path, "../") {
			builder.Replacements[i].New = xcaddy.ReplacementPath(filepath.Join(home, path))
		}
	}
	return builder, nil
}
