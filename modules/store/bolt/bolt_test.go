package bolt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/store"
	"github.com/portcullis-gateway/portcullis/modules/store/storetest"
)

// childEnv makes the test binary play the other process of a test: the value
// is what it has to do, and the path of the file.
const childEnv = "BOLT_TEST_CHILD"

func TestMain(m *testing.M) {
	if task, path, ok := strings.Cut(os.Getenv(childEnv), " "); ok {
		os.Exit(child(task, path))
	}
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Place {
		path := filepath.Join(t.TempDir(), "gateway.db")
		return storetest.Place{Open: func() (store.Driver, error) {
			return Open(t.Context(), path, zaptest.NewLogger(t))
		}}
	})
}

// child is the other process. It prints a line when it is ready, and one for
// every row that it committed.
func child(task, path string) int {
	d, err := Open(context.Background(), path, zap.NewNop())
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	fmt.Println("open")
	for task == "write" {
		id := uuid.New()
		r := &store.Row{ID: id, Data: fmt.Appendf(nil, `{"id":"%s"}`, id)}
		if err := d.Commit(context.Background(), []store.Change{{Table: "routes", After: r}}); err != nil {
			fmt.Println("error", err)
			return 1
		}
		fmt.Println(id)
	}
	select {} // hold the file until killed
}

// start starts a child and reads its first line.
func start(t *testing.T, task, path string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+task+" "+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "open" {
		t.Fatalf("the other process said %q", lines.Text())
	}
	return cmd, lines
}

func TestCommit_survivesKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.db")
	cmd, lines := start(t, "write", path)
	var ids []string
	for len(ids) < 100 && lines.Scan() {
		ids = append(ids, lines.Text())
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() { // committed between the last line read and the kill
		ids = append(ids, lines.Text())
	}
	cmd.Wait()

	d := mustOpen(t, path)
	found := make(map[string]bool)
	err := d.Load(t.Context(), func(_ string, r *store.Row, bad error) bool {
		if bad != nil {
			t.Errorf("%s: %v", r.ID, bad)
		}
		found[r.ID.String()] = true
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(ids) < 100 {
		t.Fatalf("the other process committed %d rows, want at least 100", len(ids))
	}
	for _, id := range ids {
		if !found[id] {
			t.Errorf("%s was committed and is lost", id)
		}
	}
}

func TestOpen_fileOfAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.db")
	start(t, "hold", path)
	_, err := Open(t.Context(), path, zaptest.NewLogger(t))
	if !errors.Is(err, store.ErrLocked) {
		t.Fatalf("Open: %v, want ErrLocked", err)
	}
	if want := path + " is open in another process"; !strings.Contains(err.Error(), want) {
		t.Errorf("the error %q does not say %q", err, want)
	}
}

func TestOpen_waitsNoLongerThanTheContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.db")
	start(t, "hold", path)
	var took time.Duration
	for range 10 { // a busy machine may keep it waiting, but not each time
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		begin := time.Now()
		if _, err := Open(ctx, path, zaptest.NewLogger(t)); !errors.Is(err, store.ErrLocked) {
			t.Errorf("Open: %v, want ErrLocked", err)
		}
		took = time.Since(begin)
		cancel()
		if took < lockTimeout {
			return
		}
	}
	t.Errorf("Open took %v", took)
}

func TestOpen_isForTheOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	path := filepath.Join(dir, "gateway.db")
	mustOpen(t, path)
	for name, want := range map[string]os.FileMode{dir: 0o700, filepath.Dir(dir): 0o700, path: 0o600} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %v, want %v", name, got, want)
		}
	}
}

func TestOpen_refusesOtherFiles(t *testing.T) {
	edit := func(change func(tx *bbolt.Tx) error) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			db, err := bbolt.Open(path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if err := db.Update(change); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name  string
		make  func(t *testing.T, path string)
		want  error
		words string
	}{
		{"newer format", edit(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucket(metaBucket)
			if err != nil {
				return err
			}
			return b.Put(formatKey, []byte("2"))
		}), store.ErrNewer, "its format is 2, this version knows up to 1"},
		{"database of another program", edit(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucket([]byte("other"))
			return err
		}), store.ErrForeign, "not a store of the gateway"},
		{"text", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(strings.Repeat("not a database\n", 1000)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, store.ErrForeign, "not a store of the gateway"},
		{"short file", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, store.ErrForeign, "not a store of the gateway"},
		{"directory", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, nil, "is a directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "gateway.db")
			tt.make(t, path)
			_, err := Open(t.Context(), path, zaptest.NewLogger(t))
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Fatalf("Open: %v, want %v", err, tt.want)
			}
			if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), tt.words) {
				t.Errorf("the error %q does not name %s or say %q", err, path, tt.words)
			}
		})
	}
}

func TestLoad_reportsDamagedRows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.db")
	d := mustOpen(t, path)
	good := &store.Row{ID: uuid.New(), Data: []byte(`{"good":true}`)}
	flipped := &store.Row{ID: uuid.New(), Data: []byte(`{"flipped":true}`)}
	if err := d.Commit(t.Context(), []store.Change{{Table: "routes", After: good}, {Table: "routes", After: flipped}}); err != nil {
		t.Fatal(err)
	}
	err := d.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("routes"))
		v := append([]byte(nil), b.Get(flipped.ID[:])...)
		v[len(v)-3] ^= 1
		return errors.Join(b.Put(flipped.ID[:], v), b.Put([]byte("short"), nil))
	})
	if err != nil {
		t.Fatal(err)
	}
	var sound int
	bad := make(map[uuid.UUID]string)
	err = d.Load(t.Context(), func(table string, r *store.Row, reason error) bool {
		if reason == nil {
			sound++
		} else {
			bad[r.ID] = table + ": " + reason.Error()
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	if sound != 1 || len(bad) != 2 {
		t.Errorf("found %d sound rows and these bad ones: %v", sound, bad)
	}
	if got, want := bad[flipped.ID], "routes: the data does not match its checksum"; got != want {
		t.Errorf("the flipped row: %q, want %q", got, want)
	}
	if got, want := bad[uuid.UUID{}], "routes: the key 73686f7274 is not an identifier"; got != want {
		t.Errorf("the short key: %q, want %q", got, want)
	}
}

func mustOpen(t testing.TB, path string) *Driver {
	t.Helper()
	d, err := Open(t.Context(), path, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}
