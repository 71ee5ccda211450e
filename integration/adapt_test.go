package integration

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/google/go-cmp/cmp"

	_ "github.com/portcullis-gateway/portcullis"
)

var update = flag.Bool("update", false, "write what the Caddyfiles of caddyfile_adapt become into the files, where they succeed")

// separator stands between a Caddyfile and what becomes of it.
const separator = "\n----------\n"

// TestAdapt reads caddyfile_adapt: a Caddyfile above ten dashes; below, the
// JSON that it becomes, or a part of the error that it gets. These files are
// the specification of the syntax.
func TestAdapt(t *testing.T) {
	for _, name := range goldens(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			input, want := golden(t, name)
			got, err := adapt(t, input)
			if !strings.HasPrefix(want, "{") && want != "" {
				if err == nil {
					t.Fatalf("got %s\nwant the error %q", got, want)
				}
				if !strings.Contains(err.Error(), want) {
					t.Fatalf("got the error  %s\nwant part of it %s", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(name, []byte(input+separator+got+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(indent(t, []byte(want)), got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestAdapt_valid provisions what the Caddyfiles of caddyfile_adapt become, so
// that the options and the modules that they fill cannot drift apart. It is
// not parallel: Caddy's logging belongs to the process.
func TestAdapt_valid(t *testing.T) {
	t.Setenv("ADMIN_TOKEN", "s3cret") // one of them reads it
	for _, name := range goldens(t) {
		input, want := golden(t, name)
		if !strings.HasPrefix(want, "{") {
			continue
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			got, err := adapt(t, input)
			if err != nil {
				t.Fatal(err)
			}
			var config caddy.Config
			if err := json.Unmarshal([]byte(got), &config); err != nil {
				t.Fatal(err)
			}
			if err := caddy.Validate(&config); err != nil {
				t.Errorf("%s\n%v", input, err)
			}
		})
	}
}

// goldens lists the files of caddyfile_adapt.
func goldens(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("caddyfile_adapt/*.caddyfiletest")
	if err != nil || len(names) == 0 {
		t.Fatalf("no goldens found: %v", err)
	}
	return names
}

// golden answers both halves of the file called name.
func golden(t *testing.T, name string) (input, want string) {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	input, want, ok := strings.Cut(string(content), separator)
	if !ok {
		t.Fatalf("%s: no line of ten dashes", name)
	}
	return input, strings.TrimSpace(want)
}

// adapt turns a Caddyfile into indented JSON. A warning fails the test.
func adapt(t *testing.T, input string) (string, error) {
	t.Helper()
	config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input+"\n"), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return "", err
	}
	for _, w := range warnings {
		t.Errorf("warning: %s", w)
	}
	return indent(t, config), nil
}

// indent brings JSON into the form that the goldens have.
func indent(t *testing.T, config []byte) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, config, "", "\t"); err != nil {
		t.Fatalf("%v\n%s", err, config)
	}
	return out.String()
}

// TestAdapt_formatted makes sure that what the goldens show is what `caddy
// fmt` would write, errors included.
func TestAdapt_formatted(t *testing.T) {
	for _, name := range goldens(t) {
		input, _ := golden(t, name)
		if diff := cmp.Diff(string(caddyfile.Format([]byte(input+"\n"))), input+"\n"); diff != "" {
			t.Errorf("%s is not formatted (-want +got)\n%s", name, diff)
		}
	}
}
