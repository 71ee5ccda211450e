package command

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

const valid = `_format_version: "3.0"
services:
- name: a
  host: a.com
  routes:
  - {name: r1, paths: [/1]}
  - {name: r2, paths: [/2]}
`

const invalid = `_format_version: "3.0"
services:
- name: a
  retries: many
routes:
- name: b
  paths: [b]
  service: c
`

func TestCheck(t *testing.T) {
	good := file(t, "kong.yml", valid)
	run(t, "", "config", "check", good).check(t, 0, good+" is valid: 1 service, 2 routes\n", "")
	run(t, valid, "config", "check", "-").check(t, 0, "stdin is valid: 1 service, 2 routes\n", "")
	run(t, `{"_format_version":"3.0"}`, "config", "check", "-").check(t, 0, "stdin is valid: no entities\n", "")

	bad := file(t, "bad.yml", invalid)
	run(t, "", "config", "check", bad).check(t, statusNo, "", strings.ReplaceAll(`FILE:3: service "a": host: required field missing
FILE:4: service "a": retries: expected an integer
FILE:7: route "b": paths.1: should start with: / (fixed path) or ~/ (regex path)
FILE:8: route "b": service: invalid reference 'service: c' (no such entry in 'services')
Error: 4 problems in FILE
`, "FILE", bad))
	run(t, "a: b: c", "config", "check", "-").check(t, statusNo, "",
		"stdin:1: mapping values are not allowed in this context\nError: 1 problem in stdin\n")
}

func TestImport(t *testing.T) {
	a, address := serve(t)
	good := file(t, "kong.yml", valid)

	run(t, "", "config", "import", "--address", address, "--dry-run", good).check(t, 0,
		"Nothing was written. "+good+` would bring these changes:

            created  changed  removed  unchanged
    routes        2        0        0          0
  services        1        0        0          0
`, "")
	if a.image.Len("routes") != 0 {
		t.Error("a dry run left routes behind")
	}
	if q := a.last.URL.RawQuery; q != "dry_run=1" || a.last.Header.Get("Content-Type") != "application/yaml" || a.body != valid || a.last.ContentLength != int64(len(valid)) {
		t.Errorf("sent %q as %s with %s", a.body, a.last.Header.Get("Content-Type"), q)
	}

	run(t, valid, "config", "import", "--address", address, "-")
	changed := strings.Replace(valid, "- {name: r2, paths: [/2]}", "- {name: r1b, paths: [/1]}", 1)
	run(t, changed, "config", "import", "--address", address, "--sync", "-").check(t, 0, `stdin is imported:

            created  changed  removed  unchanged
    routes        1        0        1          1
  services        0        0        0          1
`, "")

	run(t, `{"_format_version": "3.0"}`, "config", "import", "--address", address, "-").check(t, 0, "stdin is imported:\n\nno entities\n", "")
	if a.last.Header.Get("Content-Type") != "application/json" {
		t.Errorf("content type %q", a.last.Header.Get("Content-Type"))
	}

	a.replaces = true
	run(t, valid, "config", "import", "--address", address, "-").check(t, 0,
		"stdin has taken the place of the whole configuration, since the gateway has no database:\n\n"+
			"            created  changed  removed  unchanged\n    routes        1        0        1          1\n  services        0        0        0          1\n", "")
}

func TestImport_refused(t *testing.T) {
	a, address := serve(t)
	bad := file(t, "bad.yml", invalid)
	r := run(t, "", "config", "import", "--address", address, bad)
	if want := bad + ":4: service \"a\": retries: expected an integer\n"; r.status != statusNo || !strings.Contains(r.err, want) || !strings.HasSuffix(r.err, "Nothing was changed.\n") {
		t.Errorf("status %d, no %q in\n%s", r.status, want, r.err)
	}
	if a.image.Len("services") != 0 {
		t.Error("a service is there all the same")
	}
	_, address = serveText(t, `{"stage":"parsed","done":1,"total":1}`+"\n"+`{"error":{"code":0,"name":"","message":"disk full"}}`)
	run(t, valid, "config", "import", "--address", address, "-").check(t, statusNo, "", "Error: stdin: disk full\nNothing was changed.\n")
}

func TestImport_brokenOff(t *testing.T) {
	_, address := serveText(t, `{"stage":"parsed","done":1,"total":1}`+"\n")
	run(t, valid, "config", "import", "--address", address, "-").check(t, statusTrouble, "",
		"Error: the Admin API broke off without telling the outcome; its log may tell more\n")
}

func TestExport(t *testing.T) {
	_, address := serve(t)
	run(t, valid, "config", "import", "--address", address, "-")

	printed := run(t, "", "config", "export", "--address", address)
	if printed.status != 0 || !strings.HasPrefix(printed.out, "_format_version: '3.0'\n_transform: false\nservices:\n- id: ") {
		t.Fatalf("status %d\n%s%s", printed.status, printed.out, printed.err)
	}
	dir := t.TempDir()
	for _, args := range [][]string{{"a.yml"}, {"-o", "b.yml"}, {"--output", "c.yml", "--format", "yaml"}, {"d.json"}, {"e.txt", "--format", "json"}} {
		for i := range args {
			if strings.Contains(args[i], ".") {
				args[i] = filepath.Join(dir, args[i])
			}
		}
		run(t, "", append([]string{"config", "export", "--address", address}, args...)...).check(t, 0, "", "")
	}
	for _, name := range []string{"a.yml", "b.yml", "c.yml"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(text) != printed.out {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
	for _, name := range []string{"d.json", "e.txt"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.HasPrefix(string(text), "{\n\"_format_version\":\"3.0\"") {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "a.yml")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a new file is readable for others: %v %v", info, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 5 {
		t.Errorf("files are left behind: %v %v", entries, err)
	}

	// What was exported can come back, and changes nothing.
	run(t, printed.out, "config", "import", "--address", address, "--sync", "-").check(t, 0,
		"stdin is imported:\n\n            created  changed  removed  unchanged\n    routes        0        0        0          2\n  services        0        0        0          1\n", "")
}

// TestExport_failureLeavesTheFile makes sure that half an export never takes
// the place of a whole one.
func TestExport_failureLeavesTheFile(t *testing.T) {
	name := file(t, "kong.yml", "precious")
	r := run(t, "", "config", "export", "--address", brokenServer(t), name)
	if r.status != statusTrouble || !strings.HasPrefix(r.err, "Error: writing the configuration: ") {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
	if text, err := os.ReadFile(name); err != nil || string(text) != "precious" {
		t.Errorf("%v\n%s", err, text)
	}
	if entries, err := os.ReadDir(filepath.Dir(name)); err != nil || len(entries) != 1 {
		t.Errorf("files are left behind: %v %v", entries, err)
	}
	r = run(t, "", "config", "export", "--address", brokenServer(t), filepath.Join(filepath.Dir(name), "no", "such", "folder"))
	if r.status != statusTrouble || !strings.Contains(r.err, "no such file or directory") {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
}

// brokenServer is an Admin API that dies in the midst of an answer.
func brokenServer(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "_format_version: '3.0'\n")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestCompletion(t *testing.T) {
	for args, want := range map[string]string{
		"gateway ":                          "explain\tTells which route a request takes, and why not another\n",
		"gateway config ":                   "import\tBrings a running gateway in line with a file\n",
		"gateway config export --format js": "json\n",
	} {
		root := &cobra.Command{Use: "caddy"}
		cmd := &cobra.Command{Use: "gateway"}
		setup(cmd)
		root.AddCommand(cmd)
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetErr(io.Discard)
		root.SetArgs(append([]string{cobra.ShellCompRequestCmd}, strings.Split(args, " ")...))
		if err := root.Execute(); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%q completes to %v\n%s", args, err, out.String())
		}
	}
}
