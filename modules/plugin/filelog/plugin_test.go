package filelog

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/modules/plugin/plugintest"
	"github.com/portcullis-gateway/portcullis/modules/queue"
)

func config(path, more string) string { return fmt.Sprintf(`{"path": %q %s}`, path, more) }

// settle waits until all that is queued is written.
func settle(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient.Limit)
	defer cancel()
	queue.Drain(ctx)
	if ctx.Err() != nil {
		t.Fatal("the file is not written")
	}
}

// uris are those of the entries in a file.
func uris(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for line := range strings.Lines(string(text)) {
		var e struct{ Request struct{ URI string } }
		if err := json.Unmarshal([]byte(line), &e); err != nil || !strings.HasSuffix(line, "\n") {
			t.Fatalf("%v: %q", err, line)
		}
		list = append(list, e.Request.URI)
	}
	return strings.Join(list, " ")
}

func TestFileLog_appends(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	g := plugintest.New(t)
	g.Add("file-log", config(path, ""))
	if _, err := os.Stat(path); err == nil {
		t.Error("the file was made before there was anything to write")
	}
	g.Get("/a")
	g.Get("/b")
	settle(t)
	if got := uris(t, path); got != "/a /b" {
		t.Errorf("got %s", got)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o644 {
		t.Errorf("permissions %v", info.Mode())
	}
}

func TestFileLog_rotation(t *testing.T) {
	for _, reopen := range []bool{false, true} {
		t.Run(fmt.Sprint("reopen=", reopen), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.log")
			g := plugintest.New(t)
			g.Add("file-log", config(path, fmt.Sprintf(`,"reopen": %v`, reopen)))
			g.Get("/a")
			settle(t)
			if err := os.Rename(path, path+".1"); err != nil {
				t.Fatal(err)
			}
			g.Get("/b")
			settle(t)
			if reopen {
				if got := uris(t, path+".1") + "|" + uris(t, path); got != "/a|/b" {
					t.Errorf("got %s", got)
				}
				return
			}
			if got := uris(t, path+".1"); got != "/a /b" {
				t.Errorf("got %s", got)
			}
			plugintest.New(t).Add("file-log", config(path, "")) // as when a configuration is loaded
			g.Get("/c")
			settle(t)
			if got := uris(t, path+".1") + "|" + uris(t, path); !strings.HasPrefix(got, "/a /b|/c") {
				t.Errorf("after a reload: %s", got)
			}
		})
	}
}

// TestFileLog_oneWriter has many plugins write to one file at once.
func TestFileLog_oneWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	var writers sync.WaitGroup
	for w := range 8 {
		g := plugintest.New(t)
		g.Add("file-log", config(path, `,"reopen": true`))
		writers.Go(func() {
			for i := range 200 {
				g.Get(fmt.Sprintf("/%d/%d", w, i))
			}
		})
	}
	writers.Wait()
	settle(t)
	if n := len(strings.Fields(uris(t, path))); n != 1600 {
		t.Errorf("%d entries", n)
	}
}

func TestFileLog_folderComesLater(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	path := filepath.Join(dir, "a.log")
	g := plugintest.New(t)
	g.Add("file-log", config(path, ""))
	g.Get("/lost")
	settle(t)
	f := &file{path: path}
	if err := f.write(t.Context(), nil); err == nil || !strings.Contains(err.Error(), path+": no such file or directory") {
		t.Errorf("got %v", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	g.Get("/kept")
	settle(t)
	if got := uris(t, path); got != "/kept" {
		t.Errorf("got %s", got)
	}
}

// TestFile_mendsABrokenLine has a write end in the middle.
func TestFile_mendsABrokenLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	f := &file{path: path}
	defer f.close()
	if err := f.write(t.Context(), [][]byte{[]byte("one\n"), []byte("two\n")}); err != nil {
		t.Fatal(err)
	}
	f.broken = true // as if the last had stopped short
	batch := [][]byte{nil, []byte("three\n")}
	if err := f.write(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(path); string(text) != "one\ntwo\n\nthree\n" {
		t.Errorf("got %q", text)
	}
}

func TestFileLog_refusedConfigurations(t *testing.T) {
	for config, want := range map[string]string{
		`{}`:                              "required field missing",
		`{"path": "/tmp/a*"}`:             "not a valid filename",
		`{"path": " /tmp/a"}`:             "not a valid filename",
		"{\"path\": \"/tmp/`id`\"}":       "not a valid filename",
		`{"path": "x"}`:                   "not a valid filename",
		`{"path": "/tmp/a", "reopen": 1}`: "expected a boolean",
		`{"path": "/tmp/a", "custom_fields_by_lua": {"a": "return 1"}}`: "this gateway runs no Lua",
	} {
		if _, err := plugintest.New(t).TryAdd("file-log", config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
	}
}

func BenchmarkFileLog(b *testing.B) {
	g := plugintest.New(b)
	g.Add("file-log", config(filepath.Join(b.TempDir(), "a.log"), ""))
	plugintest.Bench(b, g)
}
